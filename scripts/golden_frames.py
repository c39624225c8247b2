"""Golden frames of the bridge protocol: made, and held against a server.

    python scripts/golden_frames.py                                   # writes tests/data/bridge_frames/frames.json
    python scripts/golden_frames.py --check tcp://127.0.0.1:5577      # also unix:/path

The server that is checked serves `examples/cartpole.onnx` as `cartpole`, without a token file. It is sent the bytes of every session;
replies are compared by structure: envelope, ids, codes, keys, types, lengths of bins and lists of agents, not by tensor values or words.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from frame_codec import Spelled, decode, encode, frame
from golden_bad_frames import BAD_FRAMES

FRAMES = Path(__file__).resolve().parent.parent / "tests" / "data" / "bridge_frames" / "frames.json"
TIME_LIMIT_S = 10.0


def floats(*values: float) -> bytes:
    """float32 values as little-endian bytes."""
    return struct.pack(f"<{len(values)}f", *values)


OBS = floats(0.5, -0.25, 0.125, 1.0, -1.0, 0.75, 0.0, 2.0)  # two agents × four
ROW = OBS[:16]
STREAMS = struct.pack("<2Q", 7, 1 << 62)
LIMITS = {"frame_bytes": 16 << 20, "in_flight": 64, "queued_bytes": 64 << 20, "agents": 65536, "connections": 1024, "send_bytes": 64 << 20,
          "frame_timeout_s": 10, "idle_timeout_s": 0}
HELLO_REPLY = {"version": 1, "server": "cervello", "server_id": 3141592653, "limits": LIMITS, "roles": ["infer", "record"],
               "policies": ["cartpole"]}
OUTPUTS = {"action": {"shape": [], "dtype": "int64"}, "logits": {"shape": [2], "dtype": "float32"}}
TWO = {"action": struct.pack("<2q", 1, 0), "logits": floats(-0.5, 0.5, 0.25, -0.25)}
NONE = {"action": b"", "logits": b""}
ONE = {"action": struct.pack("<q", 1), "logits": floats(-0.5, 0.5)}
P = {"policy": "cartpole"}
HELLO = {"version": 1, "client": "golden"}

# name, what it says, method, params, then the result, or (code, text, data)
Refusal = tuple[int, str, dict[str, Any]]
EXCHANGE: list[tuple[str, str, str, Any, Any]] = [
    ("hello", "the first request", "hello", HELLO, HELLO_REPLY),
    ("ping", "keeps an idle connection alive", "ping", {}, {}),
    ("spec", "rows of inputs and outputs", "spec", P,
     {"inputs": {"obs": {"shape": [4], "dtype": "float32"}}, "outputs": OUTPUTS, "constants": {}}),
    ("begin", "two agents with streams of their own", "begin", P | {"agents": [1, 2], "streams": STREAMS},
     {"begun": 2, "streams": STREAMS}),
    ("infer", "two rows, all outputs", "infer", P | {"agents": [1, 2], "inputs": {"obs": OBS}},
     {"agents": [1, 2], "outputs": TWO, "skipped": [], "version": 1}),
    ("infer.options", "every optional key; a third agent begins", "infer",
     P | {"agents": [3], "inputs": {"obs": ROW}, "begin": True, "deterministic": b"\1", "deadline_us": 5000000, "outputs": ["action"],
          "tick": (1 << 53) - 1},
     {"agents": [3], "outputs": {"action": ONE["action"]}, "skipped": [], "version": 1, "tick": (1 << 53) - 1, "streams": STREAMS[:8]}),
    ("infer.none", "no agents are legal", "infer", P | {"agents": [], "inputs": {"obs": b""}},
     {"agents": [], "outputs": NONE, "skipped": [], "version": 1}),
    ("infer.no_outputs", "an empty list of outputs gives none", "infer", P | {"agents": [1], "inputs": {"obs": ROW}, "outputs": []},
     {"agents": [1], "outputs": {}, "skipped": [], "version": 1}),
    ("reward.request", "rewards of the last infer, as a request", "reward", P | {"agents": [1, 2], "reward": floats(1.0, -0.5)}, {}),
    ("reward.actions", "what the game really did", "reward",
     P | {"agents": [3], "reward": floats(0.5), "actions": {"action": ONE["action"]}, "tick": (1 << 53) - 1}, {}),
    ("snapshot", "the connection's agents", "snapshot", P | {"agents": [1, 2]}, {"state": b"\1\2\3", "version": 1}),
    ("end", "one has died, one was cut off, with final observations", "end",
     P | {"agents": [1, 2], "terminated": b"\1\0", "truncated": b"\0\1", "inputs": {"obs": OBS}}, {"ended": 2}),
    ("end.flag", "one flag for all", "end", P | {"agents": [3], "terminated": True}, {"ended": 1}),
    ("stats", "counts of the connection and of the policies", "stats", {},
     {"connections": 1, "agents": 0, "refused_notifies": 0, "policies": {"cartpole": {
         "version": 1, "agents": 0, "queued": 0, "requests": 12, "rows": 9, "skipped": 0, "errors": 0, "reloads": 0,
         "latency_us": {"p50": 100.5, "p90": 200.5, "p99": 300.5}}}}),
    ("begin.derived", "streams that the server derives; agents may begin again", "begin", P | {"agents": [1, 2]},
     {"begun": 2, "streams": bytes(16)}),
    ("liberal", "whole floats for integers, str for bin, nil for an absent key, an unknown key", "infer",
     P | {"agents": [1.0, Spelled(b"\xd3" + bytes(7) + b"\2")], "inputs": {"obs": Spelled(b"\xd9\x20" + OBS)}, "tick": None, "more": [{}]},
     {"agents": [1, 2], "outputs": TWO, "skipped": [], "version": 1}),
    ("liberal.map", "an empty array for a map", "ping", [], {}),
]
REFUSED: list[tuple[str, str, str, Any, Refusal]] = [
    ("unknown_method", "code 3", "fly", {}, (3, "method 'fly'", {})),
    ("unknown_policy", "code 4", "spec", {"policy": "nobody"}, (4, "policy 'nobody'", {})),
    ("policy_no_str", "a policy that is no str", "begin", {"policy": 7, "agents": [1]}, (2, "policy: expected str", {"field": "policy"})),
    ("agents_twice", "agents are distinct", "begin", P | {"agents": [4, 4]}, (2, "agents: 4 twice", {"field": "agents"})),
    ("agents_negative", "integers begin at 0", "begin", P | {"agents": [-1]}, (2, "agents: -1", {"field": "agents"})),
    ("agents_fraction", "a float that is not whole", "begin", P | {"agents": [0.5]}, (2, "agents: 0.5", {"field": "agents"})),
    ("agents_large", "integers end at 2**53 - 1", "begin", P | {"agents": [1 << 53]}, (2, "agents: 2**53", {"field": "agents"})),
    ("streams_large", "streams are below 2**63", "begin", P | {"agents": [4], "streams": b"\xff" * 8},
     (2, "streams", {"field": "streams"})),
    ("streams_short", "eight bytes an agent", "begin", P | {"agents": [4], "streams": b"\0" * 7}, (2, "streams", {"field": "streams"})),
    ("infer_unknown", "agents that have not begun", "infer", P | {"agents": [5, 4], "inputs": {"obs": OBS}},
     (5, "agents 5, 4", {"agents": [5, 4]})),
    ("begin_four", "so that the next can be refused", "begin", P | {"agents": [4]}, (0, "", {"begun": 1, "streams": bytes(8)})),
    ("begin_twice", "agents that have begun", "begin", P | {"agents": [6, 4]}, (9, "agent 4", {"agents": [4]})),
    ("end_unknown", "agent 6 did not begin", "end", P | {"agents": [4, 6]}, (5, "agent 6", {"agents": [6]})),
    ("inputs_missing", "an input without default", "infer", P | {"agents": [4], "inputs": {}}, (2, "inputs.obs", {"field": "inputs.obs"})),
    ("inputs_short", "a row is too short", "infer", P | {"agents": [4], "inputs": {"obs": ROW[:15]}},
     (2, "inputs.obs", {"field": "inputs.obs"})),
    ("inputs_unknown", "an input of no such name", "infer", P | {"agents": [4], "inputs": {"obs": ROW, "smell": b""}},
     (2, "inputs.smell", {"field": "inputs.smell"})),
    ("outputs_unknown", "an output of no such name", "infer", P | {"agents": [4], "inputs": {"obs": ROW}, "outputs": ["mood"]},
     (2, "outputs.mood", {"field": "outputs.mood"})),
    ("deadline_negative", "deadlines are not negative", "infer", P | {"agents": [4], "inputs": {"obs": ROW}, "deadline_us": -1},
     (2, "deadline_us", {"field": "deadline_us"})),
    ("flags_short", "one byte an agent", "infer", P | {"agents": [4], "inputs": {"obs": ROW}, "deterministic": b""},
     (2, "deterministic", {"field": "deterministic"})),
    ("reward_early", "no infer was before", "reward", P | {"agents": [4], "reward": floats(1.0)}, (2, "agents", {"field": "agents"})),
    ("reward_nan", "NaN is refused", "reward", P | {"agents": [4], "reward": b"\0\0\xc0\x7f"}, (2, "reward", {"field": "reward"})),
    ("restore_foreign", "bytes that are no state", "restore", P | {"state": b"none"}, (2, "state", {"field": "state"})),
    ("swap_forbidden", "swap needs the role admin", "swap", P | {"path": "other.onnx"}, (6, "method 'swap': role admin", {})),
    ("hello_again", "a second hello", "hello", HELLO, (2, "hello: a second one", {})),
]
FIRST: list[tuple[str, str, str, Any, Refusal]] = [
    ("ping_first", "anything before hello", "ping", {}, (6, "hello comes first", {})),
    ("hello_version", "a version that is unknown", "hello", HELLO | {"version": 2}, (10, "version 2", {"versions": [1]})),
    ("hello_client", "a client has a name", "hello", {"version": 1, "client": ""}, (2, "client", {"field": "client"})),
    ("hello_frame_bytes", "at least 1,024", "hello", HELLO | {"frame_bytes": 1023}, (2, "frame_bytes", {"field": "frame_bytes"})),
]
# Exchanges that need a state's bytes, or the role `admin`: for clients' tests.
LONE_EXCHANGES: list[tuple[str, str, str, Any, Any]] = [
    ("restore", "agents of a state begin, others go on", "restore", P | {"state": b"\1\2\3", "keep": True}, {"restored": 2}),
    ("swap", "other weights for a policy", "swap", P | {"path": "new/cartpole.onnx"}, {"version": 2}),
]
# Replies that a server gives only in a certain state: for clients' tests.
LONE_REPLIES = [
    ("draining", "the server is going away", [1, None, [11, "draining", {}], None]),
    ("draining.reply", "a request while draining", [1, 1, [11, "draining", {}], None]),
    ("too_busy", "nothing done, retry", [1, 2, [7, "too busy", {}], None]),
    ("internal", "the log has the rest", [1, 3, [8, "internal error 5f3a", {}], None]),
    ("unauthorised", "a token file, and no token", [1, 1, [6, "token", {}], None]),
    ("skipped", "agent 2 was over its deadline", [1, 4, None, {"agents": [1], "outputs": ONE, "skipped": [2], "version": 2, "tick": 77}]),
    ("skipped.all", "all were", [1, 5, None, {"agents": [], "outputs": NONE, "skipped": [1, 2], "version": 2}]),
]
NOTIFIES = [
    ("notify.reward", "rewards without a reply", [2, "reward", [P | {"agents": [1, 2], "reward": floats(1.0, -0.5)}]]),
    ("notify.end", "ends without a reply; refused, and counted, where agents have not begun", [2, "end", [P | {"agents": [1, 2]}]]),
    ("notify.other", "any other method is counted as refused", [2, "begin", [P | {"agents": [8]}]]),
]


def golden() -> dict[str, Any]:
    """All frames, and the sessions in which a server is sent them."""
    frames: list[dict[str, str]] = []
    sessions: list[dict[str, Any]] = []

    def add(name: str, kind: str, says: str, data: bytes) -> str:
        frames.append({"name": name, "kind": kind, "description": says, "hex": data.hex()})
        return name

    def ask(request_id: int, entry: tuple[str, str, str, Any, Any]) -> list[list[str]]:
        name, says, method, params, result = entry
        error = None
        if isinstance(result, tuple):
            error, result = (list(result), None) if result[0] else (None, result[2])
        return [["send", add(name, "request", says, frame(encode([0, request_id, method, [params]])))],
                ["receive", add(f"{name}.reply", "reply", says, frame(encode([1, request_id, error, result])))]]

    hello = ask(0, EXCHANGE[0])
    steps = [step for request_id, entry in enumerate(EXCHANGE[1:], 1) for step in ask(request_id, entry)]
    sessions.append({"name": "methods", "steps": hello + steps})
    for name, says, value in NOTIFIES:
        add(name, "notify", says, frame(encode(value)))
    # stats names no policy and may overtake the notifies; a reply for their policy says that they were seen
    seen = ask(1, ("end.after_notifies", "no agents are legal", "end", P | {"agents": []}, {"ended": 0}))
    counted = ask(2, ("stats.notifies", "three notifies were refused", "stats", {},
                      EXCHANGE[-1][-1] | {"refused_notifies": len(NOTIFIES)}))
    sessions.append({"name": "notifies", "steps": hello + [["send", name] for name, _, _ in NOTIFIES] + seen + counted})
    steps = [step for request_id, entry in enumerate(REFUSED, 1 << 16) for step in ask(request_id, entry)]
    sessions.append({"name": "refusals", "steps": hello + steps})
    for request_id, entry in enumerate(FIRST, (1 << 32) - len(FIRST)):
        sessions.append({"name": entry[0], "steps": [*ask(request_id, entry), ["closed", ""]]})
    bad = add("bad_frame", "reply", "the answer to a bad frame", frame(encode([1, None, [1, "bad frame", {}], None])))
    for name, says, data in BAD_FRAMES:
        before = [] if name == "notify_first" else hello
        sessions.append({"name": f"bad.{name}", "steps": [*before, ["send", add(f"bad.{name}", "bad", says, data)], ["receive", bad],
                                                          ["closed", ""]]})
    for request_id, entry in enumerate(LONE_EXCHANGES, 100):
        ask(request_id, entry)
    for name, says, value in LONE_REPLIES:
        add(name, "reply", says, frame(encode(value)))
    return {"protocol": 1, "frames": frames, "sessions": sessions}


LISTS = {"agents", "skipped", "versions", "roles", "policies", "shape"}  # lists whose values count; other lists are compared by type
VALUES = {"begun", "ended", "restored", "tick", "refused_notifies", "dtype"}


def differences(expected: Any, got: Any, where: str = "result") -> list[str]:
    """Where a reply's structure is not the golden one's."""
    if isinstance(expected, bool) or expected is None or isinstance(expected, str):
        return [] if type(expected) is type(got) else [f"{where}: expected {expected!r}, got {got!r}"]
    if isinstance(expected, (int, float)):
        return [] if isinstance(got, (int, float)) and not isinstance(got, bool) else [f"{where}: expected a number, got {got!r}"]
    if isinstance(expected, bytes):
        same = isinstance(got, bytes) and (len(got) == len(expected) or where.endswith("state"))
        return [] if same else [f"{where}: expected {len(expected)} bytes, got {got!r}"]
    if not isinstance(got, type(expected)):
        return [f"{where}: expected {expected!r}, got {got!r}"]
    if isinstance(expected, list):
        return [] if where.rpartition(".")[2] not in LISTS or got == expected else [f"{where}: expected {expected!r}, got {got!r}"]
    wrong = [f"{where}: {key} is missing" for key in expected if key not in got]
    for key in expected.keys() & got.keys():
        if key in VALUES and got[key] != expected[key]:
            wrong.append(f"{where}.{key}: expected {expected[key]!r}, got {got[key]!r}")
        wrong += differences(expected[key], got[key], f"{where}.{key}")
    return wrong


def compare(expected: list[Any], got: Any) -> list[str]:
    """What is wrong with a reply `got`."""
    if not isinstance(got, list) or len(got) != 4 or got[:2] != expected[:2]:
        return [f"envelope: expected {expected[:2]}, got {got!r}"]
    if expected[2] is None:
        return ([f"error: expected nil, got {got[2]!r}"] if got[2] is not None else []) + differences(expected[3], got[3])
    error = got[2] if isinstance(got[2], list) and len(got[2]) == 3 else [None, None, None]
    if got[3] is not None or error[0] != expected[2][0] or not isinstance(error[1], str) or not isinstance(error[2], dict):
        return [f"error: expected code {expected[2][0]}, got {got[2]!r}, {got[3]!r}"]
    wrong = [f"error data: expected {key} {value!r}, got {got[2][2].get(key)!r}" for key, value in expected[2][2].items()
             if got[2][2].get(key) not in (value, value.partition(".")[0] if isinstance(value, str) else value)]
    return wrong + ([] if len(encode(got)) <= 1024 else ["error: over 1,024 bytes"])


def connect(address: str) -> socket.socket:
    """A connection to `tcp://host:port` or `unix:/path`."""
    if address.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(TIME_LIMIT_S)
        connection.connect(address.removeprefix("unix:"))
        return connection
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), TIME_LIMIT_S)


def read(connection: socket.socket, n_bytes: int) -> bytes:
    """Exactly `n_bytes`, fewer where the peer has closed."""
    data = b""
    while len(data) < n_bytes and (more := connection.recv(n_bytes - len(data))):
        data += more
    return data


def play(address: str, session: dict[str, Any], frames: dict[str, bytes]) -> list[str]:
    """Sends one session in a connection of its own; what went otherwise than written."""
    wrong = []
    with connect(address) as connection:
        for what, name in session["steps"]:
            try:
                if what == "send":
                    connection.sendall(frames[name])
                elif what == "closed":
                    try:
                        more = read(connection, 1)
                    except ConnectionResetError:
                        more = b""
                    wrong += [f"{session['name']}: expected a closed connection, got more"] if more else []
                else:
                    body = read(connection, int.from_bytes(read(connection, 4), "little"))
                    wrong += [f"{session['name']}, {name}: {line}" for line in compare(decode(frames[name][4:]), decode(body))]
            except (OSError, ValueError) as error:
                return [*wrong, f"{session['name']}, {what} {name}: {type(error).__name__}: {error}"]
    return wrong


def main(arguments: list[str] | None = None) -> int:
    """Writes the frames, or checks a server; 1 where it differs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--check", metavar="ADDRESS", help="a server that is held against the frames")
    address = parser.parse_args(arguments).check
    if address is None:
        FRAMES.parent.mkdir(parents=True, exist_ok=True)
        FRAMES.write_text(json.dumps(golden(), indent=1) + "\n", encoding="utf-8")
        return 0
    written = json.loads(FRAMES.read_text(encoding="utf-8"))
    frames = {entry["name"]: bytes.fromhex(entry["hex"]) for entry in written["frames"]}
    wrong = [line for session in written["sessions"] for line in play(address, session, frames)]
    print("\n".join(wrong) or f"{len(written['sessions'])} sessions as written")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
