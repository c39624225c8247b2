"""A minimal PNG encoder: 8-bit RGB, no interlacing, one IDAT chunk."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BIT_DEPTH, _COLOUR_RGB = 8, 2
_FILTER_UP = 2


def encode_png(pixels: npt.NDArray[np.uint8], level: int = 6) -> bytes:
    """Encodes a picture.

    Args:
      pixels: [H, W, 3] uint8, red, green, blue; row 0 is the top; neither H nor W is 0.
      level: of zlib's compression, 0 (none) to 9 (smallest).
    Returns:
      a complete PNG file.
    Raises:
      ValueError: pixels has another shape or element type.
    Source: ISO/IEC 15948:2004 (PNG, second edition), chunks IHDR, IDAT, IEND.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(f"pixels: expected a (H, W, 3) uint8 array with H, W >= 1, got {pixels.shape} {pixels.dtype}")
    height, width, _ = pixels.shape
    # Every row is stored as the difference to the row above: flat areas and vertical edges become zeros.
    rows = pixels.reshape(height, width * 3)
    scanlines = np.empty((height, 1 + width * 3), np.uint8)
    scanlines[:, 0] = _FILTER_UP
    scanlines[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=scanlines[1:, 1:])  # modulo 256, as the filter requires
    header = struct.pack(">IIBBBBB", width, height, _BIT_DEPTH, _COLOUR_RGB, 0, 0, 0)
    body = zlib.compress(scanlines.tobytes(), level)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
