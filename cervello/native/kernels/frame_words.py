"""Words of the compiled code that answers frames. They have their own file because importing compiled code takes a second."""

from __future__ import annotations

from typing import Final

from cervello.codegen.schema import record

# run, context: addresses of the compiled `control.run_named` and of the context that it runs in; rows: of the batch
# readiness: address of the words READINESS of `readiness_words`
# frame, frame_bytes: address of the received frame, and its bytes, length word included
# expected, mask: addresses of the bytes that it must have and of their mask, both with zeros up to a multiple of 8
# id_at, id_bytes: where in the frame its id lies, big-endian, and how many bytes it has; tick_at, tick_bytes: the same of its tick, which
# may have none
# reply: address of the reply's frame, which holds the bytes that never change; tick_to: where in it the tick begins, or where it ends
# without one
# after, after_bytes: address of the bytes after the tick, and their number
# n_inputs, n_copies: copies that are made before the run, and all copies
# id, tick: of the last frame
FRAME: Final = record("frame", (
    "run context readiness rows frame frame_bytes expected mask id_at id_bytes tick_at tick_bytes reply tick_to after after_bytes n_inputs "
    "n_copies id tick ..."))
COPY: Final = record("copy of a frame", "source target n_bytes")  # as many as `n_copies`

ID_END: Final = 11  # where in a reply's frame the id ends: behind a length of 4 bytes, [1, and at most 5 bytes
