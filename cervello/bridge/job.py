"""One message in the worker of a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cervello.bridge.link import Link

if TYPE_CHECKING:
    from cervello.bridge.layout import Layout


class Job:
    """A request or notify that names a policy. Mutable: `reply` is set when it is done.

    Attributes:
      link: its connection. id: of a request; None for a notify.
      agents: checked ids; None when they are left out.
      received_s: when its last byte was read, on `time.perf_counter`.
      n_bytes: of its body.
      owner: the session that sends the reply.
      layout: the layout of a request; None when it is not known.
      body: bytes of a request with a known layout, or of one whose layout is to be learnt; `layout` is set when it is answered.
      reply: bytes for the client.
    """

    __slots__ = ("_params", "agents", "body", "id", "layout", "link", "method", "n_bytes", "owner", "received_s", "reply")

    def __init__(self, owner: Any, link: Link, number: int | None, method: str, params: dict[str, Any] | None, agents: list[int] | None,
                 n_bytes: int, received_s: float, layout: Layout | None = None, body: bytes | None = None):
        self.owner, self.link, self.id, self.method, self._params = owner, link, number, method, params
        self.agents, self.n_bytes, self.received_s = agents, n_bytes, received_s
        self.layout, self.body = layout, body
        self.reply: bytes | None = None

    @property
    def params(self) -> dict[str, Any]:
        """Its parameters; decoded at first use for a request of known layout."""
        if self._params is None:
            assert self.layout is not None
            assert self.body is not None
            self._params = self.layout.params(self.body)
        return self._params
