"""Damaged frames against a running server: an error reply or a closed connection, and never an internal error.

    python scripts/fuzz_bridge.py --frames 1000000 --seed 1

Serves a demo policy in this process, sends mutations of legal messages, and checks that a second connection is answered throughout and
that nothing unexpected was logged. Prints what came back; exit status 1 where something else did.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgpack

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from serving import Running, Wire

from cervello.bridge import Limits, Options
from cervello.bridge.codes import BadFrame
from cervello.bridge.envelope import decode
from cervello.demo import policy_path

ROW = bytes(36)
P = {"policy": "hunter"}
MESSAGES = [
    [0, 1, "hello", [{"version": 1, "client": "fuzz"}]], [0, 2, "spec", [P]],
    [0, 3, "begin", [P | {"agents": [1, 2], "streams": bytes(16)}]],
    [0, 4, "infer", [P | {"agents": [1, 2], "inputs": {"obs": ROW * 2}, "begin": True, "deterministic": b"\0\1", "tick": 3,
                          "outputs": ["action"], "deadline_us": 100_000}]],
    [0, 5, "reward", [P | {"agents": [1], "reward": bytes(4), "tick": 3, "actions": {"action": bytes(8)}}]],
    [2, "reward", [P | {"agents": [1], "reward": bytes(4)}]], [0, 6, "snapshot", [P]],
    [0, 7, "restore", [P | {"state": bytes(60), "keep": True}]],
    [0, 8, "swap", [P | {"path": "hunter.onnx"}]], [0, 9, "stats", [{}]], [0, 10, "ping", [{}]],
    [0, 11, "end", [P | {"agents": [1], "terminated": b"\1", "inputs": {"obs": ROW}}]], [2, "end", [P | {"agents": [2]}]]]


def mutated(rng: random.Random, body: bytes) -> bytes:
    """A frame with a few damages, in its length or its body."""
    data = bytearray(body)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 4))):
        at = rng.randrange(len(data))
        kind = rng.randrange(4)
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            data[at:at] = rng.randbytes(rng.randrange(1, 6))
        elif kind == 2:
            del data[at:at + rng.randrange(1, 5)]
        else:
            data[at:at] = rng.choice((
                b"\xdc\xff\xff", b"\xdf\x7f\xff\xff\xff", b"\x91" * 20, b"\xc1", b"\xd4\0\0", b"\xcb\x7f\xf0\0\0\0\0\0\0"))
        data = data or bytearray(b"\xc0")
    length = len(data) if rng.random() < 0.97 else rng.randrange(1 << 32)
    return struct.pack("<I", length) + bytes(data)


def is_bad(frame: bytes) -> bool:
    """Whether a server closes after this frame: its length is wrong or its body is no message."""
    try:
        decode(frame[4:], 1 << 20)
    except (BadFrame, ValueError):
        return True
    return struct.unpack("<I", frame[:4])[0] != len(frame) - 4


class Unexpected(logging.Handler):
    """Counts records from `error` on."""

    n = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.n += 1
        print(self.format(record), file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    rng = random.Random(options.seed)
    log = Unexpected(level=logging.ERROR)
    logging.getLogger("cervello").addHandler(log)
    codes: Counter[object] = Counter()
    sent = 0
    bodies = [msgpack.packb(message) for message in MESSAGES]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(policy_path("hunter"), folder)
        with Running(Options(Path(folder), listen=["tcp://127.0.0.1:0"], limits=Limits(frame_timeout_s=1.0))) as running, \
                Wire(running.address, {"client": "witness"}) as witness:
            start = time.monotonic()
            while sent < options.frames:
                with Wire(running.address, {"client": "fuzz"}) as wire:
                    frames = []
                    for _ in range(rng.randrange(1, 200)):  # up to the first bad one, since nothing behind it is looked at
                        frames.append(mutated(rng, rng.choice(bodies)))
                        if is_bad(frames[-1]):
                            break
                    sent += len(frames)
                    wire.socket.settimeout(5.0)
                    try:
                        wire.socket.sendall(b"".join(frames))
                        wire.socket.shutdown(socket.SHUT_WR)
                        while (reply := wire.receive()) is not None:
                            codes["answered" if reply[2] is None else reply[2][0]] += 1
                    except (ConnectionError, AssertionError):
                        codes["closed"] += 1
                if witness.ask("ping", {})[3] != {}:
                    return 1
            seconds = time.monotonic() - start
            while witness.result("stats", {})["policies"]["hunter"]["agents"]:
                time.sleep(0.01)
    print(f"{sent:,} frames in {seconds:.0f} s, seed {options.seed}: {dict(codes)}, {log.n} errors in the log")
    return int(bool(log.n or codes[8]))


if __name__ == "__main__":
    sys.exit(main())
