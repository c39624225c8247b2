"""The forms of requests that one connection has sent before."""

from __future__ import annotations

from cervello.bridge.job import Job
from cervello.bridge.layout import MOST_BYTES, Layout

_MOST_HELD = 8
_TRIES = 3  # after which requests that have no layout, or always another one, are let be


class KnownLayouts:
    """Layouts by the length of the body. Mutable.

    A layout is learnt from the second of two requests of one length, one after the other, that name the same agents.
    """

    def __init__(self) -> None:
        self._named: dict[int, tuple[list[int] | None, int]] = {}  # the agents of the last one, and how often a layout was wanted
        self._layouts: dict[int, Layout] = {}

    def __len__(self) -> int:
        return len(self._layouts)

    def of(self, body: bytes) -> Layout | None:
        """The form of a request to infer; None for one that must be looked at."""
        layout = self._layouts.get(len(body))
        return layout if layout is not None and layout.fits(body) else None

    def notice(self, job: Job, body: bytes) -> None:
        """A request to infer was looked at; sets `job.body` where its form is wanted."""
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

    def learn(self, job: Job) -> None:
        """A request is answered, whose `layout` is its form."""
        if job.layout is not None and job.n_bytes in self._named and self._layouts.get(job.n_bytes) is not job.layout:
            self._layouts[job.n_bytes] = job.layout
