"""Decides by measured times which batches of a policy are fast enough for the event loop."""

from __future__ import annotations

BOUND_S = 0.002  # longest batch on the event loop; it delays the other connections by as much
_SEVERE_S = 0.02  # a longer batch on the event loop makes the next proof eight times as long
PROOF = 8  # runs of a size within the bound, one after the other, before that size may run on the event loop
_PER_MESSAGE = 16  # rows that cost as much as a message
_N_SIZES = 64


class BatchTimes:
    """Times of batches of one policy, by size. Mutable; used by one thread at a time.

    Sizes are powers of two of rows and messages. A size is proven by runs on the policy's own thread. A run beyond `BOUND_S`
    revokes the proof of its size and of larger ones; on the event loop it revokes all proofs. A new version of the policy starts without.

    Attributes:
      n_revoked: how often proofs were revoked.
    """

    def __init__(self) -> None:
        self.n_revoked = 0
        self._version = 0
        self._needed = PROOF
        self._runs = [0] * _N_SIZES  # within the bound, one after the other, by size

    def allows(self, version: int, n_messages: int, n_rows: int) -> bool:
        """Whether a batch of this size may run on the event loop; messages without rows may when some batch may."""
        if version != self._version:
            return False
        return (self._runs[size_of(n_messages, n_rows)] if n_rows else max(self._runs)) >= self._needed

    def allows_size(self, version: int, size: int) -> bool:
        """As `allows`, for the `size_of` a batch with rows."""
        return version == self._version and self._runs[size] >= self._needed

    def ran(self, version: int, n_messages: int, n_rows: int, took_s: float, on_loop: bool) -> None:
        """Notes the time of a batch."""
        if version != self._version:
            self._version, self._needed, self._runs = version, PROOF, [0] * _N_SIZES
            self.n_revoked += 1
        size = size_of(n_messages, n_rows)
        if took_s <= BOUND_S:
            self._runs[size] += 1
            return
        first = 0 if on_loop else size
        self._runs[first:] = [0] * (_N_SIZES - first)
        self.n_revoked += 1
        if on_loop and took_s > _SEVERE_S:
            self._needed *= 8


def size_of(n_messages: int, n_rows: int) -> int:
    """The size of a batch."""
    return min((n_rows + _PER_MESSAGE * n_messages).bit_length(), _N_SIZES - 1)
