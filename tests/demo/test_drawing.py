"""The picture of the arena and its encoding."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from cervello.demo import SPECIES, RandomPolicy
from cervello.demo.drawing import COLOURS, Painter
from cervello.demo.pixel_font import render_text
from cervello.demo.play import play
from cervello.pictures import encode_png


def decoded(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Decodes what `encode_png` writes, checking signature and checksums; by the specification, not by the encoder."""
    assert png[:8] == bytes([137, 80, 78, 71, 13, 10, 26, 10])
    at, chunks = 8, {}
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(kind + content),)
        chunks[kind] = content
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert rest == [8, 2, 0, 0, 0]
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + 3 * width)
    assert (lines[:, 0] == 2).all()
    rows = np.cumsum(lines[:, 1:].astype(np.uint64), axis=0) % 256
    return rows.astype(np.uint8).reshape(height, width, 3)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 7, 3), (5, 1, 3), (31, 17, 3)])
def test_a_png_decodes_to_the_pixels_that_were_encoded(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(decoded(encode_png(pixels)), pixels)


@pytest.mark.parametrize("pixels", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3)), np.zeros((0, 2, 3), np.uint8)])
def test_pixels_of_another_kind_are_refused(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    with pytest.raises(ValueError, match=r"pixels: expected a \(H, W, 3\) uint8 array"):
        encode_png(pixels)


def test_the_picture_shows_every_species_in_its_colour() -> None:
    painter = Painter()
    play({species.name: RandomPolicy(species) for species in SPECIES}, ticks=30, on_tick=painter.watch)
    picture = painter.picture()
    assert picture.shape == (820, 960, 3)
    assert picture.dtype == np.uint8
    for colour in COLOURS.values():
        assert (picture[:640] == colour).all(axis=2).sum() > 500


def test_a_picture_before_the_first_tick_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one watched tick, got none"):
        Painter().picture()


def test_letters_are_drawn_pixel_by_pixel() -> None:
    assert ["".join(" #"[int(ink)] for ink in row) for row in render_text("t1")] == [
        "#####   #  ",
        "  #    ##  ",
        "  #     #  ",
        "  #     #  ",
        "  #     #  ",
        "  #     #  ",
        "  #    ### ",
    ]
    assert render_text("AB", 3).shape == (21, 33)
