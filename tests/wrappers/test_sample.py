"""Actions drawn from what a policy's tensors describe."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import small_models
import stacks
from small_models import FLOAT, INT64, graph, node

import cervello
from cervello import Epsilon, Fill, Guard, Model, Policy, Recurrent, Sample, WrapperError
from cervello.heads import Categorical, Deterministic, Gaussian, Head, MultiDiscrete, TanhGaussian
from cervello.inferers.testing import same_bits, sample_columns


def decided(policy: Policy, n: int = 8, step: int = 0, **options: Any) -> Any:
    if not policy.agents:
        policy.begin_agents(range(n))
    return policy.infer_batch(list(range(n)), sample_columns(policy.inputs, range(n), step), **options)


def test_outputs_are_added_and_have_the_names_that_one_gives() -> None:
    model = stacks.model("stochastic")
    assert list(Policy(model, wrappers=[Sample(Categorical("logits"))]).outputs) == ["logits", "mean", "action", "log_prob", "entropy"]
    policy = Policy(model, wrappers=[Sample(Gaussian("mean", 0.1), "move", None, "spread", hide=True)])
    assert list(policy.outputs) == ["logits", "move", "spread"]
    assert str(policy.outputs["move"]) == "move: (N, 2) float32"
    assert str(policy.outputs["spread"]) == "spread: (N) float32"


def test_what_is_drawn_is_what_the_head_draws() -> None:
    policy = Policy(stacks.model("stochastic"), wrappers=[Sample(Categorical("logits")), Sample(Gaussian("mean", log_std="log_std"), "move",
                                                                                                "density", None)])
    found = decided(policy, 2000)
    assert same_bits(Categorical("logits").log_prob(found, found["action"]), found["log_prob"])
    assert same_bits(Categorical("logits").entropy(found), found["entropy"])
    columns = {"mean": found["mean"], "log_std": policy.constants["log_std"]}
    assert same_bits(Gaussian("mean", log_std="log_std").log_prob(columns, found["move"]), found["density"])
    z = (found["move"] - found["mean"]) / np.exp(policy.constants["log_std"])
    assert abs(z.mean()) < 0.05
    assert abs(z.std() - 1) < 0.05


def test_noise_is_new_at_each_step_and_for_each_agent() -> None:
    policy = Policy(stacks.model("stochastic"), wrappers=[Sample(Gaussian("mean", 0.5))])
    drawn = [(found["action"] - found["mean"]) for found in (decided(policy, 20, step) for step in range(5))]
    assert len(np.unique(np.concatenate(drawn))) == 5 * 20 * 2


def test_deterministic_rows_take_the_mode_and_the_others_what_they_always_draw() -> None:
    flags = np.arange(8) % 2 == 0
    for head in (Categorical("logits"), Gaussian("mean", 0.5), TanhGaussian("mean", 0.5)):
        mixed, free, still = (decided(Policy(stacks.model("stochastic"), wrappers=[Sample(head)]), deterministic=each)
                              for each in (flags, False, True))
        assert same_bits(still["action"], head.mode(still))
        assert same_bits(mixed["action"][flags], still["action"][flags])
        assert same_bits(mixed["action"][~flags], free["action"][~flags])


def test_another_order_of_wrappers_draws_the_same() -> None:
    order = [Sample(Gaussian("action", 0.1), "move"), Recurrent(), Epsilon()]
    first, second = (decided(Policy(stacks.model("full"), wrappers=each)) for each in (order, order[::-1]))
    assert same_bits(first["move"], second["move"])


def test_two_samples_draw_independently() -> None:
    policy = Policy(stacks.model("stochastic"), wrappers=[Sample(Gaussian("mean", 0.5), name, None, None) for name in ("a", "b")])
    found = decided(policy)
    assert not np.isclose(found["a"], found["b"]).any()


# Sources ------------------------------------------------------------------------------------------------------------------


def test_any_tensor_of_the_file_is_a_source_and_stays_hidden() -> None:
    policy = cervello.load(small_models.masked_argmax(), wrappers=[Sample(Categorical("logits", "mask", "ignore"), "drawn")])
    assert list(policy.outputs) == ["action", "drawn", "log_prob", "entropy"]
    assert list(policy.inputs) == ["obs", "mask"]
    found = decided(policy, 300)
    mask = sample_columns(policy.inputs, range(300))["mask"]
    assert (mask | ~mask.any(1, keepdims=True))[np.arange(300), found["drawn"]].all()
    best = decided(policy, 300, deterministic=True)
    assert (best["drawn"] == best["action"])[mask.any(1)].all()


def test_a_tensor_that_two_read_is_hidden_by_the_outer_one() -> None:
    wrappers = [Sample(Categorical("logits"), "b", "pb", None), Sample(Categorical("logits", "mask"), "a", None, None)]
    policy = cervello.load(small_models.masked_argmax(), wrappers=wrappers)
    assert list(policy.outputs) == ["action", "a", "b", "pb"]
    assert decided(policy, 3)["b"].shape == (3,)


def test_declared_and_asked_outputs_stay_visible() -> None:
    policy = cervello.load(small_models.stochastic(), wrappers=[Sample(Categorical("logits"))], outputs=["mean"])
    assert list(policy.outputs) == ["mean", "action", "log_prob", "entropy"]
    policy = cervello.load(small_models.stochastic(), wrappers=[Sample(Categorical("logits"))], outputs=["logits"])
    assert list(policy.outputs) == ["logits", "action", "log_prob", "entropy"]
    policy = cervello.load(small_models.stochastic(), wrappers=[Sample(Categorical("logits"), hide=True)])
    assert list(policy.outputs) == ["mean", "action", "log_prob", "entropy"]


def test_weights_of_the_file_are_sources() -> None:
    policy = cervello.load(small_models.stochastic(), wrappers=[Sample(Gaussian("mean", log_std="spread"))])
    reference = cervello.load(small_models.stochastic(), wrappers=[Sample(Gaussian("mean", log_std="log_std"))])
    assert same_bits(decided(policy)["action"], decided(reference)["action"])


def test_a_model_that_is_loaded_says_how_to_name_its_tensors() -> None:
    model = Model.load(small_models.masked_argmax())
    with pytest.raises(WrapperError, match=re.escape("expected a tensor among ['action'], got 'logits'; cervello.load finds any tensor of "
                                                     "a file by its name there, for a Model of your own name it in Model.load(outputs=…)")):
        Policy(model, wrappers=[Sample(Categorical("logits", "mask"))])
    named = Model.load(small_models.masked_argmax(), outputs=["logits"])
    assert decided(Policy(named, wrappers=[Sample(Categorical("logits"))]), 3)["action"].shape == (3,)
    with pytest.raises(WrapperError, match="got 'nothing'"):
        cervello.load(small_models.masked_argmax(), wrappers=[Sample(Categorical("nothing"))])


# Masks --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.bool_, np.int8])
def test_a_mask_that_is_no_input_of_the_model_becomes_one_of_the_policy(dtype: Any) -> None:
    policy = cervello.load(small_models.stochastic(), wrappers=[Sample(Categorical("logits", "allowed", "ignore"))])
    assert str(policy.inputs["allowed"]) == "allowed: (N, 4) int8"
    policy.begin_agents(range(400))
    mask = np.random.default_rng(0).random((400, 4)) < 0.4
    columns = {**sample_columns(policy.inputs, range(400)), "allowed": mask.astype(dtype)}
    drawn = policy.infer_batch(list(range(400)), columns)["action"]
    assert (mask | ~mask.any(1, keepdims=True))[np.arange(400), drawn].all()
    single = policy.infer({3: {"obs": np.zeros(5), "allowed": np.array([0, 0, 1, 0], dtype)}})
    assert single[3]["action"] == 2


def test_a_mask_that_flows_is_read_at_this_place_of_the_stack() -> None:
    file, sample, fill = small_models.masked_argmax(), Sample(Categorical("logits", "mask"), "drawn"), Fill("mask", [0, 1, 0, 0])
    outside = cervello.load(file, wrappers=[fill, sample])
    assert (decided(outside, 50)["drawn"] == 1).all()
    assert "mask" not in outside.inputs
    # Filled further in, the model's mask is one thing and the draw's another, which the caller gives.
    inside = cervello.load(file, wrappers=[sample, fill])
    inside.begin_agents([1])
    found = inside.infer({1: {"obs": np.zeros(5), "mask": np.array([0, 0, 0, 1], np.int8)}})[1]
    assert (found["action"], found["drawn"]) == (1, 3)


def test_a_mask_may_come_out_of_the_policy() -> None:
    nodes = [node("Identity", "obs", "logits"), node("Greater", "obs zero", "mask")]
    file = graph(nodes, {"obs": (FLOAT, ("N", 3))}, {"logits": (FLOAT, ("N", 3))}, {"zero": np.float32(0)})
    policy = cervello.load(file, wrappers=[Sample(Categorical("logits", "mask", "ignore"))])
    assert (list(policy.inputs), list(policy.outputs)) == (["obs"], ["logits", "action", "log_prob", "entropy"])
    found = decided(policy, 200)
    positive = found["logits"] > 0
    assert (positive | ~positive.any(1, keepdims=True))[np.arange(200), found["action"]].all()


# What is refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Sample("logits"), "Sample: expected a head, as cervello.heads.Categorical('logits'), got 'logits'"),  # type: ignore[arg-type]
    (lambda: Sample(Categorical("l"), None, None, None), "expected a name for at least one of ['action', 'log_prob', 'entropy'], got None"),
    (lambda: Sample(Categorical("l"), "a", "a"), "expected different names, got ['a', 'a', 'entropy']"),
    (lambda: Sample(Categorical("l"), 3), "Sample: expected the name of an output, got 3"),  # type: ignore[arg-type]
    (lambda: Sample(TanhGaussian("m", 0.5), entropy="h"), "expected entropy=None, got 'h'; the head supports ['action', 'log_prob'] only")])
def test_arguments_that_make_no_sense_are_refused(make: Any, message: str) -> None:
    with pytest.raises(WrapperError, match=re.escape(message)):
        make()


@pytest.mark.parametrize(("head", "options", "message"), [
    (Categorical("logits"), {"action": "mean"}, "expected a new name for an output, got 'mean', which there is already; give another one, "
     "Sample(…, action='sampled_action'), or action=None"),
    (Categorical("nothing"), {}, "expected a tensor among ['logits', 'mean', 'log_std'], got 'nothing'"),
    (MultiDiscrete("logits", [2, 3]), {}, "expected 5 logits, got 4"),
    (Gaussian("mean", [1.0, 2.0, 3.0]), {}, "expected a deviation for each of 2 elements, got 3"),
    (Gaussian("mean", "logits"), {}, "expected a deviation for each of 2 elements, got 4"),
    (Categorical("logits", "obs"), {}, "expected a mask of 4 elements with the batch on axis 0, got obs: (N, 5) float32")])
def test_a_head_that_does_not_fit_is_refused(head: Head, options: dict[str, str], message: str) -> None:
    with pytest.raises(WrapperError, match=re.escape(message)):
        Policy(stacks.model("stochastic"), wrappers=[Sample(head, **options)])


def test_logits_are_floats() -> None:
    file = graph([node("ArgMax", "obs", "best", axis=1)], {"obs": (FLOAT, ("N", 3))}, {"best": (INT64, ("N", 1))}, {})
    with pytest.raises(WrapperError, match="expected floats with the batch on axis 0, got best"):
        cervello.load(file, wrappers=[Sample(Categorical("best"))])
    assert decided(cervello.load(file, wrappers=[Sample(Deterministic("best"))]))["action"].dtype == np.int64


def test_it_says_what_it_is() -> None:
    assert repr(Sample(Categorical("logits"))) == "Sample(Categorical('logits'))"
    assert repr(Sample(MultiDiscrete("l", [2, 3], "m"), "a", entropy=None, hide=True)) == (
        "Sample(MultiDiscrete('l', [2, 3], mask='m'), action='a', entropy=None, hide=True)")


def test_a_guard_inside_keeps_draws_sound() -> None:
    wrappers = [Sample(Gaussian("action", 0.5), "move"), Guard(), Fill("h_in")]
    policy = Policy(stacks.model("fragile"), wrappers=wrappers)
    policy.begin_agents([1, 2])
    found = policy.infer_batch([1, 2], {"obs": np.float32([[-1, 1], [1, 1]])})
    assert np.isfinite(found["move"]).all()
    assert np.isfinite(found["log_prob"]).all()
