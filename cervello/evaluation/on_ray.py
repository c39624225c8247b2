"""The pass over the data on Ray Data: one episode per row, candidates in a pool of actors, results merged in the order of the data set.

What an episode scores does not depend on the batch that it is run in, bit for bit, so the report is that of one process.

Cost: every episode is pickled, sent and unpickled once, and what estimators need of it comes back: two float64 per step and candidate, and
the observations where there is a value function. The object store holds the episodes that wait, and Ray spills them to disk; the driver
holds results that came before their turn.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from cervello.errors import CervelloError, ConfigurationError
from cervello.evaluation.behavior import Behavior
from cervello.evaluation.candidates import Candidate
from cervello.evaluation.chunk import Chunk, Needs
from cervello.evaluation.scoring import Progress, score
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
            found: Any = list(score(((i, pickle.loads(each)) for i, each in zip(indices, batch["episode"], strict=True)), *self._job))
        except CervelloError as error:  # itself, and not Ray's account of it
            found = error
        return {"first": np.array([min(indices)]), "result": np.array([pickle.dumps((indices, found))], object)}


def score_on_ray(found: Iterable[tuple[int, Episode]], candidates: Sequence[Candidate], behavior: Behavior | Candidate | None, needs: Needs,
                 horizon: int | None, reward_range: tuple[float, float] | None, bounds: tuple[Array, Array] | None,
                 progress: Progress | None, workers: int) -> Iterator[Chunk]:
    """What `score` gives, computed by actors, in the order of the data set.

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
        raise ConfigurationError(f"evaluation, ray: expected the extra 'ray', got {error}; install the extra 'ray'") from error
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    blocks = [ray.put(pyarrow.table({"index": [i for i, _ in some], "episode": [pickle.dumps(each) for _, each in some]}))
              for some in _blocks(found)]
    job = pickle.dumps((candidates, behavior, needs, horizon, reward_range, bounds, None))
    if not blocks:
        return
    rows = ray.data.from_arrow_refs(blocks).map_batches(
        _Scorer, fn_constructor_args=(job,), batch_size=_PER_BLOCK, compute=ray.data.ActorPoolStrategy(size=workers), num_cpus=1)
    early: dict[int, tuple[list[int], Any]] = {}  # by the first episode; those before it are not there yet
    failed: CervelloError | None = None
    due = n = 0
    for row in rows.iter_rows():
        indices, result = pickle.loads(row["result"])
        early[indices[0]] = (indices, result)
        n += len(indices)
        if progress is not None:
            progress(n)
        while due in early:
            indices, result = early.pop(due)
            due = indices[-1] + 1
            if failed is None and isinstance(result, CervelloError):
                failed = result  # the first in the order of the data set; the actors finish their work
            elif failed is None:
                yield from result
    if failed is not None:
        raise failed
    assert not early


def _blocks(found: Iterable[tuple[int, Episode]]) -> Iterator[list[tuple[int, Episode]]]:
    some: list[tuple[int, Episode]] = []
    for pair in found:
        some.append(pair)
        if len(some) == _PER_BLOCK:
            yield some
            some = []
    if some:
        yield some
