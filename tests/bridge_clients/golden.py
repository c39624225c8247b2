"""The committed golden frames, and the text form in which clients of every language print a decoded value."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from frame_codec import decode, encode, frame  # noqa: E402

__all__ = ["BAD_VALUES", "BOMB", "CLIENTS", "DATA", "FRAMES", "KINDS", "ROOT", "decode", "dump", "encode", "frame"]

CLIENTS = ROOT / "clients"
DATA = json.loads((ROOT / "tests" / "data" / "bridge_frames" / "frames.json").read_text(encoding="utf-8"))
FRAMES: dict[str, bytes] = {entry["name"]: bytes.fromhex(entry["hex"]) for entry in DATA["frames"]}
KINDS: dict[str, str] = {entry["name"]: entry["kind"] for entry in DATA["frames"]}
BOMB = b"\xdc\x00\x01" * (72 * 1024 // 3)
# Bodies that no client may decode: what is bad in them is the msgpack value itself, not the envelope.
BAD_VALUES: dict[str, bytes] = {name: FRAMES[f"bad.{name}"][4:] for name in (
    "trailing", "cut_off", "depth_9", "array_too_long", "bin_too_long", "ext", "timestamp", "key_int", "key_bin", "key_twice", "key_utf8",
    "byte_c1", "method_utf8")} | {
        "empty": b"", "bomb": BOMB, "map_too_long": b"\x81\xa1x\xdf\x80\x00\x00\x01", "str_cut": b"\xd9",
        "many_values": b"\xdd\x00\x20\x00\x00" + b"\xc0" * (2 << 20)}


def dump(value: Any, *, strings_only: bool = False, lists_only: bool = False) -> str:
    """A value as text: `s` or `b` and hex for str and bin, `f` for floats that are not whole, maps by their keys' order of bytes.

    Args:
      strings_only: bin is printed as str, for languages that have one type for both.
      lists_only: an empty map is printed as an empty array, for the same reason.
    """
    if value is None:
        return "n"
    if isinstance(value, bool):
        return "t" if value else "u"
    if isinstance(value, float):
        return str(int(value)) if value == int(value) else f"f{value!r}"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (str, bytes)):
        return ("b" if isinstance(value, bytes) and not strings_only else "s") + (value.encode() if isinstance(value, str) else value).hex()
    inner = {"strings_only": strings_only, "lists_only": lists_only}
    if isinstance(value, dict):
        if not value and lists_only:
            return "[]"
        pairs = sorted((key.encode().hex(), dump(item, **inner)) for key, item in value.items())
        return "{" + ",".join(f"{key}:{item}" for key, item in pairs) + "}"
    return "[" + ",".join(dump(item, **inner) for item in value) + "]"
