"""One message on its way through the worker of a policy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cervello.bridge.link import Link

if TYPE_CHECKING:
    from cervello.bridge.layout import Layout


class Job:
    """A request or notify that names a policy. Mutable: `reply` is set when it is done.

    Attributes:
      link: whose it is. id: of a request; None for a notify.
      agents: checked ids; None where they are left out.
      received_s: when its last byte was read, on `time.perf_counter`.
      n_bytes: of its body.
      owner: the connection, which takes the reply.
      layout: the form of a request that has come before; None for another one.
      body: of a request whose form is wanted; `layout` is that form, when it is answered.
      reply: bytes for the client.
    """

    __slots__ = ("agents", "body", "id", "layout", "link", "method", "n_bytes", "owner", "params", "received_s", "reply")

    def __init__(self, owner: Any, link: Link, number: int | None, method: str, params: dict[str, Any], agents: list[int] | None,
                 n_bytes: int, received_s: float | None = None):
        self.owner, self.link, self.id, self.method, self.params = owner, link, number, method, params
        self.agents, self.n_bytes = agents, n_bytes
        self.received_s = time.perf_counter() if received_s is None else received_s
        self.layout: Layout | None = None
        self.body: bytes | None = None
        self.reply: bytes | None = None
