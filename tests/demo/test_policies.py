"""The shipped ONNX files: their signatures, that they learned something, that the hunter needs its memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from cervello.demo import SPECIES, RandomPolicy, mean_with_interval, policy_path, training_scout
from cervello.demo.export import grazer_model, hunter_model, scout_model
from cervello.demo.play import play
from cervello.demo.training_adam import Parameters

SIGNATURES = {
    "grazer": ({"obs": ["N", 16], "epsilon": ["N", 2]}, {"action": ["N", 2]}),
    "hunter": ({"obs": ["N", 9], "h_in": ["N", 24]}, {"action": ["N", 2], "h_out": ["N", 24]}),
    "scout": ({"image": ["N", 3, 11, 11]}, {"logits": ["N", 8]}),
}


def shapes(values: Any) -> dict[str, list[int | str]]:
    return {each.name: [d.dim_param or d.dim_value for d in each.type.tensor_type.shape.dim] for each in values}


def numbers(random: np.random.Generator, *shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (random.standard_normal(shape) * 0.5).astype(np.float32)


def run(model: onnx.ModelProto, **feeds: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray[Any, Any]] = session.run(None, feeds)
    return outputs


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_shipped_file_has_the_announced_signature(name: str) -> None:
    path = policy_path(name)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert (shapes(model.graph.input), shapes(model.graph.output)) == SIGNATURES[name]
    assert (model.ir_version, [opset.version for opset in model.opset_import]) == (8, [17])
    assert path.stat().st_size < 200_000


def test_an_unknown_species_has_no_file() -> None:
    with pytest.raises(ValueError, match=r"expected one of \['grazer', 'hunter', 'scout'\], got 'wolf'"):
        policy_path("wolf")


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_trained_policy_beats_the_random_one(name: str, OnnxruntimePolicy: Any) -> None:
    trained = {species.name: OnnxruntimePolicy(policy_path(species.name)) for species in SPECIES}
    random = {species.name: RandomPolicy(species) for species in SPECIES if species.name == name}
    _, low, _ = mean_with_interval(play(trained).species[name].returns)
    _, _, high = mean_with_interval(play(trained | random).species[name].returns)
    assert high < low


def test_the_hunter_hunts_badly_when_its_state_is_zeroed_every_tick(OnnxruntimePolicy: Any) -> None:
    trained = {species.name: OnnxruntimePolicy(policy_path(species.name)) for species in SPECIES}
    forgetful = {"hunter": OnnxruntimePolicy(policy_path("hunter"), forgetful=True)}
    _, low, _ = mean_with_interval(play(trained).species["hunter"].returns)
    _, _, high = mean_with_interval(play(trained | forgetful).species["hunter"].returns)
    assert high < low


def test_the_exported_grazer_computes_the_reparameterised_action() -> None:
    random = np.random.default_rng(0)
    shapes_by_name = {"w1": (16, 24), "b1": (24,), "w2": (24, 2), "b2": (2,), "log_std": (2,)}
    weights: Parameters = {name: numbers(random, *shape) for name, shape in shapes_by_name.items()}
    obs, epsilon = numbers(random, 5, 16), numbers(random, 5, 2)
    mean = np.tanh(obs @ weights["w1"] + weights["b1"]) @ weights["w2"] + weights["b2"]
    (action,) = run(grazer_model(weights), obs=obs, epsilon=epsilon)
    np.testing.assert_allclose(action, np.tanh(mean + np.exp(weights["log_std"]) * epsilon), atol=1e-5)


def test_the_exported_hunter_computes_the_gru_that_was_trained() -> None:
    random = np.random.default_rng(1)
    shapes_by_name = {"w": (9, 72), "r": (24, 72), "wb": (72,), "rb": (72,)}
    shapes_by_name |= {"w1": (24, 16), "b1": (16,), "w2": (16, 2), "b2": (2,)}
    weights: Parameters = {name: numbers(random, *shape) for name, shape in shapes_by_name.items()}
    obs, state = numbers(random, 5, 9), numbers(random, 5, 24)
    inward, inner = obs @ weights["w"] + weights["wb"], state @ weights["r"] + weights["rb"]
    update, reset = (1 / (1 + np.exp(-(inward + inner)[:, k : k + 24])) for k in (0, 24))
    after = (1 - update) * np.tanh(inward[:, 48:] + reset * inner[:, 48:]) + update * state
    wish = np.maximum(after @ weights["w1"] + weights["b1"], 0) @ weights["w2"] + weights["b2"]
    action, h_out = run(hunter_model(weights), obs=obs, h_in=state)
    np.testing.assert_allclose(h_out, after, atol=1e-5)
    np.testing.assert_allclose(action, np.tanh(wish), atol=1e-5)


def test_the_exported_scout_computes_the_network_that_was_trained() -> None:
    random = np.random.default_rng(2)
    shapes_by_name = {"k1": (27, 8), "c1": (8,), "k2": (72, 16), "c2": (16,)}
    shapes_by_name |= {"w1": (256, 32), "b1": (32,), "w2": (32, 8), "b2": (8,)}
    weights: Parameters = {name: numbers(random, *shape) for name, shape in shapes_by_name.items()}
    image = numbers(random, 5, 3, 11, 11)
    (logits,) = run(scout_model(weights), image=image)
    np.testing.assert_allclose(logits, training_scout.logits(weights, image), rtol=1e-3, atol=1e-3)
