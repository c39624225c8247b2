"""The pass over the data on Ray Data: one episode per row, candidates in a pool of actors, results merged in the order of the data set.

What an episode scores does not depend on the batch that it is run in, bit for bit, so the report is that of one process.

Cost: every episode is pickled, sent and unpickled once, and what estimators need of it comes back: two float64 per step and candidate, and
the observations where a value function is fitted. Driver and object store hold the episodes that wait; Ray spills them to disk.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from cervello.errors import CervelloError, ConfigurationError
from cervello.evaluation.behavior import Behavior
from cervello.evaluation.candidates import Candidate
from cervello.evaluation.scoring import Data, Needs, Progress, Scores, score
from cervello.recording import Episode
from cervello.spec import Array

_PER_BLOCK = 64  # episodes


class _Scorer:
    """An actor: the candidates of one evaluation."""

    def __init__(self, job: bytes):
        self._job = pickle.loads(job)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        indices = [int(i) for i in batch["index"]]
        try:
            found: Any = score(((i, pickle.loads(each)) for i, each in zip(indices, batch["episode"], strict=True)), *self._job)
        except CervelloError as error:  # itself, and not Ray's account of it
            found = error
        return {"first": np.array([min(indices)]), "result": np.array([pickle.dumps((indices, found))], object)}


def score_on_ray(found: Iterable[tuple[int, Episode]], candidates: Sequence[Candidate], behavior: Behavior | Candidate | None, needs: Needs,
                 horizon: int | None, reward_range: tuple[float, float] | None, bounds: tuple[Array, Array] | None,
                 progress: Progress | None, workers: int) -> tuple[Data, list[Scores]]:
    """What `score` gives, computed by actors.

    Args:
      workers: actors of one CPU each. Ray is started on this machine where it does not run.
    Raises:
      InputError: as `score`. ConfigurationError: Ray is not installed.
    """
    try:
        import pyarrow
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigurationError(f"evaluation, ray: expected the extra 'ray', got {error}; pip install 'cervello[ray]'") from error
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    blocks = [ray.put(pyarrow.table({"index": [i for i, _ in some], "episode": [pickle.dumps(each) for _, each in some]}))
              for some in _blocks(found)]
    job = pickle.dumps((candidates, behavior, needs, horizon, reward_range, bounds, None))
    done: list[tuple[list[int], Any]] = []
    n = 0
    if blocks:
        rows = ray.data.from_arrow_refs(blocks).map_batches(
            _Scorer, fn_constructor_args=(job,), batch_size=_PER_BLOCK, compute=ray.data.ActorPoolStrategy(size=workers), num_cpus=1)
        for row in rows.iter_rows():
            done.append(pickle.loads(row["result"]))
            n += len(done[-1][0])
            if progress is not None:
                progress(n)
    failed = sorted((indices[0], result) for indices, result in done if isinstance(result, CervelloError))[:1]
    if failed:
        raise failed[0][1]
    order = np.argsort([i for indices, _ in done for i in indices], kind="stable").tolist()
    data = _merged(Data, [result[0] for _, result in done], order)
    scores = [_merged(Scores, [result[1][k] for _, result in done], order) for k in range(len(candidates))]
    return data, scores


def _blocks(found: Iterable[tuple[int, Episode]]) -> Iterator[list[tuple[int, Episode]]]:
    some: list[tuple[int, Episode]] = []
    for pair in found:
        some.append(pair)
        if len(some) == _PER_BLOCK:
            yield some
            some = []
    if some:
        yield some


def _merged(kind: Any, parts: Sequence[Any], order: Sequence[int]) -> Any:
    """Parts put together, what there is per episode in the order of the data set."""
    whole = kind()
    for field in fields(kind):
        values = [getattr(part, field.name) for part in parts]
        if field.name == "violations":
            known = [value for value in values if value is not None]
            whole.violations = sum(known) if known else None
        elif field.name == "ties":
            whole.ties = sum(values)
        elif field.name in ("deterministic", "discrete"):
            setattr(whole, field.name, all(values))
        else:
            rows = [row for value in values for row in value]
            setattr(whole, field.name, [rows[i] for i in order] if rows else [])
    return whole
