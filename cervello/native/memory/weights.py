"""A read-only, content-addressed store of constants.

A tensor is stored in the layout that its kernel reads (plain, or panels of 32 columns), in 64-byte aligned memory. Its key is the hash of
layout, dtype, shape and content, so equal tensors of one model, or of another one given as `share`, are stored once. Arrays stay alive
while any model uses them.
"""

from __future__ import annotations

import hashlib

import numpy as np

from cervello.native.graph.dtypes import Array
from cervello.native.graph.tensors import Weight
from cervello.native.lowering.rules.linear import packed

_ALIGNMENT = 64


class Weights:
    """The constants of a model, keyed by content.

    Attributes:
      shared_bytes: bytes found in the store given as `share` instead of being stored again.
    """

    def __init__(self, share: Weights | None = None):
        self._arrays: dict[bytes, Array] = {}
        self._share = share
        self.shared_bytes = 0

    def store(self, weight: Weight) -> Array:
        """The stored array of a constant, made on first use; read-only."""
        data = np.asarray(weight.data)
        contiguous = np.ascontiguousarray(data)
        digest = hashlib.sha256(f"{weight.kind}|{data.dtype.str}|{data.shape}|".encode())
        if contiguous.size:
            digest.update(contiguous.view(np.uint8).reshape(-1).data)
        key = digest.digest()
        found = self._arrays.get(key)
        if found is not None:
            return found
        if self._share is not None and (shared := self._share.find(key)) is not None:
            self.shared_bytes += shared.nbytes
            self._arrays[key] = shared
            return shared
        form = packed(contiguous) if weight.kind == "panels" else contiguous
        self._arrays[key] = stored = _aligned(form)
        return stored

    def seal(self) -> None:
        """Ends loading: releases the store given as `share`; only the arrays in use stay alive."""
        self._share = None

    def find(self, key: bytes) -> Array | None:
        """The stored array with this key, if any."""
        return self._arrays.get(key)

    def hashes(self) -> dict[int, str]:
        """The hash of every constant, by the id of its array."""
        return {id(array): key.hex() for key, array in self._arrays.items()}

    @property
    def digest(self) -> str:
        """A hash of all constants together, the same for the same file in every process."""
        return hashlib.sha256(b"".join(sorted(self._arrays))).hexdigest()

    @property
    def n_bytes(self) -> int:
        """Bytes of all constants in this store, including shared ones."""
        return sum(array.nbytes for array in self._arrays.values())

    def arrays(self) -> list[Array]:
        """All stored arrays."""
        return list(self._arrays.values())


def _aligned(data: Array) -> Array:
    raw = np.empty(data.nbytes + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    stored: Array = raw[start:start + data.nbytes].view(data.dtype).reshape(data.shape)
    stored[...] = data
    stored.flags.writeable = False
    return stored
