"""Fast path of a frame in which all waiting agents decide: no budget, no levels of detail, no agents left from earlier frames.

Batches are read in place, since rows are rarely requeued. An agent that begins or ends meanwhile first detaches the batch
(`PolicyQueue.detach`). A detached or failed batch is then handled by the general path.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from operator import attrgetter

from cervello.agents.membership.deferred import deferred_calls, run_deferred
from cervello.agents.membership.table import ChangedError
from cervello.agents.runtime.frame import Frame
from cervello.agents.runtime.policy_queue import PolicyQueue
from cervello.agents.runtime.ready_queue import ReadyQueue
from cervello.agents.runtime.workers import Workers
from cervello.batcher.rows import owned
from cervello.spec import AgentId, Array

_BY_LAST_FRAME = attrgetter("last_frame")
Waiting = tuple[PolicyQueue, tuple[AgentId, ...], Mapping[str, Array], int]  # a policy, its agents, their columns, its membership version


def waiting_queues(ready_queue: ReadyQueue[PolicyQueue], queues: Collection[PolicyQueue]) -> list[PolicyQueue] | None:
    """The policies with waiting agents, in the order in which they run; None if the frame needs the general path.

    Agents accepted by the fast push began to wait in this frame. Among their policies, the one that has not run for longest comes first,
    then the one that was added first.

    Args:
      queues: all policies, in the order they were added.
    """
    if (ready_queue.ready or ready_queue.dirty or ready_queue.changed or ready_queue.needs_sort
            or len(ready_queue.members) != len(queues)):
        return None
    found = []
    for queue in queues:
        waiting = queue.pushed
        if waiting.generations:
            if waiting.shares or queue.policy.table.membership_version != queue.pruned_version:
                return None
            found.append(queue)
    if len(found) > 1:
        found.sort(key=_BY_LAST_FRAME)
    return found


def decide_in_place(frame: Frame, batches: Sequence[Waiting], lock: AbstractContextManager[object], workers: Workers) -> None:
    """Runs batches and adds their results to the frame.

    Args:
      batches: as `PolicyQueue.read` returned them for this frame.
      lock: of the queues; released while a policy runs.
      workers: runs batches that were detached because agents have begun or ended.
    """
    for queue, ids, columns, version in batches:
        try:
            results = owned(queue.policy.infer_batch(ids, columns, expected_version=version), columns)
        except ChangedError:
            with lock:
                detached = queue.detach()
            workers.run(frame, iter([(queue, detached)]), None, 0.0)
            continue
        except Exception as error:
            with lock:
                frame.fail(queue, queue.failed(queue.detach(), frame.number), error)
        else:
            with lock:
                queue.decided_in_place(ids, results, frame.number)
                frame.add(queue, ids, results)
        if deferred_calls:
            run_deferred()
