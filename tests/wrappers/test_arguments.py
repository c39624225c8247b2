"""What a user may hand to a wrapper, and what a subclass may change."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import stacks
from small_models import FLOAT, graph, node

import cervello
from cervello import (
    Clip,
    EpisodeStart,
    Epsilon,
    Fill,
    FrameStack,
    Image,
    Model,
    Policy,
    PolicySpec,
    PreviousAction,
    Recurrent,
    WrapperError,
)
from cervello.spec import View, Wrapper
from cervello.wrappers import Passive

COLUMN = (FLOAT, ("N", 1))
BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "Fill(5)": (lambda: Fill(5), "Fill: expected the name of an input, got 5"),  # type: ignore[arg-type]
    "EpisodeStart([])": (lambda: EpisodeStart([]), "EpisodeStart: expected the name of an input, got []"),  # type: ignore[arg-type]
    "Epsilon(5)": (lambda: Epsilon(5), "Epsilon: expected the name of an input, got 5"),  # type: ignore[arg-type]
    "PreviousAction(a, None)": (lambda: PreviousAction("a", None), "PreviousAction: expected the name of an output, got None"),  # type: ignore[arg-type]
    "scale a": (lambda: Epsilon("e", scale="a"), "Epsilon('e'): expected a finite number as scale, got 'a'"),  # type: ignore[arg-type]
    "scale nan": (lambda: Epsilon("e", scale=float("nan")), "expected a finite number as scale, got nan"),
    "scale True": (lambda: Epsilon("e", scale=True), "expected a finite number as scale, got True"),
    "a class": (lambda: Epsilon("e", cervello.noise.Normal), "or an object with `fill`, got <class"),  # type: ignore[arg-type]
    "pairs of letters": (lambda: Recurrent("h_in"), "Recurrent: expected pairs {'h_in': 'h_out'}, got 'h_in'"),  # type: ignore[arg-type]
    "a list of outputs": (lambda: Recurrent({"h_in": ["h_out"]}), "expected the name of an output, got ['h_out']"),  # type: ignore[dict-item]
    "an array for fill": (lambda: FrameStack("x", 2, np.ones(2)), "FrameStack('x'): expected fill='first' or 'zeros', got array"),  # type: ignore[arg-type]
    "an array for layout": (lambda: Image("x", layout=np.ones(2)), "Image('x'): expected layout='HWC' or 'CHW', got array"),  # type: ignore[arg-type]
    "an array for where": (lambda: Clip("x", 0, where=np.ones(2)), "Clip('x'): expected where='output' or 'input', got array"),  # type: ignore[arg-type]
    "an array of generators": (lambda: Epsilon("e", np.ones(2)), "Epsilon('e'): expected a generator among ['fast', 'normal'"),  # type: ignore[arg-type]
    "initial 3": (lambda: Recurrent(initial=3), "Recurrent: expected initial rows {'h_in': row}, got 3"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", BAD)
def test_an_argument_that_makes_no_sense_is_refused_at_once(case: str) -> None:
    make, message = BAD[case]
    with pytest.raises(WrapperError, match=re.escape(message)):
        make()


@pytest.mark.parametrize(("value", "message"), [
    (None, "can hold, got None"), (object(), "can hold, got <object"), ("a", "can hold, got 'a'"), (1j, "can hold, got 1j"),
    (1e300, "can hold, got 1e+300"), ([[1], [2, 3]], "got a ragged sequence"),
    ([1, 2], "expected a value that fits h_in: (N, 1) float32, got (2,)")])
def test_a_value_that_an_input_cannot_hold_is_refused(value: Any, message: str) -> None:
    for wrapper in (Fill("h_in", value), Recurrent({"h_in": "h_out"}, {"h_in": value})):
        if value is not None or isinstance(wrapper, Fill):
            with pytest.raises(WrapperError, match=re.escape(message)):
                Policy(stacks.model("counter"), wrappers=[wrapper])


@pytest.mark.parametrize("value", [True, 3, np.float64(0.1), np.inf, -np.inf, [2], np.array([2], np.int8)])
def test_a_number_that_only_loses_digits_is_taken(value: Any) -> None:
    policy = Policy(stacks.model("counter"), wrappers=[Fill("h_in", value)])
    policy.begin_agent(1)
    assert policy.infer_single(1, {"obs": [0.0]})["action"] == np.float32(np.ravel(value)[0])


def remembering(kind: int) -> Model:
    return Model.load(graph([node("Cast", "prev", "p", to=FLOAT), node("Add", "obs p", "action")],
                            {"obs": COLUMN, "prev": (kind, ("N", 1))}, {"action": COLUMN}, {}))


@pytest.mark.parametrize("kind", [onnx.TensorProto.INT64, onnx.TensorProto.BOOL])
def test_a_float_action_never_becomes_an_integer_input(kind: int) -> None:
    with pytest.raises(WrapperError, match=r"PreviousAction\('prev', 'action'\): expected an output that prev: .* can hold, got action"):
        Policy(remembering(kind), wrappers=[PreviousAction("prev", "action")])


def test_what_is_remembered_is_the_action_at_its_place_in_the_stack() -> None:
    class Zeroed(Passive):
        def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
            return self, spec

        def outward(self, view: View) -> None:
            view.outputs["action"] *= 0  # in place

    policy = Policy(remembering(FLOAT), wrappers=[Zeroed(), PreviousAction("prev", "action")])
    plain = Policy(remembering(FLOAT), wrappers=[PreviousAction("prev", "action")])
    for each in (policy, plain):
        each.begin_agent(1)
        for _ in range(3):
            each.infer_single(1, {"obs": [1.0]})
    assert [each._core.engine.stack.slabs()["0 prev"].rows[0] for each in (policy, plain)] == [3, 3]


# Generators of a user's own -----------------------------------------------------------------------------------------------


def drawn(generator: Any, **options: Any) -> Any:
    policy = Policy(stacks.model("noise_alone"), wrappers=[Epsilon("epsilon", generator=generator)])
    policy.begin_agents([1, 2])
    return policy.infer_batch([1, 2], {"obs": np.zeros((2, 4), np.float32)}, **options)["action"]


def test_a_generator_that_knows_nothing_of_deterministic_rows_leaves_them_zero() -> None:
    class Five:
        def fill(self, out: Any, slots: Any, streams: Any, site: int, scale: float, deterministic: Any) -> None:
            out[...] = 5

    assert (drawn(Five()) == 5).all()
    assert (drawn(Five(), deterministic=True) == 0).all()
    assert drawn(Five(), deterministic=np.array([True, False]))[:, 0].tolist() == [0, 5]


def test_a_generator_that_writes_nothing_gives_zeros() -> None:
    class Lazy:
        def fill(self, *arguments: Any) -> None:
            pass

    for _ in range(20):
        np.full((2, 4), 7, np.float32)  # memory that is used again
        assert (drawn(Lazy()) == 0).all()


# Subclasses of the library's wrappers -------------------------------------------------------------------------------------


def test_a_subclass_is_attached_as_what_it_is_and_its_hooks_are_called() -> None:
    calls: list[str] = []

    class Loud(Recurrent):
        def __init__(self, volume: int):
            super().__init__()
            self.volume = volume

        def commit(self, view: View) -> None:
            calls.append("commit" * self.volume)
            super().commit(view)

    class Silent(Epsilon):
        def inward(self, view: View) -> None:
            super().inward(view)
            view.inputs[self.key] *= 0

    policy = Policy(stacks.model("full"), wrappers=[Loud(2), Silent("epsilon"), Fill("mask", True), EpisodeStart("start")])
    twin = Policy(stacks.model("full"), wrappers=[Recurrent(), Fill("epsilon"), Fill("mask", True), EpisodeStart("start")])
    for _ in range(3):
        for dtype in (np.float32, np.float64):  # in one compiled call, were the moves believed, and the long way
            columns = {name: np.ones(spec.batched(2), dtype) for name, spec in policy.inputs.items()}
            for each in (policy, twin):
                if not each.agents:
                    each.begin_agents([1, 2])
            found, expected = (each.infer_batch([1, 2], columns)["action"] for each in (policy, twin))
            assert np.array_equal(found, expected)
    assert calls == ["commitcommit"] * 6


@pytest.mark.parametrize("make", [lambda: type("Same", (Recurrent,), {}), lambda: type("Begun", (Recurrent,), {"begin": Recurrent.begin})])
def test_a_subclass_that_changes_no_hook_of_a_batch_keeps_the_short_way(make: Any) -> None:
    policy = Policy(stacks.model("counter"), wrappers=[make()()])
    assert policy._core.engine.fast_path is not None
    policy.begin_agent(1)
    assert [policy.infer_single(1, {"obs": [1.0]})["action"].item() for _ in range(2)] == [1, 2]


def test_a_hook_set_on_the_object_itself_is_called() -> None:
    wrapper, calls = Recurrent(), []
    wrapper.inward = lambda view: (calls.append(1), Recurrent.inward(wrapper, view))  # type: ignore[assignment,method-assign]
    assert not cervello.wrappers.Stack([wrapper], stacks.model("counter").spec).has_fused_ops
