"""One recorded episode, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cervello.recording.trees import Tree
from cervello.spec import Array


@dataclass(frozen=True, slots=True, eq=False)
class Episode:
    """One episode of one agent: T steps and T + 1 observations. The names of the first seven fields are those of Minari's `EpisodeData`.

    A tree is an array, a dict of trees or a tuple of trees (Box, Dict, Tuple spaces); every array of it has T (or T + 1) rows.
    Columns that were never given to the recorder are None. Where a column was given for some steps only, the other steps have NaN
    (floats), 0 (`version`, `stream`), −1 (`tick`), False (`deterministic`, `overridden`) or "unknown" (`source`).

    Attributes:
      id: counts the episodes of the recording that have begun, from 0.
      observations: tree of [T + 1, …]; element t is the observation before action t.
      actions: tree of [T, …], the executed actions.
      rewards: [T] float64.
      terminations, truncations: [T] bool; both are False everywhere in an episode that never ended.
      infos: tree of [T + 1, …]; element 0 belongs to the reset, element t + 1 to step t. Where a key was absent, floats are NaN, other
        numbers 0, strings empty, and a bool column `_key` beside it says which rows have the key.
      log_prob: [T] float32 (or as recorded), natural logarithm of the probability or density of the sampled action under the
        distribution that it was drawn from: of the squashed action where actions are squashed (with the Jacobian), of the unclipped one
        where they are clipped. NaN where unknown.
      deterministic: [T] bool, steps whose action is the mode and was not sampled. Their `log_prob` has no meaning.
      pre_tanh, pre_clip: tree of [T, …], the sampled action before squashing, before clipping.
      source: [T] str, "policy" if the recorded policy chose the action, else "unknown".
      overridden: [T] bool, steps for which the environment executed another action than the policy's.
      version: [T] int64, version of the policy. stream: [T] uint64, noise stream. tick: [T] int64, opaque number of the game.
      final_obs_missing: no last observation was recorded; it repeats the one before.
      agent, match: the agent and the match of this episode; None where not recorded.
      seed: the reset's seed, None where not recorded.
      session: which writer of the log recorded it, from 0; a match of one session is none of another's.
      policies: {version: {"fingerprint": …, "head": …}} of the recorded policy, as `Writer(policy=…)` keeps it; else None.
    """

    id: int
    observations: Tree
    actions: Tree
    rewards: Array
    terminations: Array
    truncations: Array
    infos: Mapping[str, Tree] = field(default_factory=dict)
    log_prob: Array | None = None
    deterministic: Array | None = None
    pre_tanh: Tree | None = None
    pre_clip: Tree | None = None
    source: Array | None = None
    overridden: Array | None = None
    version: Array | None = None
    stream: Array | None = None
    tick: Array | None = None
    final_obs_missing: bool = False
    agent: int | str | None = None
    match: int | str | None = None
    seed: int | None = None
    policies: Mapping[int, Mapping[str, str]] | None = None
    session: int = 0

    def __len__(self) -> int:
        """T, the number of steps."""
        return len(self.rewards)

    @property
    def finished(self) -> bool:
        """Whether the episode ended: its last step is terminated or truncated."""
        return bool(len(self) and (self.terminations[-1] or self.truncations[-1]))

    @property
    def total_reward(self) -> float:
        """The undiscounted sum of rewards."""
        return float(self.rewards.sum())

    def __repr__(self) -> str:
        how = "terminated" if self.finished and self.terminations[-1] else "truncated" if self.finished else "unfinished"
        of = "" if self.agent is None else f" of agent {self.agent!r}"
        return f"Episode({self.id}{of}, {len(self)} steps, {how}, return {self.total_reward:g})"


def same(a: Any, b: Any) -> bool:
    """Whether two episodes or trees, a and b, are equal bit for bit (NaN equals a NaN of the same bits; dtypes count)."""
    if isinstance(a, Episode) and isinstance(b, Episode):
        return all(same(getattr(a, name), getattr(b, name)) for name in Episode.__dataclass_fields__ if name not in ("id", "session"))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return set(a) == set(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "tobytes") and hasattr(b, "tobytes"):
        return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
    return type(a) is type(b) and bool(a == b)
