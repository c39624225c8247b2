"""One message in the worker of a policy."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from cervello.bridge.client_agents import agent_list
from cervello.bridge.client_state import ClientState
from cervello.bridge.codes import Code, Refusal, bad_request
from cervello.bridge.envelope import Message, is_name, kind_of

if TYPE_CHECKING:
    from cervello.bridge.request_layout import RequestLayout

WITH_AGENTS = frozenset({"begin", "end", "infer", "reward", "snapshot"})  # methods whose parameters name agents


class Job:
    """A request or notify that names a policy. Mutable: `reply` is set when it is done.

    Attributes:
      client: its connection. id: of a request; None for a notify.
      agents: checked ids; None when they are left out.
      received_s: when its last byte was read, on `time.perf_counter`.
      n_bytes: of its body.
      session: the session that sends the reply.
      layout: the layout of a request; None when it is not known.
      body: bytes of a request with a known layout, or of one whose layout is to be learnt; `layout` is set when it is answered.
      reply: bytes for the client.
    """

    __slots__ = ("_params", "agents", "body", "client", "id", "layout", "method", "n_bytes", "received_s", "reply", "session")

    def __init__(self, session: Any, client: ClientState, number: int | None, method: str, params: dict[str, Any] | None,
                 agents: list[int] | None, n_bytes: int, received_s: float, layout: RequestLayout | None = None, body: bytes | None = None):
        self.session, self.client, self.id, self.method, self._params = session, client, number, method, params
        self.agents, self.n_bytes, self.received_s = agents, n_bytes, received_s
        self.layout, self.body = layout, body
        self.reply: bytes | None = None

    @classmethod
    def of(cls, session: Any, client: ClientState, policies: Collection[str], message: Message, n_bytes: int, received_s: float) -> Job:
        """Makes a job from a decoded message.

        Args:
          policies: names of the server's policies.
        Raises:
          Refusal: the message is refused, names no policy of the server, or its agent ids are not distinct ids.
        """
        if message.refusal is not None:
            raise message.refusal
        params, method = message.params, message.method
        policy: Any = params.get("policy")
        if not is_name(policy):
            raise bad_request("policy", f"expected the name of a policy, got {kind_of(policy)}")
        if policy not in policies:
            raise Refusal(Code.UNKNOWN_POLICY, f"policy: expected one of {[*policies]}, got {policy[:100]!r}")
        agents = agent_list(params, optional=method == "snapshot") if method in WITH_AGENTS else None
        return cls(session, client, message.id, method, params, agents, n_bytes, received_s)

    @property
    def params(self) -> dict[str, Any]:
        """Its parameters; decoded at first use for a request of known layout."""
        if self._params is None:
            assert self.layout is not None
            assert self.body is not None
            self._params = self.layout.params(self.body)
        return self._params
