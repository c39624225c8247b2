"""Answers a request of known layout in one compiled call, from its frame to the reply's frame.

The call compares the constant bytes, copies the rows, runs the batch and writes the reply; see `kernels.runtime.frames`. A frame of another
layout has no effect here, nor has a batch that needs another path or fails; the ordinary path handles them.
"""

from __future__ import annotations

import asyncio
from time import monotonic, perf_counter
from typing import TYPE_CHECKING

import numpy as np

from cervello.agents.policy.core import core_of
from cervello.agents.policy.repeated import RepeatedBatch
from cervello.bridge.framing import LENGTH
from cervello.bridge.loop_budget import BOUND_S
from cervello.codegen import entry, linker
from cervello.native.kernels.frame_words import FRAME, ID_END
from cervello.noise import layout as objects
from cervello.spec import Array

if TYPE_CHECKING:
    from cervello.bridge.request_layout import RequestLayout
    from cervello.bridge.session import Session
    from cervello.bridge.worker import Worker

_RUN, _ANSWER = "cervello.native.kernels.runtime.control:run_named", "cervello.native.kernels.runtime.frames:answer_frame"
WORTH_IT = 32  # requests of one layout that were answered at once before it gets a compiled call
_TICK: int = FRAME.index.tick
_TICK_BYTES = 5  # of a tick in a reply, at most


def link_kernels() -> None:
    """Compiles the kernels ahead of the first request."""
    if objects.is_known():
        linker.link((_RUN, _ANSWER))


class CompiledAnswer:
    """Answers frames of one layout, for one version of the policy, until an agent of its connection begins or ends. Mutable: it owns the
    columns and the reply. Used on the event loop.

    Attributes:
      version: of the policy that decides. n_bytes: of a frame.
      is_over: the policy was swapped, so no further frame is answered.
    """

    __slots__ = ("_active_clients", "_agent_states", "_agents_version", "_batch", "_block", "_call", "_client", "_client_agents",
                 "_counters", "_deadline_s", "_ended_s", "_has_tick", "_n_rows", "_policy", "_proof", "_reply", "_session", "_size",
                 "_worker", "is_over", "n_bytes", "version")

    def __init__(self, session: Session, worker: Worker, layout: RequestLayout, batch: RepeatedBatch, receive_buffer: Array):
        version = batch.engine.version
        assert session.client is not None
        self._session, self._worker, self._client = session, worker, session.client
        self._policy, self._batch, self.version, self._n_rows = core_of(worker.served.policy), batch, version, len(layout.agents)
        self._client_agents, self._agents_version, self._agent_states = layout.client_agents, layout.agents_version, layout.agent_states
        self._counters, self._size, self._deadline_s = worker.served.counters, layout.size, layout.deadline_us / 1e6
        self._active_clients, self._proof = worker.served.active_clients, -1  # `n_revoked` at the last proof of this size
        self._ended_s = 0.0  # of the last run
        self.is_over = False
        self._has_tick = layout.tick_field is not None
        for name, column in layout.defaults().items():
            batch.inputs[name][...] = worker.served.signature.inputs[name].column(column)
        self._bind(layout, receive_buffer)

    def _bind(self, layout: RequestLayout, receive_buffer: Array) -> None:
        """Makes the compiled call, which reads the frame, runs the batch and writes `_reply`, by the addresses in `_block`."""
        batch = self._batch
        assert batch.engine.fast_path is not None
        expected, mask = layout.fixed_bytes()
        n_bytes = self.n_bytes = LENGTH.size + len(expected)
        known, masks = np.zeros((2, -(-n_bytes // 8)), np.int64)
        _fill(known, LENGTH.pack(len(expected)) + expected)
        _fill(masks, b"\xff" * LENGTH.size + mask)
        parts, starts = layout.reply_parts(self.version)
        body = b"".join(parts)
        tick_to = ID_END + len(body)
        reply = self._reply = bytearray(ID_END) + body + bytes(_TICK_BYTES + len(layout.streams))
        frame_at, reply_at = receive_buffer.ctypes.data, np.frombuffer(reply, np.uint8).ctypes.data
        after = np.frombuffer(layout.streams + b"\0", np.uint8)[:-1]  # not every numpy takes empty bytes
        inputs, outputs = [], []
        for name, start, stop in layout.input_ranges():
            inputs += [frame_at + LENGTH.size + start, batch.inputs[name].ctypes.data, stop - start]
        for name, first in starts:
            outputs += [batch.outputs[name].ctypes.data, reply_at + ID_END + first, batch.outputs[name].nbytes]
        tick = layout.tick_field
        block = self._block = np.array([*FRAME.filled(
            run=linker.address(_RUN), context=batch.engine.fast_path.context, readiness=batch.readiness.ctypes.data, rows=self._n_rows,
            frame=frame_at, frame_bytes=n_bytes, expected=known.ctypes.data, mask=masks.ctypes.data, id_at=LENGTH.size + layout.id_start,
            id_bytes=layout.id_stop - layout.id_start, tick_at=0 if tick is None else LENGTH.size + tick.start,
            tick_bytes=0 if tick is None else tick.stop - tick.start, reply=reply_at, tick_to=tick_to, after=after.ctypes.data,
            after_bytes=after.nbytes, n_inputs=len(inputs) // 3, n_copies=(len(inputs) + len(outputs)) // 3), *inputs, *outputs], np.int64)
        self._call = entry.fastcall_objects(_ANSWER, block.ctypes.data, (block, known, masks, after, reply, receive_buffer, batch))

    @classmethod
    def of(cls, session: Session, worker: Worker, layout: RequestLayout, receive_buffer: Array) -> CompiledAnswer | None:
        """Makes the compiled call for a layout whose agents have begun; None where compiled code does not support it.

        Args:
          receive_buffer: [bytes] uint8, the buffer that receives frames.
        """
        if not objects.is_known() or receive_buffer.ctypes.data % 8 or not layout.is_plain:
            return None
        batch = core_of(worker.served.policy).repeat(layout.keys, layout.flags)
        if batch is None or batch.inputs.keys() != {name for name, _, _ in layout.input_ranges()} | layout.defaults().keys():
            return None
        return cls(session, worker, layout, batch, receive_buffer)

    def answer(self, n_bytes: int, received_s: float) -> bytearray | None:
        """Answers the frame that was received last, alone.

        Args:
          n_bytes: of the frame. received_s: when its last byte was received, on `time.perf_counter`.
        Returns:
          the frame of the reply; None, without any effect, where another path is needed.
        """
        # Few calls of functions: after the pause between two requests, the code of each is loaded from memory again.
        worker, session, batch = self._worker, self._session, self._batch
        if (session.waiting or worker.n_passed or worker.gathered or self._agents_version != self._client_agents.membership_version
                or (len(self._active_clients) != 1 and not worker.expects_only(self._client)) or worker.closing or worker.swapping
                or session.server.draining or (self._proof != worker.times.n_revoked and not self._is_proven())):
            return None
        if self._deadline_s and perf_counter() > received_s + self._deadline_s:
            return None
        try:
            found = self._call(0, n_bytes, *batch.arguments) if batch.arguments else 0
            if not found:
                found, self.is_over = self._policy.run_repeated(batch, self._call, n_bytes)
        except Exception:
            return None
        if not found:
            return None
        if found & 1:
            asyncio.get_running_loop().call_soon(batch.engine.report)  # logged after this reply
        self._ended_s = perf_counter()
        return self._reply[found >> 1 & 15:found >> 5]

    def _is_proven(self) -> bool:
        """Whether this size may still run on the event loop after the proof of some size was revoked."""
        times = self._worker.times
        if not times.allows_size(self.version, self._size):
            return False
        self._proof = times.n_revoked
        return True

    def note(self, received_s: float) -> None:
        """Counts the batch of the last answer and notes its steps. Called after the reply is sent: the client does not wait for it."""
        counters, took_s = self._counters, self._ended_s - received_s
        counters.ran(self._n_rows, took_s, (0.0,))  # it did not wait
        counters.requests += 1
        counters.latencies_s.append(took_s)
        self._client_agents.note_step(self._agent_states, int(self._block[_TICK]) if self._has_tick else None)
        self._session.heard_s = monotonic()
        if took_s > BOUND_S:  # a size that is proven needs no more proof
            self._worker.times.ran(self.version, 1, self._n_rows, took_s, on_loop=True)

    @property
    def is_stale(self) -> bool:
        """Whether the policy was swapped. This object then only keeps the old policy alive."""
        return self.version != self._policy.version


def _fill(target: Array, data: bytes) -> None:
    target.view(np.uint8)[:len(data)] = np.frombuffer(data, np.uint8)
