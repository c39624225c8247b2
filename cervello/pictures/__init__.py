"""Pictures as bytes: a minimal PNG encoder that needs numpy and zlib only and nothing else of cervello."""

from __future__ import annotations

from cervello.pictures.png import encode_png

__all__ = ["encode_png"]
