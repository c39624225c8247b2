"""Words of the compiled code that answers frames. A separate module, because importing compiled code takes a second."""

from __future__ import annotations

from typing import Final

from cervello.codegen.schema import record

# run, context: addresses of the compiled `control.run_named` and of its context; rows: of the batch
# readiness: address of the words READINESS of `readiness_words`
# frame, frame_bytes: address and size of the received frame, including its length word
# expected, mask: addresses of the expected bytes and of the mask of bytes to compare, both zero-padded to a multiple of 8
# id_at, id_bytes: offset and size of the frame's id, big-endian; tick_at, tick_bytes: of its tick, size 0 if there is none
# reply: address of the reply frame, which already holds the constant bytes; tick_to: offset of the tick in it, or of its end if there is
# no tick
# after, after_bytes: address and number of the bytes after the tick
# n_inputs, n_copies: number of copies before the run, and of all copies
# id, tick: of the last frame
FRAME: Final = record("frame", (
    "run context readiness rows frame frame_bytes expected mask id_at id_bytes tick_at tick_bytes reply tick_to after after_bytes n_inputs "
    "n_copies id tick ..."))
COPY: Final = record("copy of a frame", "source target n_bytes")  # `n_copies` of them follow

ID_END: Final = 11  # offset of the id's end in a reply frame: 4 bytes of length, 2 of "[1,", up to 5 of id
