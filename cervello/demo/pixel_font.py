"""A 5 x 7 pixel alphabet for the picture's captions: capitals, digits and a few signs."""

from __future__ import annotations

import numpy as np

from cervello.demo.herd import BoolArray

GLYPH_WIDTH = 5
GLYPH_HEIGHT = 7

# A sign, a colon, then five columns of two hexadecimal digits each; bit 0 is the top pixel.
_ALPHABET = """
    +:08083E0808 -:0808080808 .:0060600000 /:2010080402 ::0036360000 0:3E5149453E 1:00427F4000 2:4261514946
    3:2141454B31 4:1814127F10 5:2745454539 6:3C4A494930 7:0171090503 8:3649494936 9:064949291E A:7E1111117E
    B:7F49494936 C:3E41414122 D:7F4141221C E:7F49494941 F:7F09090901 G:3E4149497A H:7F0808087F I:00417F4100
    J:2040413F01 K:7F08142241 L:7F40404040 M:7F020C027F N:7F0408107F O:3E4141413E P:7F09090906 Q:3E4151215E
    R:7F09192946 S:4649494931 T:01017F0101 U:3F4040403F V:1F2040201F W:3F4038403F X:6314081463 Y:0708700807
    Z:6151494543
"""
_COLUMNS = {entry[0]: bytes.fromhex(entry[2:]) for entry in _ALPHABET.split()}
_BLANK = bytes(GLYPH_WIDTH)


def render_text(text: str, magnification: int = 1) -> BoolArray:
    """Returns [7 m, (6 len(text) - 1) m] bool, True where ink is; unknown characters become blanks."""
    ink = np.zeros((GLYPH_HEIGHT, max((GLYPH_WIDTH + 1) * len(text) - 1, 0)), np.bool_)
    for index, character in enumerate(text.upper()):
        columns = np.frombuffer(_COLUMNS.get(character, _BLANK), np.uint8)
        left = index * (GLYPH_WIDTH + 1)
        ink[:, left : left + GLYPH_WIDTH] = (columns[None, :] >> np.arange(GLYPH_HEIGHT)[:, None]) & 1
    return ink.repeat(magnification, axis=0).repeat(magnification, axis=1)
