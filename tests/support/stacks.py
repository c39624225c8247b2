"""Inferers and wrapper stacks over which the contract suites run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import small_models

import cervello
from cervello import Clip, EpisodeStart, Epsilon, Fill, FrameStack, Guard, Image, Normalize, PreviousAction, Recurrent, Sample
from cervello.heads import Bernoulli, Beta, Categorical, Deterministic, Gaussian, MultiDiscrete, TanhGaussian
from cervello.spec import PolicySpec, Specs, View, Wrapper
from cervello.wrappers.base import Passive, take_input


@lru_cache
def model(name: str, *arguments: Any) -> cervello.Model:
    """One of the small policies; every test shares it."""
    return cervello.Model.load(getattr(small_models, name)(*arguments))


class Pairwise:
    """An inferer of a user's own: plain Python over `Model.run`, two rows at a time at most."""

    def __init__(self, model: cervello.Model):
        self.model = model
        self.batches: list[int] = []

    @property
    def raw_inputs(self) -> Specs:
        return self.model.inputs

    @property
    def raw_outputs(self) -> Specs:
        return self.model.outputs

    inputs, outputs = raw_inputs, raw_outputs

    def select_batch_size(self, max_rows: int) -> int:
        return min(2, max_rows)

    def begin_agent(self, slot: int) -> None:
        pass

    def end_agent(self, slot: int) -> None:
        pass

    def infer_raw(self, view: View) -> None:
        for name, spec in self.raw_outputs.items():
            if name not in view.outputs:
                view.outputs[name] = np.empty(spec.batched(view.n_rows), spec.dtype)
        first = 0
        while first < view.n_rows:
            count = self.select_batch_size(view.n_rows - first)
            self.batches.append(count)
            part = {name: self._part(spec, view.inputs[name], first, count) for name, spec in self.raw_inputs.items()}
            for name, array in self.model.run(part).items():
                self._part(self.raw_outputs[name], view.outputs[name], first, count)[...] = array
            first += count
        if not view.n_rows:
            self.model.run(view.inputs)

    @staticmethod
    def _part(spec: cervello.TensorSpec, column: Any, first: int, count: int) -> Any:
        if spec.batch_axis is None:
            return column
        return column[(slice(None),) * spec.batch_axis + (slice(first, first + count),)]


class Averaged(Passive):
    """A wrapper of a user's own with state: the policy sees the mean of the observation and the one before, in the user's own way."""

    reads_inputs = True

    def __init__(self, key: str):
        self.key = key
        self.last: dict[int, Any] = {}

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        take_input(spec, self, self.key)
        return Averaged(self.key), spec

    def begin(self, slots: Any) -> None:
        for slot in slots.tolist():
            self.last.pop(slot, None)

    def inward(self, view: View) -> None:
        given = view.inputs[self.key]
        view.scratch[self] = given.copy()
        mixed = given.copy()
        for row, slot in enumerate(view.slots.tolist()):
            if slot in self.last:
                mixed[row] = (given[row] + self.last[slot]) / 2
        view.inputs[self.key] = mixed

    def commit(self, view: View) -> None:
        for row, slot in enumerate(view.slots.tolist()):
            self.last[slot] = view.scratch[self][row]


INFERERS: dict[str, Any] = {
    "basic": lambda model: "basic", "fixed": lambda model: "fixed", "memoizing": lambda model: "memoizing",
    "dynamic": lambda model: "dynamic", "fixed_7_32": lambda model: cervello.inferers.Fixed([7, 32]), "of_a_user": Pairwise}

_EVERYTHING = [Averaged("obs"), Recurrent(), Epsilon(), Fill("mask", [True, False, True]), EpisodeStart("start"),
               PreviousAction("prev_action", "action")]

STACKS: dict[str, tuple[tuple[Any, ...], Sequence[Wrapper]]] = {
    "nothing": (("feed_forward",), []),
    "sample": (("stochastic",), [Sample(Categorical("logits"), entropy="surprise")]),
    "sample_masked": (("stochastic",), [Sample(Categorical("logits", "allowed", "ignore"), hide=True)]),
    "sample_masked_by_an_input": (("full",), [Recurrent(), Sample(MultiDiscrete("action", [2, 1], "mask", "ignore"), "picked"), Epsilon()]),
    "sample_normal": (("stochastic",), [Sample(Gaussian("mean", log_std="log_std"), "move", None, None),
                                        Sample(TanhGaussian("mean", 0.3), "squashed", "density")]),
    "sample_bits": (("stochastic",), [Sample(Bernoulli("logits"), extra={"deterministic": "greedy"})]),
    "sample_beta": (("feed_forward",), [Sample(Beta("action", "action"), "share")]),
    "sample_squashed": (("stochastic",), [Sample(TanhGaussian("mean", 0.5), extra={"pre_tanh": "before"})]),
    "sample_nothing": (("feed_forward",), [Sample(Deterministic("action"), "same")]),
    "normalize": (("feed_forward",), [Normalize("obs", [0, 1, 2, 3, 4, 5], 0.25, clip=1.5)]),
    "frames": (("feed_forward",), [FrameStack("obs", 3)]),
    "frames_after_zeros": (("feed_forward",), [FrameStack("obs", 6, "zeros", drop_axis=True)]),
    "pictures": (("picture",), [Image("image"), FrameStack("image", 2)]),
    "pictures_as_they_are": (("picture",), [Image("image", 0.5, "CHW")]),
    "clip": (("full",), [Clip("action", [-0.1, 0.0, -np.inf], 0.2), Clip("obs", -1, 1), Recurrent(), Clip("h_in", -0.05, None)]),
    "clip_layers": (("stacked_state",), [Recurrent(), Clip("h_out", -0.5, 0.5)]),
    "guard": (("fragile",), [Guard()]),
    "guard_last": (("fragile",), [Guard("last"), Recurrent(), Guard({"h_out": 0.5})]),
    "sampled_action_fed_back": (("full",), [PreviousAction("prev_action", "move"), Recurrent(), Sample(Gaussian("action", 0.1), "move"),
                                            Guard("last")]),
    "recurrent": (("counter",), [Recurrent()]),
    "gru": (("recurrent", "GRU"), [Recurrent()]),
    "lstm_of_two_layers": (("recurrent", "LSTM", 5, 7, 2), [Recurrent()]),
    "layers_in_front": (("stacked_state",), [Recurrent({"h_in": "h_out"}, initial={"h_in": 0.5})]),
    "epsilon": (("noisy",), [Epsilon()]),
    "recurrent_epsilon": (("full",), [Recurrent(), Epsilon("epsilon", "fast", 0.5)]),
    "epsilon_recurrent": (("full",), [Epsilon(), Recurrent()]),
    "fill": (("masked_argmax",), [Fill("mask", True)]),
    "episode_start": (("full",), [EpisodeStart("start")]),
    "previous_action": (("full",), [PreviousAction("prev_action", "action")]),
    "everything": (("full",), _EVERYTHING),
    "everything_reversed": (("full",), _EVERYTHING[::-1]),
    "of_a_user": (("feed_forward",), [Averaged("obs")]),
    "random_normal": (("random_normal",), []),
    "multinomial": (("multinomial",), []),
    "rank_one": (("rank_one",), [Averaged("obs")]),
    "one_row_only": (("one_row_only",), []),
}
