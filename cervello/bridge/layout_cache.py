"""The layouts of requests that one connection has sent."""

from __future__ import annotations

from cervello.bridge.job import Job
from cervello.bridge.request_layout import MOST_BYTES, RequestLayout

_MOST_HELD = 8
_TRIES = 3  # attempts per length to learn a layout


class LayoutCache:
    """Layouts by the length of the body. Mutable.

    A layout is learnt from the second of two requests of one length, one after the other, that name the same agents.
    """

    def __init__(self) -> None:
        self._named: dict[int, tuple[list[int] | None, int]] = {}  # the agents of the last request, and the attempts so far
        self._layouts: dict[int, RequestLayout] = {}

    def __len__(self) -> int:
        return len(self._layouts)

    def find(self, body: bytes) -> RequestLayout | None:
        """The layout of an infer request; None for one that must be decoded."""
        layout = self._layouts.get(len(body))
        return layout if layout is not None and layout.fits(body) else None

    def observe(self, job: Job, body: bytes) -> None:
        """Notes a decoded infer request; sets `job.body` where its layout is to be learnt."""
        n_bytes = len(body)
        if n_bytes > MOST_BYTES:
            return
        agents, n_tries = self._named.get(n_bytes, (None, 0))
        if agents == job.agents:
            if n_tries < _TRIES:
                job.body = body
                self._named[n_bytes] = agents, n_tries + 1
                self._layouts.pop(n_bytes, None)  # which did not fit
            return
        if len(self._named) >= _MOST_HELD and n_bytes not in self._named:
            self._named, self._layouts = {}, {}
        self._named[n_bytes] = job.agents, 0

    def store(self, job: Job) -> None:
        """Stores the `layout` of an answered request."""
        if job.layout is not None and job.n_bytes in self._named and self._layouts.get(job.n_bytes) is not job.layout:
            self._layouts[job.n_bytes] = job.layout
