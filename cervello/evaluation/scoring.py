"""One pass over the data for all candidates, some episodes at a time: what estimators need of each logged step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial, reduce
from threading import Lock

import numpy as np

from cervello.errors import InputError
from cervello.evaluation.behavior import Behavior
from cervello.evaluation.candidates import Candidate
from cervello.evaluation.chunk import Chunk, Data, EpisodeBatch, Needs, Scores
from cervello.evaluation.features import features
from cervello.evaluation.logged import Logged, checked
from cervello.evaluation.logged_columns import logged_distribution, ticks
from cervello.evaluation.policy_runner import PolicyOutputs
from cervello.evaluation.recorded import check_recorded
from cervello.evaluation.registry import alternatives, names_where
from cervello.evaluation.support import is_never, without_impossible
from cervello.recording import Episode
from cervello.spec import Array

_ROWS = 1 << 15  # observations held at a time
_SUPPORT = 1e-6

Progress = Callable[[int], None]


def score(found: Iterable[tuple[int, Episode]], candidates: Sequence[Candidate], behavior: Behavior | Candidate | None, needs: Needs,
          horizon: int | None, reward_range: tuple[float, float] | None, bounds: tuple[Array, Array] | None,
          progress: Progress | None, threads: int = 1) -> Iterator[Chunk]:
    """Runs the candidates over all episodes; gives what some of them left at a time, in order.

    Args:
      found: episodes with their places in the data set.
      behavior: None where propensities were logged; else what gives them.
      bounds: of a bounded Box, to which the candidates' own actions are clipped.
      progress: called with the number of episodes that are done.
      threads: above 1, so many threads score candidates while the caller's reads on.
    Raises:
      InputError: episodes that do not fit; the message names episode, step and column.
    """
    locks = [Lock() for _ in candidates]  # a policy runs some episodes at a time

    def scored(k: int, some: EpisodeBatch, logp: Array | None, every_logged: Sequence[Array | None]) -> Scores:
        with locks[k]:
            decided = candidates[k].run(some.episodes, some.tree)
        return _score(candidates[k], decided, some, logp, every_logged, needs, bounds)

    def jobs() -> Iterator[tuple[Data, list[Callable[[], Scores]]]]:
        for some in _chunks(found, horizon, reward_range, _ROWS if threads == 1 else _ROWS // 2):
            data = Data()
            fits = all(candidate.fits(some) for candidate in candidates)
            for each in some:
                for candidate in candidates if not fits else ():
                    candidate.check(each)
                _keep(data, each, behavior, needs)
            together = EpisodeBatch(some)
            if needs.trees:
                data.trees.append(together.tree)
            if needs.features:
                data.features.append(features(together.tree))
            every_logged = _behavior_everywhere(together, behavior, data, needs)
            logp = np.concatenate(data.logp) if data.logp else None
            yield data, [partial(scored, k, together, logp, every_logged) for k in range(len(candidates))]

    n = 0
    for data, scores in ((data, [job() for job in each]) for data, each in jobs()) if threads == 1 else _ahead(jobs(), threads):
        yield data, scores
        n += data.n
        if progress is not None:
            progress(n)


def _ahead(chunks: Iterator[tuple[Data, list[Callable[[], Scores]]]], threads: int) -> Iterator[Chunk]:
    """Runs the jobs of a chunk on threads while the next chunk is made. What fails first in the order of the data set is raised."""
    before: tuple[Data, list[Future[Scores]]] | None = None
    failed: Exception | None = None
    with ThreadPoolExecutor(threads, "cervello-evaluation") as pool:
        while True:
            try:
                chunk = next(chunks, None)
            except Exception as error:
                chunk, failed = None, error
            running = None if chunk is None else (chunk[0], [pool.submit(job) for job in chunk[1]])
            if before is not None:
                yield before[0], [each.result() for each in before[1]]
            if running is None:
                break
            before = running
    if failed is not None:
        raise failed


def _chunks(found: Iterable[tuple[int, Episode]], horizon: int | None, reward_range: tuple[float, float] | None,
            most: int) -> Iterator[list[Logged]]:
    some: list[Logged] = []
    rows = 0
    for index, episode in found:
        each = checked(episode, index, horizon, reward_range)
        some.append(each)
        rows += each.length + 1
        if rows >= most:
            yield some
            some, rows = [], 0
    if some:
        yield some


def _keep(data: Data, each: Logged, behavior: Behavior | Candidate | None, needs: Needs) -> None:
    if data.n == 0:
        data.discrete = each.discrete
    data.rewards.append(each.rewards)
    data.terminated.append(each.terminated)
    data.truncated.append(each.truncated)
    data.final_obs_missing.append(each.final_obs_missing)
    data.match.append(each.match)
    data.n_certain += each.n_certain
    if needs.ticks:
        data.tick.append(ticks(each))
    if needs.values:
        data.actions.append(each.actions)
    if needs.modes:
        data.sampled.append(each.sampled)
    if not needs.propensities:
        return
    if not each.discrete and each.deterministic is not None and each.deterministic.any():
        raise InputError(f"{each.where}, step {int(np.argmax(each.deterministic))}, deterministic: expected an action that was drawn, got "
                         "one that was not, which has no density; log with exploration, or take estimators "
                         f"{alternatives(names_where(lambda info: 'propensities' not in info.needs))}")
    if isinstance(behavior, Behavior):
        data.logp.append(behavior.log_prob(each))
    elif behavior is None:
        data.logp.append(_logged(each))


def _logged(each: Logged) -> Array:
    remedy = ("log them as infos 'behavior_logp' (cervello.recording does), or fit them: "
              "behavior=evaluation.fit_behavior(dataset, LogisticRegression()), on the command line --behavior fit")
    if each.logp is None:
        raise InputError(f"{each.where}, behavior_logp: expected the propensities of the logged actions, got none; {remedy}")
    if np.isnan(each.logp).any():
        raise InputError(f"{each.where}, step {int(np.argmax(np.isnan(each.logp)))}, behavior_logp: expected a propensity, got none (NaN); "
                         f"{remedy}")
    return each.logp


def _behavior_everywhere(together: EpisodeBatch, behavior: Behavior | Candidate | None, data: Data, needs: Needs) -> list[Array | None]:
    """[T, K] the behaviour's logarithms of all actions of each episode, where they are known; appends a candidate's propensities."""
    some = together.episodes
    if not needs.propensities:
        return [None] * len(some)
    if isinstance(behavior, Behavior):
        return [behavior.every_log_prob(each) for each in some]
    if behavior is None:
        return [logged_distribution(each) for each in some]
    for each in some:
        behavior.check(each)
    decided, found, at = behavior.run(some, together.tree), [], 0
    for each in some:
        columns = decided.rows(np.arange(at, at + each.length))
        logs = behavior.log_prob(columns, each.sampled, each.pre_tanh)
        possible = np.isfinite(logs)
        if behavior.discrete:
            possible &= ~is_never(logs, each.sampled[0].size)
        if not possible.all():
            t = int(np.argmin(possible))
            raise InputError(f"{each.where}, step {t}, behavior: expected a probability above 0, since the action was taken, got "
                             f"{np.exp(logs[t]):g}; this policy did not log these data, or squashed actions lack pre_tanh")
        data.logp.append(logs)
        found.append(behavior.every_log_prob(columns, each.length))
        at += each.length + 1
    return found


def _score(candidate: Candidate, decided: PolicyOutputs, some: EpisodeBatch, logp: Array | None, every_logged: Sequence[Array | None],
           needs: Needs, bounds: tuple[Array, Array] | None) -> Scores:
    """What a candidate says about some episodes. Heads see all steps at once.

    Args:
      logp: [steps] the behaviour's logarithms, where ratios are asked for.
    """
    its = Scores()
    every, columns = _distributions(candidate, decided, some, needs, its)
    chosen = None if every is None else every[np.arange(len(every)), some.choices]
    if needs.ratios:
        assert logp is not None
        logs = chosen if chosen is not None else candidate.log_prob(columns, some.sampled, some.pre_tanh)
        _check_target(logs, some.episodes, candidate, some.stops[:-1])
        if candidate.discrete:
            logs = without_impossible(logs, some.sampled[0].size)
        check_recorded(candidate, logs, some.episodes)
        its.log_ratio.append(logs - logp)
    modes = candidate.modes(columns) if needs.modes or (needs.matches and every is None) else None
    if needs.modes:
        assert modes is not None
        its.modes.append(modes)
    matched: Array | None
    if every is not None:
        assert chosen is not None
        matched = _choices(its, every, chosen, some, every_logged)
    else:
        its.deterministic &= candidate.deterministic
        taken = np.concatenate([each.actions for each in some.episodes]) if needs.matches else None
        matched = None if modes is None or taken is None else _closeness(modes, taken, candidate.discrete, bounds)
    if needs.matches:
        assert matched is not None
        its.matches.append(np.add.reduceat(matched, some.stops - some.lengths))
    return its


def _distributions(candidate: Candidate, decided: PolicyOutputs, some: EpisodeBatch, needs: Needs,
                   its: Scores) -> tuple[Array | None, dict[str, Array]]:
    """[steps, K] log-probabilities of all actions at the logged steps, None where they are not K; and the head's tensors there, where they
    are asked for. What values need of all observations is added to `its`."""
    columns: dict[str, Array] = {}
    if needs.values:
        everywhere = candidate.every_log_prob(decided.columns, decided.n_rows)
        every = None if everywhere is None else everywhere[some.rows]
        if everywhere is not None:
            its.every.append(np.exp(everywhere))
        else:
            its.columns.append(dict(decided.columns))
    else:
        columns = decided.rows(some.rows)
        every = candidate.every_log_prob(columns, len(some.rows))
    if every is None or needs.modes:
        columns = columns or decided.rows(some.rows)
    return every, columns


def _choices(its: Scores, every: Array, chosen: Array, some: EpisodeBatch, every_logged: Sequence[Array | None]) -> Array:
    """[steps] how far the logged action is the most likely one: 1 over the ties, or 0. Counts ties and support violations.

    Args:
      every: [steps, K] log-probabilities. chosen: [steps] those of the logged actions.
      every_logged: [T, K] the behaviour's, of each episode; None where they are not known.
    """
    top = reduce(np.maximum, every.T)
    ties = reduce(np.add, [(column == top).astype(np.int64) for column in every.T])
    its.ties += int((ties > 1).sum())
    its.deterministic &= bool((np.exp(top) >= 1 - 1e-9).all())
    matched = (chosen == top) / ties
    for theirs, stop, T in zip(every_logged, some.stops.tolist(), some.lengths.tolist(), strict=True):
        if theirs is not None and theirs.shape == (T, every.shape[1]):
            never = (is_never(theirs) & (np.exp(every[stop - T:stop]) > _SUPPORT)).any(1)
            its.violations = (its.violations or 0) + int(never.sum())
    return np.asarray(matched)


def _closeness(modes: Array, taken: Array, discrete: bool, bounds: tuple[Array, Array] | None) -> Array:
    """[N] 1 where discrete actions are equal; the distance of continuous ones."""
    if not discrete and bounds is not None:
        modes = np.clip(modes, *bounds)
    gap = modes.reshape(len(modes), -1).astype(np.float64) - taken.reshape(len(taken), -1)
    return np.asarray((gap == 0).all(1).astype(np.float64) if discrete else np.sqrt((gap**2).sum(1)))


def _check_target(logs: Array, some: Sequence[Logged], candidate: Candidate, cuts: Array) -> None:
    if not logs.max() < np.inf:  # the largest of numbers with a NaN is NaN
        wrong = np.isnan(logs) | np.isposinf(logs)
        i = int(np.argmax(wrong))
        k = int(np.searchsorted(cuts, i, "right"))
        t = i - (int(cuts[k - 1]) if k else 0)
        raise InputError(f"{some[k].where}, step {t}: expected a log-probability of policy {candidate.name!r}, got {logs[i]}; its outputs "
                         "are not finite there, or the logged action lies at the edge of squashed actions: log pre_tanh")
