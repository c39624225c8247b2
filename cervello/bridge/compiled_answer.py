"""A request whose layout is known, from its frame to the reply's frame in one compiled call.

It compares what is fixed, copies the rows, runs the batch and writes the reply; see `kernels.runtime.frames`. A frame of another form,
and a batch that takes another way or fails, are left as they are: others look at them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cervello.agents.policy.repeated import RepeatedBatch
from cervello.bridge.framing import LENGTH
from cervello.codegen import entry, linker
from cervello.native.kernels import frame_words as words
from cervello.noise import layout as objects
from cervello.spec import Array

if TYPE_CHECKING:
    from cervello.bridge.hosted import Hosted
    from cervello.bridge.layout import Layout

_RUN, _ANSWER = "cervello.native.kernels.runtime.control:run_named", "cervello.native.kernels.runtime.frames:answer_frame"
_TICK_BYTES = 5  # of a tick in a reply, at most


def link() -> None:
    """Compiles now what would else be compiled when the first request comes."""
    if objects.is_known():
        linker.link((_RUN, _ANSWER))


class CompiledAnswer:
    """Answers frames of one layout, for one version of the policy. Mutable: it owns the columns and the reply.

    Attributes:
      version: of the policy that decides. n_rows: agents of a request.
      tick: of the last request that was answered; None when they have none.
    """

    __slots__ = ("_batch", "_block", "_call", "_has_tick", "_is_over", "_policy", "_reply", "n_rows", "version")

    def __init__(self, hosted: Hosted, layout: Layout, batch: RepeatedBatch, received: Array):
        version = batch.engine.version
        self._policy, self._batch, self.version, self.n_rows = hosted.policy, batch, version, len(layout.agents)
        self._is_over = False
        expected, mask = layout.fixed_bytes()
        n_bytes = LENGTH.size + len(expected)
        known, masks = np.zeros((2, -(-n_bytes // 8)), np.int64)
        _fill(known, LENGTH.pack(len(expected)) + expected)
        _fill(masks, b"\xff" * LENGTH.size + mask)
        parts, places = layout.reply_parts(version)
        reply = self._reply = bytearray(words.ID_END + sum(map(len, parts)) + _TICK_BYTES + len(layout.streams))
        place = np.frombuffer(reply, np.uint8).ctypes.data
        after = np.frombuffer(layout.streams, np.uint8)
        outputs = []
        at = words.ID_END
        for part in parts:
            reply[at:at + len(part)] = part
            at += len(part)
        for name, first in places:
            column = batch.outputs[name]
            outputs += [column.ctypes.data, place + words.ID_END + first, column.nbytes]
        inputs = []
        address = received.ctypes.data
        for name, start, stop in layout.input_places():
            inputs += [address + LENGTH.size + start, batch.inputs[name].ctypes.data, stop - start]
        for name, column in layout.defaults().items():
            batch.inputs[name][...] = column
        tick = layout.tick_place
        self._has_tick = tick is not None
        block = self._block = np.zeros(words.COPIES + len(inputs) + len(outputs), np.int64)
        assert batch.engine.fast_path is not None
        header = {
            words.RUN: linker.address(_RUN), words.CONTEXT: batch.engine.fast_path.context, words.ROWS: self.n_rows,
            words.FRAME: address, words.FRAME_BYTES: n_bytes, words.EXPECTED: known.ctypes.data, words.MASK: masks.ctypes.data,
            words.ID_AT: LENGTH.size + layout.id_start, words.ID_BYTES: layout.id_stop - layout.id_start,
            words.TICK_AT: 0 if tick is None else LENGTH.size + tick.start, words.TICK_BYTES: 0 if tick is None else tick.stop - tick.start,
            words.REPLY: place, words.TICK_TO: at, words.AFTER: after.ctypes.data, words.AFTER_BYTES: after.nbytes,
            words.N_INPUTS: len(inputs) // 3, words.N_COPIES: (len(inputs) + len(outputs)) // 3}
        block[list(header)] = list(header.values())
        block[words.COPIES:] = inputs + outputs
        self._call = entry.fastcall_objects(_ANSWER, block.ctypes.data, (block, known, masks, after, reply, received, batch))

    @classmethod
    def of(cls, hosted: Hosted, layout: Layout, received: Array) -> CompiledAnswer | None:
        """The compiled call for a layout whose agents have begun; None where there is none.

        Args:
          received: [bytes] uint8, into which frames are received.
        """
        if not objects.is_known() or received.ctypes.data % 8 or not layout.is_plain:
            return None
        batch = hosted.policy.repeat(layout.keys, layout.flags)
        if batch is None or not batch.inputs.keys() == {name for name, _, _ in layout.input_places()} | layout.defaults().keys():
            return None
        return cls(hosted, layout, batch, received)

    def answer(self, n_bytes: int) -> bytearray | None:
        """The frame of the reply to the frame that has been received; None, and nothing has happened, where another way is to be taken.

        Raises:
          AgentError: agents have ended; nothing has happened either.
        """
        found, self._is_over = self._policy.run_repeated(self._batch, self._call, n_bytes)
        if not found:
            return None
        if found & 1:
            self._batch.engine.report()
        return self._reply[found >> 1 & 15:found >> 5]

    @property
    def is_over(self) -> bool:
        """Whether it answers nothing any more, since the policy was swapped."""
        return self._is_over

    @property
    def tick(self) -> int | None:
        return int(self._block[words.TICK]) if self._has_tick else None


def _fill(target: Array, data: bytes) -> None:
    target.view(np.uint8)[:len(data)] = np.frombuffer(data, np.uint8)
