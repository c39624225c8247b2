"""The table of estimators: what each one is and needs. Lists, checks, help texts and the table of docs/evaluation.md come from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from cervello.errors import ConfigurationError
from cervello.evaluation import estimators as library
from cervello.evaluation.diagnostics import UNSUPPORTED, diagnose, judge
from cervello.evaluation.estimators.cwpdis import CARRY
from cervello.evaluation.moments import Moments
from cervello.evaluation.table import AnyTable
from cervello.spec import Array

if TYPE_CHECKING:
    from cervello.evaluation.blocks import Blocks, Rows

Need = Literal["propensities", "ratios", "values", "modes", "matches", "features"]
Family = Literal["weights", "values", "kernel", "check"]

RESAMPLED = ("bca", "percentile", "calibrated")
BY_INFLUENCE = (*RESAMPLED, "student-t")
EVERY_KIND = (*BY_INFLUENCE, "hoeffding", "empirical-bernstein")


@dataclass(frozen=True, eq=False)
class EstimatorInputs:
    """What an estimator may take of one candidate.

    Attributes:
      table: ratios, rewards and values of its logged steps. blocks: the columns of the data set, by unit. candidate: its number among them.
      closeness: [U] sums over each unit's steps of its agreement with what was logged; empty where no estimator needs it.
      n_episodes: of the data set. discrete: whether actions are integers.
      ragged, seed, bandwidth, kernel: as for `evaluate`.
    """

    table: AnyTable
    blocks: Blocks
    candidate: int
    closeness: Array
    n_episodes: int
    discrete: bool
    ragged: str = CARRY
    seed: int = 0
    bandwidth: float | None = None
    kernel: str = "gaussian"


@dataclass(frozen=True)
class EstimatorInfo:
    """One estimator.

    Attributes:
      name: as `evaluate` takes it.
      summary, trust: what it is in plain words, and when to trust it; for the documentation.
      function: of one candidate's inputs. function_of_all: in place of it, of all candidates together: their tables, the data set's
        columns, and a pool of so many threads.
      needs: "propensities" of the behaviour; "ratios" of the candidate's probabilities to them; "values" Q̂ and V̂; "modes", the
        candidate's own actions; "matches", their agreement with the logged ones; "features" of observations.
      family: what decides its verdict: "weights", their diagnostics; "values", always weak; "kernel", weak unless unsupported; "check", no
        value of a policy at all.
      intervals: kinds that it has; where "student-t" is not among them, BCa stands in for it.
      continues: whether an episode that is truncated before the horizon goes on (True), ends (False), or does not matter (None).
      joint: whether it takes joint weights of several agents. ragged: whether `ragged=` changes it.
    """

    name: str
    summary: str
    trust: str
    function: Callable[[EstimatorInputs], Moments] | None = None
    function_of_all: Callable[[Sequence[AnyTable], Blocks, int, ThreadPoolExecutor], list[Moments]] | None = None
    needs: frozenset[Need] = frozenset()
    family: Family = "weights"
    intervals: tuple[str, ...] = BY_INFLUENCE
    continues: bool | None = None
    joint: bool = False
    ragged: bool = False


def of_table(estimator: Callable[[AnyTable], Moments]) -> Callable[[EstimatorInputs], Moments]:
    """An estimator that takes the table alone."""
    return lambda inputs: estimator(inputs.table)


def _cwpdis(inputs: EstimatorInputs) -> Moments:
    return library.cwpdis(inputs.table, inputs.ragged)


def _magic(inputs: EstimatorInputs) -> Moments:
    return library.magic(inputs.table, inputs.seed)


def _agreement(inputs: EstimatorInputs) -> Moments:
    return library.agreement(inputs.table, inputs.closeness)


def _kis(inputs: EstimatorInputs) -> Moments:
    if inputs.discrete:
        raise ConfigurationError("evaluation, kis: expected continuous actions, got discrete ones; take 'pdis' or 'cwpdis'")
    library.check_kernel(inputs.kernel, inputs.bandwidth)
    width = library.bandwidths(inputs.blocks.deviation("sampled"), inputs.n_episodes, inputs.bandwidth)

    def log_ratio(rows: Rows) -> Array:
        taken, own = (rows(name).astype(np.float64) for name in ("sampled", ("mode", inputs.candidate)))
        return library.kernel_ratios(taken, own, rows("logp"), width)

    table = inputs.blocks.table(inputs.candidate, log_ratio)
    found, judged = library.cwpdis(table), judge(diagnose(table))
    if judged.name == UNSUPPORTED:
        return replace(found, unsupported=f"{judged.reason}, or give another bandwidth=")
    return found


def _mis(tables: Sequence[AnyTable], blocks: Blocks, threads: int, pool: ThreadPoolExecutor) -> list[Moments]:
    return library.mis_of_all(tables, blocks.features, threads, pool)


_RATIOS: frozenset[Need] = frozenset({"propensities", "ratios"})
_VALUES: frozenset[Need] = frozenset({"values"})

INFOS: dict[str, EstimatorInfo] = {info.name: info for info in (
    EstimatorInfo("is", "Each episode is weighted by how much more often the candidate would have played it. No bias, large variance.",
                  "episodes are short", of_table(library.importance_sampling), needs=_RATIOS, intervals=EVERY_KIND, continues=False,
                  joint=True),
    EstimatorInfo("pdis", "The same, reward by reward: a reward is weighted by the actions up to it only.",
                  "episodes are short; better than `is`", of_table(library.pdis), needs=_RATIOS, intervals=EVERY_KIND, continues=False,
                  joint=True),
    EstimatorInfo("wis", "Weights are divided by their sum. A small bias, much less variance; never outside the range of returns.",
                  "usually", of_table(library.wis), needs=_RATIOS, continues=False, joint=True),
    EstimatorInfo("cwpdis", "`pdis`, with each step's weights divided by their sum.",
                  "usually; the first choice for longer episodes", _cwpdis, needs=_RATIOS, continues=False, joint=True, ragged=True),
    EstimatorInfo("fqe", "A value function at the first observations, fitted to the log.", "never alone", of_table(library.fqe),
                  needs=_VALUES, family="values", intervals=RESAMPLED, continues=True),
    EstimatorInfo("dm", "The same, with the value function that `q=` gives or fits.", "never alone", of_table(library.dm), needs=_VALUES,
                  family="values", continues=True),
    EstimatorInfo("dr", "A value function, corrected by weighted errors. No bias if the propensities are right.", "weights are moderate",
                  of_table(library.dr), needs=_RATIOS | _VALUES, continues=True),
    EstimatorInfo("wdr", "`dr` with normalised weights.", "usually", of_table(library.wdr), needs=_RATIOS | _VALUES, continues=True),
    EstimatorInfo("magic", "Blends `wdr` at different lengths with the value function.", "episodes are long", _magic,
                  needs=_RATIOS | _VALUES, intervals=RESAMPLED, continues=True),
    EstimatorInfo("mis", "Weighs states instead of histories, so variance does not grow with length.",
                  "states are few, or described well", function_of_all=_mis, needs=_RATIOS | {"features"}, intervals=RESAMPLED,
                  continues=True),
    EstimatorInfo("kis", "For deterministic policies with continuous actions: actions near the candidate's count.",
                  "the bandwidth hardly matters", _kis, needs=frozenset({"propensities", "modes"}), family="kernel", continues=False),
    EstimatorInfo("agreement", "How often (discrete) or how closely (continuous) the candidate acts as logged. No value.", "as a check",
                  _agreement, needs=frozenset({"matches"}), family="check"),
)}
"""Every estimator by name, in the order of the documentation."""


def names_where(chosen: Callable[[EstimatorInfo], bool]) -> list[str]:
    """Names of the estimators for which a condition holds."""
    return [name for name, info in INFOS.items() if chosen(info)]


def alternatives(names: Iterable[str]) -> str:
    """"'a', 'b' or 'c'", of estimators to take in place of another."""
    *others, last = [repr(name) for name in names]
    return f"{', '.join(others)} or {last}" if others else last


def markdown() -> str:
    """The table of docs/evaluation.md."""
    rows = ["| name | in plain words | trust it when | needs | intervals |", "|---|---|---|---|---|"]
    for info in INFOS.values():
        needs = [name for name in ("ratios", "propensities", "values", "modes", "matches", "features") if name in info.needs
                 and not (name == "propensities" and "ratios" in info.needs)]
        kinds = "all" if info.intervals == EVERY_KIND else ", ".join(info.intervals)
        rows.append(f"| `{info.name}` | {info.summary} | {info.trust} | {', '.join(needs)} | {kinds} |")
    return "\n".join(rows) + "\n"
