"""Heads that users write: what is missing is named, and what they give is checked."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import stacks

import cervello
from cervello import Policy, Sample, WrapperError
from cervello.errors import ConfigurationError
from cervello.heads import Head
from cervello.spec import Specs, TensorSpec


class Mini(Head):
    """Has no methods."""

    tensors = ("logits",)


class WithSpecs(Mini):
    """Describes an action, and draws none."""

    noise = "uniform"

    def specs(self, given: Specs) -> Specs:
        return given


class Index(Mini):
    """The index of the first logit; its dtype is given as a type."""

    supports = ("action",)

    def specs(self, given: Specs) -> Specs:
        return Specs([TensorSpec("action", (), np.int64)])  # type: ignore[arg-type]

    def act(self, columns: Any, *_: Any, **__: Any) -> Any:
        return {"action": np.zeros(len(columns["logits"]), np.int64)}


@pytest.mark.parametrize(("head", "missing"), [(Mini(), "specs(given)"), (WithSpecs(), "noise_width(given)")])
def test_a_missing_method_is_named_when_the_wrapper_is_made(head: Head, missing: str) -> None:
    with pytest.raises(WrapperError, match=rf"^Sample: head {type(head).__name__}: expected a method {re.escape(missing)}; "
                                           r"see cervello\.heads\.Head$"):
        Sample(head)


@pytest.mark.parametrize("call", [lambda: Mini().specs(Specs([])), lambda: Mini().noise_width(Specs([])),
                                  lambda: Mini().mask_width(Specs([])), lambda: Mini().log_prob({}, 0),
                                  lambda: Mini().mode({"logits": np.zeros((1, 2))})])
def test_a_missing_method_is_named_when_it_is_called(call: Any) -> None:
    with pytest.raises(ConfigurationError, match="head Mini: expected a method "):
        call()


def test_a_head_prints_as_its_class_and_its_tensors() -> None:
    assert repr(Mini()) == "Mini('logits')"


def test_a_head_without_draws_needs_two_methods_and_its_dtype_may_be_a_type() -> None:
    policy = Policy(stacks.model("stochastic"), wrappers=[Sample(Index())])
    assert policy.outputs["action"].dtype == np.dtype(np.int64)


@pytest.mark.parametrize("given", [np.int64, "int64", np.dtype(np.int64)])
def test_what_numpy_takes_for_a_dtype_becomes_one(given: Any) -> None:
    spec = TensorSpec("action", (), given)
    assert isinstance(spec.dtype, np.dtype)
    assert spec == TensorSpec("action", (), np.dtype(np.int64))


@pytest.mark.parametrize("given", [None, 5, "no type", object()])
def test_what_is_no_dtype_is_refused(given: Any) -> None:
    with pytest.raises(cervello.ConfigurationError, match=r"^TensorSpec 'action', dtype: expected a numpy dtype, got "):
        TensorSpec("action", (), given)
