"""Words of the compiled code that answers frames. They have their own file because importing compiled code takes a second."""

from __future__ import annotations

from typing import Final

RUN: Final = 0  # addresses of the compiled `control.run_named` and of the context that it runs in
CONTEXT: Final = 1
ROWS: Final = 2
FRAME: Final = 3  # address of the received frame, and its bytes, length word included
FRAME_BYTES: Final = 4
EXPECTED: Final = 5  # addresses of the bytes that it must have and of their mask, both with zeros up to a multiple of 8
MASK: Final = 6
ID_AT: Final = 7  # where in the frame its id lies, big-endian, and how many bytes it has; the same of its tick, which may have none
ID_BYTES: Final = 8
TICK_AT: Final = 9
TICK_BYTES: Final = 10
REPLY: Final = 11  # address of the reply's frame; the bytes that are the same in all of them are there
TICK_TO: Final = 12  # where in it the tick begins; where it ends when it has none
AFTER: Final = 13  # address of what comes after the tick, and its bytes
AFTER_BYTES: Final = 14
N_INPUTS: Final = 15  # copies that are made before the run, and all copies
N_COPIES: Final = 16
ID: Final = 17  # id and tick of the last frame
TICK: Final = 18
COPIES: Final = 19  # source, target, bytes each

ID_END: Final = 11  # where in a reply's frame the id ends: behind a length of 4 bytes, [1, and at most 5 bytes
