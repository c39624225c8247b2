"""A connection's agents of one policy as bytes, under the client's ids.

    "CRVB"  head as in `agents.policy.snapshot_format`, with its checksum
    body    msgpack {"policy": name, "ids": [ids], "state": bin, the `Policy.snapshot` of them in this order}
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgpack

from cervello.agents.policy.snapshot_format import sealed, unsealed
from cervello.bridge.codes import BadFrame
from cervello.bridge.envelope import as_integer
from cervello.bridge.scan import scan
from cervello.errors import SnapshotError

MAGIC, VERSION = b"CRVB", 1
_HEAD_BYTES, _HEADER_LENGTH = 28, struct.Struct("<24xI")  # of `Policy.snapshot`


def pack(policy: str, ids: Sequence[int], inner: bytes) -> bytes:
    """Encodes the answer to `snapshot`."""
    return sealed(MAGIC, VERSION, msgpack.packb({"policy": policy, "ids": list(ids), "state": inner}))


def unpack(policy: str, state: bytes) -> tuple[list[int], bytes]:
    """Decodes ids and the state that the policy restores.

    Raises:
      SnapshotError: the state is damaged, or of another policy.
    """
    body = unsealed(state, MAGIC, VERSION, "the bridge's snapshot")
    try:
        scan(body)
        found = msgpack.unpackb(body, max_array_len=len(body), max_bin_len=len(body))
        name, ids, inner = found["policy"], found["ids"], found["state"]
        ids = [as_integer(agent) for agent in ids] if type(ids) is list else [None]
        if type(name) is not str or type(inner) is not bytes or None in ids or len(set(ids)) != len(ids):
            raise ValueError("fields of other kinds")
        if len(inner) >= _HEAD_BYTES:  # its own header is msgpack too, and is scanned before it is decoded
            header = inner[_HEAD_BYTES:_HEAD_BYTES + _HEADER_LENGTH.unpack_from(inner)[0]]
            scan(header)
    except (BadFrame, KeyError, TypeError, ValueError, msgpack.UnpackException) as error:
        raise SnapshotError(f"snapshot: expected what the bridge's snapshot gave, got something else: {error}") from None
    if name != policy:
        raise SnapshotError(f"snapshot: expected one of policy {policy!r}, got one of {name!r}")
    return ids, inner
