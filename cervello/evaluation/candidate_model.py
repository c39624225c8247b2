"""The graph that a candidate runs: one that draws nothing, with the tensors of its head as outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cervello.agents import Policy
from cervello.description import load
from cervello.errors import ConfigurationError, GraphError
from cervello.heads import Head
from cervello.native import Model


def check_draws_nothing(name: str, policy: Policy, wrappers: Sequence[Any], head: Head) -> None:
    """Checks that actions are drawn by the head alone.

    Args:
      name: of the policy, for messages. wrappers: those that have no head and are kept.
    Raises:
      ConfigurationError: a wrapper or a node of the graph draws.
    """
    for wrapper in wrappers:
        kind = type(wrapper).__name__
        if kind == "Epsilon":
            raise ConfigurationError(f"evaluation, policy {name!r}: expected a distribution that a head describes, got {wrapper!r}, "
                                     "which draws within the graph; export mean and deviation, and give head=heads.Gaussian(…) (--head "
                                     "gaussian:MEAN:LOG_STD on the command line)")
        if kind == "PreviousAction" and wrapper.output not in head.tensors:
            raise ConfigurationError(f"evaluation, policy {name!r}: expected no {wrapper!r}, whose output is not the action that "
                                     "is drawn; name the output of Sample in it, or log the previous action as an observation")
    if policy.model.random_nodes:
        raise ConfigurationError(f"evaluation, policy {name!r}: expected a graph that draws nothing, got random nodes; export the "
                                 "distribution, and give head= (--head on the command line)")


def model_with_tensors(name: str, policy: Policy, path: str | None, head: Head) -> Model:
    """The policy's model, with the head's tensors among its outputs where the file has them.

    Args:
      name: of the policy, for messages. path: of its file, None for a Policy that was given.
    Raises:
      ConfigurationError: the file lacks a tensor.
    """
    model = policy.model
    known = {*policy.outputs, *policy.constants, *model.outputs}
    missing = [tensor for tensor in head.tensors if tensor not in known]
    if not missing or path is None:
        return model
    try:
        return load(path, outputs=[*model.outputs, *missing]).model
    except GraphError as error:
        raise ConfigurationError(f"evaluation, policy {name!r}: expected the head's tensors {missing} in the file, got outputs "
                                 f"{list(model.outputs)}; name one of them in head= (--head on the command line)") from error
