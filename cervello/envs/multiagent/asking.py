"""Questions to policies, and their answers: all matches that ask at once make one batch per policy."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from cervello.agents import Policy
from cervello.agents.policy.core import core_of
from cervello.envs.decision import Decision, decided, rows_of
from cervello.spec import Array

R = TypeVar("R")


@dataclass(slots=True)
class Question:
    """What one policy is asked for some agents of a match.

    Attributes:
      policy: which one.
      ids: the agents' names in the policy.
      observations: one for each.
      masks: a mask or None for each; None when there are none.
      deterministic: no noise.
      recorded: whether the answer holds the decision, for a recorder.
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
class Answer:
    """Actions for the agents of a question, in its order.

    Attributes:
      actions: for the environment, one for each.
      empty_masks: agents whose mask allowed nothing; it counted as no mask.
      decision: all that was decided, a row for each; None unless it was asked for.
    """

    actions: list[Any]
    empty_masks: int
    decision: Decision | None = None


Asking = Generator[list[Question], list[Answer], R]
"""What a match does between two decisions of its learner: yields questions, is sent their answers, returns what the learner sees."""


def run_together(matches: Sequence[Asking[R]]) -> list[R]:
    """Runs matches until each has returned; what they ask at once runs as one batch for each policy."""
    results: list[R | None] = [None] * len(matches)
    asked: dict[int, list[Question]] = {}
    for i, match in enumerate(matches):
        _go_on(match, None, i, asked, results)
    while asked:
        waiting, asked = asked, {}
        answers = iter(answered([question for questions in waiting.values() for question in questions]))
        for i, questions in waiting.items():
            _go_on(matches[i], [next(answers) for _ in questions], i, asked, results)
    return results  # type: ignore[return-value]


def run_alone(match: Asking[R]) -> R:
    """Runs one match until it has returned."""
    return run_together([match])[0]


def _go_on(match: Asking[R], answers: list[Answer] | None, i: int, asked: dict[int, list[Question]], results: list[R | None]) -> None:
    try:
        asked[i] = next(match) if answers is None else match.send(answers)
    except StopIteration as stop:
        results[i] = stop.value


def answered(questions: list[Question]) -> list[Answer]:
    """Answers in the order of the questions; all questions of one policy are one batch."""
    groups: dict[tuple[int, bool], list[int]] = {}
    for i, question in enumerate(questions):
        groups.setdefault((id(question.policy), question.deterministic), []).append(i)
    answers: list[Answer] = [Answer([], 0)] * len(questions)
    for places in groups.values():
        group = [questions[i] for i in places]
        first = group[0]
        masks: list[Any] | None = None
        if any(each.masks is not None for each in group):
            masks = [mask for each in group for mask in (each.masks if each.masks is not None else [None] * len(each.ids))]
        ids, observations = first.ids, first.observations
        if len(group) > 1:
            ids = [name for each in group for name in each.ids]
            observations = [observation for each in group for observation in each.observations]
        decision, empty = _decided(first.policy, ids, observations, masks, first.deterministic)
        executed = decision.action
        actions: list[Any] = executed.tolist() if executed.ndim == 1 and executed.dtype.kind in "iu" else list(executed)
        start = 0
        for i in places:
            end = start + len(questions[i].ids)
            count = 0 if empty is None else int(empty[start:end].sum())
            own = replace(rows_of(decision, start, end), stream=questions[i].stream) if questions[i].recorded else None
            answers[i] = Answer(actions[start:end], count, own)
            start = end
    return answers


def _decided(policy: Policy, ids: list[str], observations: list[Any], masks: list[Any] | None, deterministic: bool,
             ) -> tuple[Decision, Array | None]:
    """The decision for agents, and which of them had a mask that allows nothing."""
    encoded = core_of(policy).binding.encode_rows(observations, masks)
    outputs = policy.infer_batch(ids, encoded.columns, deterministic)
    return decided(policy, outputs, np.arange(len(ids)), deterministic), encoded.empty
