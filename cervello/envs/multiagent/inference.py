"""Requests to policies and the responses: requests of many matches at the same time make one batch per policy."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from cervello.agents import Policy
from cervello.agents.policy.core import core_of
from cervello.envs.decision import Decision, decision_of, slice_decision

R = TypeVar("R")


@dataclass(slots=True)
class InferenceRequest:
    """A request to one policy for some agents of a match.

    Attributes:
      policy: which one.
      ids: the agents' names in the policy.
      observations: one for each.
      masks: a mask or None for each; None when there are none.
      deterministic: no noise.
      recorded: whether the response holds the decision, for a recorder.
      stream: of the agents' noise.
    """

    policy: Policy
    ids: list[str]
    observations: list[Any]
    masks: list[Any] | None
    deterministic: bool
    recorded: bool = False
    stream: int = 0


@dataclass(slots=True)
class InferenceResponse:
    """Actions for the agents of a request, in its order.

    Attributes:
      actions: for the environment, one for each.
      empty_masks: agents whose mask allowed nothing; it counted as no mask.
      decision: all that was decided, a row for each; None unless it was asked for.
    """

    actions: list[Any]
    empty_masks: int
    decision: Decision | None = None


Coroutine = Generator[list[InferenceRequest], list[InferenceResponse], R]
"""What a match does between two decisions of its learner: yields requests, is sent the responses, returns what the learner sees."""


def run_matches(matches: Sequence[Coroutine[R]]) -> list[R]:
    """Runs matches until each has returned; requests that they yield at the same time run as one batch for each policy."""
    results: list[R | None] = [None] * len(matches)
    to_send: dict[int, Any] = dict.fromkeys(range(len(matches)))  # by match that still runs; None starts it
    while to_send:
        pending: dict[int, list[InferenceRequest]] = {}
        for i, responses in to_send.items():
            try:
                pending[i] = matches[i].send(responses)
            except StopIteration as stop:
                results[i] = stop.value
        found = iter(infer_requests([request for requests in pending.values() for request in requests]))
        to_send = {i: [next(found) for _ in requests] for i, requests in pending.items()}
    return results  # type: ignore[return-value]


def run_match(match: Coroutine[R]) -> R:
    """Runs one match until it has returned."""
    return run_matches([match])[0]


def infer_requests(requests: Sequence[InferenceRequest]) -> list[InferenceResponse]:
    """Responses in the order of the requests; all requests of one policy are one batch."""
    groups: dict[tuple[int, bool], list[int]] = {}
    for i, request in enumerate(requests):
        groups.setdefault((id(request.policy), request.deterministic), []).append(i)
    responses: list[InferenceResponse] = [InferenceResponse([], 0)] * len(requests)
    for places in groups.values():
        for i, response in zip(places, _infer_batch([requests[i] for i in places]), strict=True):
            responses[i] = response
    return responses


def _infer_batch(requests: Sequence[InferenceRequest]) -> Iterator[InferenceResponse]:
    """Responses to requests of one policy."""
    first = requests[0]
    ids, observations, masks = first.ids, first.observations, first.masks
    if len(requests) > 1:
        ids = [name for each in requests for name in each.ids]
        observations = [observation for each in requests for observation in each.observations]
        if any(each.masks is not None for each in requests):
            masks = [mask for each in requests for mask in (each.masks if each.masks is not None else [None] * len(each.ids))]
    encoded = core_of(first.policy).binding.encode_rows(observations, masks)
    outputs = first.policy.infer_batch(ids, encoded.columns, first.deterministic)
    decision = decision_of(first.policy, outputs, np.arange(len(ids)), first.deterministic)
    actions: list[Any] = decision.action.tolist() if decision.action.ndim == 1 and decision.action.dtype.kind in "iu" else list(
        decision.action)
    start = 0
    for request in requests:
        end = start + len(request.ids)
        n_empty = 0 if encoded.empty is None else int(encoded.empty[start:end].sum())
        own = replace(slice_decision(decision, start, end), stream=request.stream) if request.recorded else None
        yield InferenceResponse(actions[start:end], n_empty, own)
        start = end
