"""Noise inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import stacks

from cervello import Epsilon, Policy, Recurrent, WrapperError
from cervello.inferers import choose
from cervello.noise import Constant, FastNormal, Normal
from cervello.wrappers.testing.fakes import FailingInferer


def drawn(generator: Any = "normal", scale: float = 1.0, n: int = 5, width: int = 4, **options: Any) -> Any:
    policy = Policy(stacks.model("noise_alone", width), wrappers=[Epsilon("epsilon", generator, scale)])
    policy.begin_agents(range(n))
    return policy.infer_batch(list(range(n)), {"obs": np.zeros((n, width), np.float32)}, **options)["action"]


def test_the_model_runs_once_and_an_lstm_advances_one_step() -> None:
    # cervo failure 5: the epsilon wrapper ran the model twice per call.
    model = stacks.model("full")
    for wrappers in ([Epsilon(), Recurrent()], [Recurrent(), Epsilon()], [Epsilon()]):
        inferer = FailingInferer(choose("memoizing", model))
        policy = Policy(model, inferer=inferer, wrappers=wrappers)
        policy.begin_agents([1, 2])
        for call in range(1, 4):
            policy.infer_batch([1, 2], {name: np.zeros(spec.batched(2), spec.dtype) for name, spec in policy.inputs.items()})
            assert inferer.runs == call


def test_noise_goes_to_its_own_input_whatever_the_order_of_wrappers() -> None:
    # cervo failure 6: epsilon over recurrent wrote noise into the slot of an index from a filtered list.
    model = stacks.model("full")
    seen: list[dict[str, Any]] = []

    class Spy(FailingInferer):
        def infer_raw(self, view: Any) -> None:
            seen.append({name: column.copy() for name, column in view.inputs.items()})
            super().infer_raw(view)

    for wrappers in ([Epsilon(), Recurrent()], [Recurrent(), Epsilon()]):
        policy = Policy(model, inferer=Spy(choose("memoizing", model)), wrappers=wrappers)
        policy.begin_agents([1, 2])
        columns = {name: np.ones(spec.batched(2), spec.dtype) for name, spec in policy.inputs.items()}
        policy.infer_batch([1, 2], columns)
        assert (seen[-1]["h_in"] == 0).all()
        for name, column in columns.items():
            assert np.array_equal(seen[-1][name], column)
        assert len(np.unique(seen[-1]["epsilon"])) == 6
    assert np.array_equal(seen[0]["epsilon"], seen[1]["epsilon"])


def test_constant_zero_is_zero() -> None:
    # cervo failure 9: `ConstantGenerator::zeros()` yielded 1.0.
    assert (drawn(Constant(0.0)) == 0).all()
    assert (drawn("zeros") == 0).all()
    assert (drawn(Constant(2.5), scale=2.0) == 5).all()


@pytest.mark.parametrize(("named", "generator"), [("normal", Normal()), ("fast", FastNormal())])
def test_generators_have_names(named: str, generator: Any) -> None:
    assert np.array_equal(drawn(named), drawn(generator))


@pytest.mark.parametrize("generator", ["normal", "fast", Constant(1.0)])
def test_deterministic_rows_get_zeros_and_the_others_what_they_always_get(generator: Any) -> None:
    free = drawn(generator)
    assert (drawn(generator, deterministic=True) == 0).all()
    flags = np.array([True, False, True, True, False])
    mixed = drawn(generator, deterministic=flags)
    assert (mixed[flags] == 0).all()
    assert np.array_equal(mixed[~flags], free[~flags])


def test_scale_multiplies() -> None:
    assert np.allclose(drawn(scale=0.25), 0.25 * drawn(), rtol=1e-6)


def test_a_generator_of_the_users_own_fills_the_column() -> None:
    class Rising:
        def fill(self, out: Any, slots: Any, streams: Any, site: int, scale: float, deterministic: Any) -> None:
            out[...] = scale * (slots[:, None] + streams.steps[slots][:, None])

    policy = Policy(stacks.model("noise_alone"), wrappers=[Epsilon("epsilon", Rising(), 2.0)])
    policy.begin_agents(range(3))
    zeros = {"obs": np.zeros((3, 4), np.float32)}
    assert policy.infer_batch([0, 1, 2], zeros)["action"][:, 0].tolist() == [0, 2, 4]
    assert policy.infer_batch([2, 1, 0], zeros)["action"][:, 3].tolist() == [6, 4, 2]


@pytest.mark.parametrize("generator", ["gaussian", None, object(), 1.0])
def test_an_unknown_generator_is_refused(generator: Any) -> None:
    with pytest.raises(WrapperError, match=r"Epsilon\('epsilon'\): expected a generator among \['fast', 'normal', 'zeros'\] or an object"):
        Epsilon("epsilon", generator)
