"""A frame in which all who wait decide and nothing else is asked for: no budget, no levels of detail, nobody left from earlier frames.

Batches are read where they wait, since nothing has to be put back as a rule. Who comes or goes meanwhile sets a batch apart first
(`PolicyQueue.set_apart`); from then on it is one like any other, as is a batch that fails.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from operator import attrgetter

from cervello.agents.membership.deferred import catch_up, notes
from cervello.agents.membership.table import ChangedError
from cervello.agents.runtime.frame import Frame
from cervello.agents.runtime.policy_queue import PolicyQueue
from cervello.agents.runtime.ready_queue import ReadyQueue
from cervello.agents.runtime.workers import Loop
from cervello.batcher.rows import owned
from cervello.spec import AgentId, Array

_BY_LAST_FRAME = attrgetter("last_frame")
Waiting = tuple[PolicyQueue, tuple[AgentId, ...], Mapping[str, Array], int]  # a policy, its agents, their columns, its membership version


def waiting_queues(ready_queue: ReadyQueue[PolicyQueue], queues: Collection[PolicyQueue]) -> list[PolicyQueue] | None:
    """The policies that agents wait for, in the order in which they run; None where a frame must look after more.

    Agents that were let in without a word began to wait in this very frame, so of their policies the one comes first that has not run for
    longest, then the one that was added first.

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
            if waiting.shares or queue.policy.membership_version != queue.seen:
                return None
            found.append(queue)
    found.sort(key=_BY_LAST_FRAME)
    return found


def decide_in_place(frame: Frame, batches: Sequence[Waiting], lock: AbstractContextManager[object], loop: Loop) -> None:
    """Runs batches and puts what they give into the frame.

    Args:
      batches: as `PolicyQueue.read` gave them for this frame.
      lock: of the queues; not held while a policy runs.
      loop: runs batches that were set apart since agents have begun or ended.
    """
    for queue, ids, columns, version in batches:
        try:
            results = owned(queue.policy.infer_batch(ids, columns, expected_version=version), columns)
        except ChangedError:
            with lock:
                apart = queue.set_apart()
            loop.fill(frame, iter([(queue, apart)]), None, 0.0)
            continue
        except Exception as error:
            with lock:
                frame.fail(queue, queue.failed(queue.set_apart(), frame.number), error)
        else:
            with lock:
                queue.decided_in_place(ids, results, frame.number)
                frame.add(queue, ids, results)
        if notes:
            catch_up()
