"""Layouts of repeated requests: the checks of one request hold for all with the same constant bytes.

A game infers for the same agents frame after frame. Such requests differ only in their id, their tick and the bytes of their rows. All
other bytes are equal, so they mean the same. Two comparisons replace the decoding and the checks.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from cervello.bridge import noise_streams
from cervello.bridge.client_agents import AgentState
from cervello.bridge.codes import BadFrame
from cervello.bridge.envelope import as_integer
from cervello.bridge.loop_budget import size_of
from cervello.bridge.request_fields import IntegerField, find_fields
from cervello.bridge.served_policy import ServedPolicy
from cervello.bridge.wire import WireTensor
from cervello.spec import Array

MOST_BYTES = 1 << 15  # longest request whose layout is kept
_from_buffer = np.frombuffer
_U16, _U32 = struct.Struct(">BH"), struct.Struct(">BI")


class RequestLayout:
    """The layout of infer requests. Used by one thread at a time, the one that runs the policy; the session only reads bodies with it.

    Attributes:
      policy: its name. id_start, id_stop: byte range of the id, big-endian.
      agents: of the request, in its order. client_agents: the agents of its connection.
      agent_states, keys: its agents, and their keys in the policy; valid when `is_current`.
      size: size of its batch, as `BatchTimes` counts.
      begins: whether the request begins agents. outputs: requested names.
      only: name, first and last byte, dtype and row shape where the policy has one input, of plain numbers; else None.
      deadline_us: `deadline_us`; 0 for none. flags: deterministic rows; None when every row may use noise.
      agents_version: `client_agents.membership_version` when `agent_states` and `keys` were set.
      n_answered: requests that were answered at once, since `agents_version` changed.
      is_plain: rows and outputs have the dtypes of the policy and need no conversion.
      tick_field: field of the tick; None when it has none.
    """

    __slots__ = (
        "_fixed_params",
        "_head",
        "_inputs",
        "_middle",
        "_n_bytes",
        "_one_byte",
        "_others",
        "_outputs",
        "_same",
        "_served",
        "_streams",
        "_tail",
        "_version",
        "agent_states",
        "agents",
        "agents_version",
        "begins",
        "client_agents",
        "deadline_us",
        "flags",
        "id_start",
        "id_stop",
        "is_plain",
        "keys",
        "n_answered",
        "only",
        "outputs",
        "policy",
        "size",
        "tick_field",
    )

    def __init__(self, served: ServedPolicy, request: Any, body: bytes, number: IntegerField, tick: IntegerField | None,
                 inputs: Mapping[str, tuple[int, int]]):
        self._served, self.tick_field, self._n_bytes = served, tick, len(body)
        self.id_start, self.id_stop = number.start, number.stop
        self._inputs: list[tuple[str, int, int, WireTensor]] = [
            (name, *place, served.signature.inputs[name]) for name, place in inputs.items()]
        integers = [number] if tick is None else [number, tick]
        holes = sorted([*((each.start, each.stop) for each in integers), *inputs.values()])
        edges = [0, *(edge for hole in holes for edge in hole), len(body)]
        self._same = [(start, stop, body[start:stop]) for start, stop in zip(edges[::2], edges[1::2], strict=True) if stop > start]
        self._one_byte = [each.start for each in integers if each.is_short]
        job = request.job
        self.policy = served.name
        self.agents: list[int] = request.ids
        self.begins, self.flags, self.outputs = request.begins, request.flags, request.outputs
        self.deadline_us = as_integer(job.params.get("deadline_us")) or 0
        self._fixed_params = {name: value for name, value in job.params.items() if name != "inputs"}
        self._others = {name: column for name, column in request.columns.items() if name not in inputs}  # left out: the defaults
        self._outputs = [(name, served.signature.outputs[name]) for name in self.outputs]
        self.only: tuple[str, int, int, Any, tuple[int, ...]] | None = None
        if len(self._inputs) == 1 and not self._others and self._inputs[0][3].is_plain and self._inputs[0][3].dtype != "bool":
            name, start, stop, row = self._inputs[0]
            self.only = name, start, stop, row.wire, row.shape
        self.size = size_of(1, len(self.agents))
        self.client_agents, self.agents_version, self._version = job.client.agents_of(served.name), -1, 0
        self.is_plain = all(row.is_plain and row.dtype != "bool" for _, _, _, row in self._inputs) and all(
            row.is_plain for _, row in self._outputs)
        self.n_answered = 0
        self.agent_states: list[AgentState] = []
        self.keys: list[int] = []
        self._streams = self._head = self._tail = b""
        self._middle: list[bytes] = []

    @classmethod
    def of(cls, served: ServedPolicy, request: Any, body: bytes) -> RequestLayout | None:
        """Learns the layout of an answered request; None for an unusual encoding, or without agents.

        Args:
          request: a `Request`. body: its bytes.
        """
        try:
            found = find_fields(body)
        except (BadFrame, IndexError):
            return None
        return None if found is None or not request.is_short or not request.ids else cls(served, request, body, *found)

    # The request --------------------------------------------------------------------------------------------------------

    def fits(self, body: bytes) -> bool:
        """Whether a body of the same length has this layout."""
        for start, stop, known in self._same:
            if body[start:stop] != known:
                return False
        for at in self._one_byte:
            if body[at] > 127:
                return False
        return True

    def tick(self, body: bytes) -> int | None:
        """The tick of a body."""
        return self._fixed_params.get("tick") if self.tick_field is None else self.tick_field.read(body)

    def params(self, body: bytes) -> dict[str, Any]:
        """The parameters of a body, as `decode` gives them."""
        params = {**self._fixed_params, "inputs": {name: body[start:stop] for name, start, stop, _ in self._inputs}}
        if self.tick_field is not None:
            params["tick"] = self.tick_field.read(body)
        return params

    def rows(self, given: Mapping[str, bytes]) -> dict[str, Array] | None:
        """Rows by input name, with defaults for inputs that are left out; None when a row is refused."""
        n_rows = len(self.agents)
        found = {}
        for name, _, _, row in self._inputs:
            data = given[name]
            if row.dtype == "bool" and data.translate(None, b"\0\1"):
                return None
            found[name] = np.frombuffer(data, row.wire).reshape(n_rows, *row.shape)
        return {**found, **self._others} if self._others else found

    def columns(self, body: bytes) -> dict[str, Array] | None:
        """As `rows`, from a body and in the dtypes of the policy."""
        if self.only is not None:  # written out, since most policies have one input of plain numbers
            name, start, stop, wire, shape = self.only
            return {name: _from_buffer(body[start:stop], wire).reshape(len(self.agents), *shape)}
        rows = self.rows({name: body[start:stop] for name, start, stop, _ in self._inputs})
        if rows is None:
            return None
        inputs = self._served.signature.inputs
        return {name: column if inputs[name].is_plain else inputs[name].column(column) for name, column in rows.items()}

    # Agents -------------------------------------------------------------------------------------------------------------

    def is_current(self) -> bool:
        """Whether all agents have begun; then sets `agent_states` and `keys`."""
        client_agents = self.client_agents
        if self.agents_version != client_agents.membership_version:
            found: list[Any] = list(map(client_agents.by_id.get, self.agents))
            if None in found:
                return False
            self.agent_states = found
            self.keys = [agent_state.key for agent_state in self.agent_states]
            self.agents_version = client_agents.membership_version
            self._version = self.n_answered = 0
        return True

    # As words for compiled code -----------------------------------------------------------------------------------------

    def fixed_bytes(self) -> tuple[bytes, bytes]:
        """A body, and the mask of the bits that are equal in all bodies of this layout."""
        known, mask = bytearray(self._n_bytes), bytearray(self._n_bytes)
        for start, stop, each in self._same:
            known[start:stop], mask[start:stop] = each, b"\xff" * (stop - start)
        for at in self._one_byte:
            mask[at] = 0x80
        return bytes(known), bytes(mask)

    def input_ranges(self) -> list[tuple[str, int, int]]:
        """Names of its inputs, and the byte ranges of their rows."""
        return [(name, start, stop) for name, start, stop, _ in self._inputs]

    def defaults(self) -> Mapping[str, Array]:
        """Default rows of the inputs that are left out."""
        return self._others

    def reply_parts(self, version: int) -> tuple[list[bytes], list[tuple[str, int]]]:
        """Bytes of a reply between id and tick, with zeros for outputs; and the offset of each output's rows in them."""
        if version != self._version:
            self._prepare(version)
        parts: list[bytes] = []
        starts = []
        for before, (name, row) in zip(self._middle, self._outputs, strict=True):
            parts.append(before)
            starts.append((name, sum(map(len, parts))))
            parts.append(bytes(len(self.agents) * row.n_bytes))
        return [*parts, self._tail, b"" if self.tick_field is None else b"\xa4tick"], starts

    @property
    def streams(self) -> bytes:
        """Bytes of a reply after its tick."""
        return self._streams if self.begins else b""

    # The reply ----------------------------------------------------------------------------------------------------------

    def reply(self, number: int, outputs: Mapping[str, bytes], version: int, tick: int | None) -> bytes:
        """Encodes the answer, as `envelope.answer` does.

        Args:
          outputs: the bytes of all rows, by name.
        """
        if version != self._version:
            self._prepare(version)
        if number < 128:
            packed = bytes((number,))
        elif number < 256:
            packed = bytes((0xCC, number))
        else:
            packed = _U16.pack(0xCD, number) if number < 65536 else _U32.pack(0xCE, number)
        parts = [self._head, packed]
        for before, name in zip(self._middle, self.outputs, strict=True):
            parts.append(before)
            parts.append(outputs[name])
        parts.append(self._tail)
        if tick is not None:
            parts.append(b"\xa4tick" + msgpack.packb(tick))
        if self.begins:
            parts.append(self._streams)
        return b"".join(parts)

    def _prepare(self, version: int) -> None:
        """The constant bytes around those that change."""
        n_rows = len(self.agents)
        packer = msgpack.Packer(autoreset=False)
        self._head = b"\x94\x01"
        packer.pack(None)
        packer.pack_map_header(4 + (self._fixed_params.get("tick") is not None) + self.begins)
        packer.pack("agents")
        packer.pack(self.agents)
        packer.pack("outputs")
        packer.pack_map_header(len(self._outputs))
        self._middle = []
        for name, row in self._outputs:
            packer.pack(name)
            self._middle.append(packer.bytes() + _bin_header(n_rows * row.n_bytes))
            packer.reset()
        packer.pack("skipped")
        packer.pack([])
        packer.pack("version")
        packer.pack(version)
        self._tail = packer.bytes()
        if self.begins:
            chosen = noise_streams.packed(np.array([agent_state.stream for agent_state in self.agent_states], np.int64))
            self._streams = b"\xa7streams" + msgpack.packb(chosen)
        self._version = version


def _bin_header(n_bytes: int) -> bytes:
    return bytes((0xC4, n_bytes)) if n_bytes < 256 else _U16.pack(0xC5, n_bytes) if n_bytes < 65536 else _U32.pack(0xC6, n_bytes)
