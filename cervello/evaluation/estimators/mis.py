"""`mis`: marginalised importance sampling."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from cervello.errors import ConfigurationError
from cervello.evaluation.estimators.kernel_visits import fit_kernels
from cervello.evaluation.moments import Moments, mean_of
from cervello.evaluation.table import AnyTable, Table, per_unit
from cervello.spec import Array

_MOST_STATES, _CENTRES = 512, 100


@dataclass(frozen=True, eq=False)
class Flow:
    """What visits flow by, for all logged observations, those after the last step of an episode included.

    Attributes:
      discount: [rows] γᵗ. start: [rows] 1 where an episode begins, else 0. onward: [K, rows] γᵗ γ ρₜ of each candidate, 0 where nothing
        follows. All are 0 where no step was taken.
    """

    discount: Array
    start: Array
    onward: Array

    @classmethod
    def of(cls, tables: Sequence[Table]) -> Flow:
        """Of candidates' tables, whose episodes lie in the order of the observations.

        Raises:
          ConfigurationError: γ = 1 with truncated episodes.
        """
        table = tables[0]  # they differ in ratios alone
        check_ends(table.gamma, table.truncated)
        episode, step = np.nonzero(table.alive)
        rows = _rows(episode)
        discount, start = np.zeros(len(rows) + table.n), np.zeros(len(rows) + table.n)
        onward = np.zeros((len(tables), len(rows) + table.n))
        last = step == table.length[episode] - 1
        goes_on = ~last if table.truncated is None else ~last | table.truncated[episode]
        counted, factor = table.discount[step], table.gamma * goes_on
        discount[rows], start[rows] = counted, step == 0
        with np.errstate(over="ignore"):
            for k, each in enumerate(tables):
                onward[k, rows] = counted * (factor * np.where(goes_on, each.step_ratio, 0.0))
        return cls(discount, start, onward)


def check_ends(gamma: float, truncated: Array | None) -> None:
    """Raises ConfigurationError for γ = 1 with truncated episodes, [n]: visits of what never ends have no sum."""
    if gamma == 1 and truncated is not None and truncated.any():
        raise ConfigurationError(f"evaluation, mis: expected γ < 1 or episodes that end, got γ = 1 and episode {int(np.argmax(truncated))} "
                                 "truncated; give gamma= or horizon= (--gamma or --horizon on the command line), or leave mis out")


Block = tuple[Array, Flow, Array]  # states [rows, d] of `read`, their flow, and places of steps in the data set [steps]
Ratios = Callable[[Array], Array]  # states [rows, d] ▸ [K, rows] the ratio of visits of each candidate


def visit_ratios(observations: Array, flow: Flow) -> Iterator[Array]:
    """w for each candidate, [rows]: the ratio of discounted visits under the candidate to those under the behaviour.

    Args:
      observations: [rows, d], T + 1 of each episode, episode by episode.
    """
    order = np.arange(int((flow.discount > 0).sum()))
    states = read(observations, flow)
    yield from fit_visits(lambda: iter([(states, flow, order)]))(states)


def fit_visits(blocks: Callable[[], Iterator[Block]], threads: int = 1, pool: ThreadPoolExecutor | None = None) -> Ratios:
    """Ratios of visits, fitted to blocks of whole episodes that are made anew in every pass.

    w solves the flow of discounted visits, for features φ: Σ γᵗ w(sₜ) (φ(sₜ) − γ ρₜ φ(sₜ₊₁)) = Σ φ(s₀), where nothing follows an
    episode's end. Features are indicators where observations are integers or one-hot and few; else w = 1 + Σ α k with Gaussian kernels
    (median distance) around at most 100 logged states, ridge 1e-3 n.

    Args:
      threads: that share the work; results do not depend on them. pool: of so many threads; None for an own one.
    """
    n_taken, distinct = _distinct(blocks())

    def cleaned() -> Iterator[tuple[Array, Flow]]:
        for states, flow, _ in blocks():
            yield states, flow

    if distinct is not None:
        return _by_indicators(cleaned, distinct)
    centres = _rows_at(blocks(), np.unique(np.linspace(0, n_taken - 1, _CENTRES).round().astype(np.int64)))
    return fit_kernels(cleaned, centres, threads, pool)


def read(observations: Array, flow: Flow) -> Array:
    """[rows, d] float64 states; 0 where nothing is read: after an episode's end anything may stand."""
    states = np.asarray(observations, np.float64) + 0.0  # no −0, whose bytes differ
    unread = flow.discount <= 0
    for onward in flow.onward[:, :-1]:
        unread[1:] &= ~(onward > 0)
    states[unread] = 0.0
    return states


def _distinct(blocks: Iterator[Block]) -> tuple[int, Array | None]:
    """Steps, and the distinct states of them where these are integers or one-hot and few; else None."""
    n, found = 0, None
    few = True
    for states, flow, _ in blocks:
        taken = flow.discount > 0
        n += int(taken.sum())
        if few:
            own = discrete_states(states[taken])
            found = own if found is None or own is None else discrete_states(np.concatenate([found, own]))
            few = found is not None
    return n, found


def _rows(episode: Array) -> Array:
    """Rows of steps among all observations: each episode before has one observation more than steps."""
    return np.arange(len(episode)) + episode


def mis(table: Table, ratio_of_visits: Array) -> Moments:
    """Σᵢₜ γᵗ w(sᵢₜ) ρᵢₜ rᵢₜ / n, with ρ the ratio of the step alone and w of `visit_ratios`. Returns, not average rewards.

    Source: Q. Liu, L. Li, Z. Tang, D. Zhou, "Breaking the curse of horizon: infinite-horizon off-policy estimation", NeurIPS 2018.
    """
    [paid] = _paid((table,), (ratio_of_visits,))
    return _mean(paid, table.counts)


def mis_of_all(tables: Sequence[AnyTable], observations: Callable[[], Iterator[tuple[Array, Array]]], threads: int = 1,
               pool: ThreadPoolExecutor | None = None) -> list[Moments]:
    """`mis` of several candidates.

    Args:
      tables: whose blocks hold the same episodes.
      observations: makes [rows, d] of each block, T + 1 of each episode, and the places in the data set of the steps of which γᵗ > 0.
      threads: that share the work; results do not depend on them. pool: of so many threads; None for an own one.
    """
    def blocks() -> Iterator[tuple[tuple[Table, ...], Array, Flow, Array]]:
        for (rows, places), *some in zip(observations(), *(table.blocks() for table in tables), strict=True):
            flow = Flow.of(some)
            yield tuple(some), read(rows, flow), flow, places

    if all(isinstance(table, Table) for table in tables):
        only = list(blocks())
        return _of_blocks(lambda: iter(only), tables, threads, pool)
    return _of_blocks(blocks, tables, threads, pool)


def _of_blocks(blocks: Callable[[], Iterator[tuple[tuple[Table, ...], Array, Flow, Array]]], tables: Sequence[AnyTable],
               threads: int, pool: ThreadPoolExecutor | None) -> list[Moments]:
    ratios = fit_visits(lambda: (each for _, *each in blocks()), threads, pool)  # type: ignore[misc]
    paid: list[list[Array]] = [[] for _ in tables]
    for some, states, *_ in blocks():
        for its, found in zip(paid, _paid(some, ratios(states)), strict=True):
            its.append(found)
    counts = per_unit(tables[0], lambda table: table.counts)
    return [_mean(np.concatenate(its), counts) for its in paid]


def _paid(tables: Sequence[Table], ratios_of_visits: Iterable[Array]) -> Iterator[Array]:
    """[U] of each table; they differ in ratios alone."""
    table = tables[0]
    episode, step = np.nonzero(table.alive)
    rows, discount, reward = _rows(episode), table.discount[step], table.reward[table.alive]
    for each, ratio_of_visits in zip(tables, ratios_of_visits, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite has no estimate
            paid = discount * ratio_of_visits[rows]
            paid *= each.step_ratio
            paid *= reward
        yield table.by_unit(np.bincount(episode, paid, table.n))


def _mean(paid: Array, counts: Array) -> Moments:
    return replace(mean_of(paid, counts), influence=None, notes=("the fit of visits is kept in resamples; intervals are by the bootstrap",))


Cleaned = Callable[[], Iterator[tuple[Array, Flow]]]


def _by_indicators(blocks: Cleaned, distinct: Array) -> Ratios:
    """distinct: [F, d]; a state that is none of them has no feature."""
    F = len(distinct)
    visited, start, moved = np.zeros(F), np.zeros(F), None
    for states, flow in blocks():
        places = _places(states, distinct)
        here, there, discount = places[:-1], places[1:], flow.discount[:-1]
        at, begun = (discount != 0) & (here >= 0), (flow.start > 0) & (places >= 0)
        visited += np.bincount(here[at], discount[at], F)
        start += np.bincount(places[begun], minlength=F)
        own = []
        for onward in flow.onward[:, :-1]:
            on = (onward != 0) & (here >= 0) & (there >= 0)
            own.append(np.bincount(there[on] * F + here[on], onward[on], F * F).reshape(F, F))  # [feature, unknown]
        moved = np.stack(own) if moved is None else moved + np.stack(own)
    assert moved is not None
    solved = [np.linalg.lstsq(np.diag(visited) - each, start, rcond=None)[0] if np.isfinite(each).all() else np.full(F, np.nan)
              for each in moved]  # ratios that no float64 holds have no flow

    def ratios(states: Array) -> Array:
        places = _places(states, distinct)
        return np.stack([np.where(places >= 0, each[places], 0.0) for each in solved])

    return ratios


def _rows_at(blocks: Iterator[Block], places: Array) -> Array:
    """[places, d] states at places of the data set, ascending."""
    found: dict[int, Array] = {}
    for states, flow, own in blocks:
        mine = np.isin(own, places)
        found.update(zip(own[mine].tolist(), states[np.flatnonzero(flow.discount > 0)[mine]], strict=True))
    return np.stack([found[place] for place in places.tolist()])


def discrete_states(states: Array) -> Array | None:
    """[S, d] the distinct rows where observations are integers or one-hot and few; else None."""
    for some in (states[:100], states):  # the first ones tell it of most
        if not (some == np.round(some)).all():
            return None
    distinct = np.unique(states, axis=0)
    return distinct if len(distinct) <= _MOST_STATES else None


def _places(rows: Array, distinct: Array) -> Array:
    """[N] which of the distinct rows each is, −1 for none."""
    known = {row.tobytes(): i for i, row in enumerate(np.ascontiguousarray(distinct))}
    found, inverse = np.unique(rows, axis=0, return_inverse=True)
    numbers = np.array([known.get(row.tobytes(), -1) for row in np.ascontiguousarray(found)], np.int64)
    return numbers[inverse.reshape(-1)]
