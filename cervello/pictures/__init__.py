"""Pictures: rows in, SVG or PNG out; nothing else of cervello but its errors and numpy.

    page        letters, colours for light and dark, the document around a picture
    svg         a memory plan: the arena over time
    graph       steps and the tensors between them, coloured by tier
    bars        a bar per row: times of steps, times by batch size
    returns     returns of episodes      cross_table  returns of policies against each other
    intervals   estimates with intervals and verdicts
    files       SVG and PNG files in a theme      notebook  HTML around pictures and tables
    png         a PNG of pixels
"""

from __future__ import annotations

from cervello.pictures.files import png, save
from cervello.pictures.png import encode_png

__all__ = ["encode_png", "png", "save"]
