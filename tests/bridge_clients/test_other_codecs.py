"""The golden frames in the hands of other msgpack libraries of JavaScript."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from golden import FRAMES, KINDS, ROOT, decode, dump
from languages import tool

# The values alone: bad frames, and `liberal`, whose str holds bytes that are no text, are not for these libraries.
VALUES = {name: data[4:] for name, data in FRAMES.items() if KINDS[name] != "bad" and name != "liberal"}
SCRIPT = """
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
const require = createRequire(process.argv[3] + "/");
const hex = (bytes) => Buffer.from(bytes).toString("hex");
function dump(value) {
  if (value === null || value === undefined) return "n";
  if (value === true) return "t";
  if (value === false) return "u";
  if (typeof value === "bigint") return String(value);
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : `f${value}`;
  if (typeof value === "string") return "s" + hex(Buffer.from(value));
  if (value instanceof Uint8Array) return "b" + hex(value);
  if (Array.isArray(value)) return `[${value.map(dump)}]`;
  const pairs = Object.keys(value).map((key) => [hex(Buffer.from(key)), value[key]]).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${pairs.map(([key, item]) => `${key}:${dump(item)}`)}}`;
}
let codec = require(process.argv[2]);
if (process.argv[2] === "msgpackr") {
  const packer = new codec.Packr({ useRecords: false });
  codec = { encode: (value) => packer.pack(value), decode: (bytes) => packer.unpack(bytes) };
}
for await (const line of createInterface({ input: process.stdin })) {
  const value = codec.decode(Buffer.from(line, "hex"));
  console.log(`${dump(value)} ${hex(codec.encode(value))}`);
}
"""


@pytest.mark.parametrize("library", ["@msgpack/msgpack", "msgpackr"])
def test_other_libraries_read_golden_frames_and_what_they_write_is_read(library: str, tmp_path: Path) -> None:
    """Packages are looked for in $CERVELLO_NODE_MODULES, else beside the project; `npm install @msgpack/msgpack msgpackr` brings them."""
    node = tool("node")
    places = [Path(os.environ.get("CERVELLO_NODE_MODULES", ROOT / "node_modules")), ROOT.parent / "node_modules"]
    modules = next((place for place in places if (place / library / "package.json").is_file()), None)
    if modules is None:
        pytest.skip(f"the npm package {library} is not installed (CERVELLO_NODE_MODULES names a folder of packages)")
    script = tmp_path / "codec.mjs"
    script.write_text(SCRIPT, encoding="utf-8")
    given = "".join(body.hex() + "\n" for body in VALUES.values())
    done = subprocess.run([node, str(script), library, str(modules.resolve().parent)], capture_output=True, text=True, timeout=60,
                          check=False, input=given)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(VALUES)
    for (name, body), line in zip(VALUES.items(), lines, strict=True):
        dumped, _, again = line.partition(" ")
        assert dumped == dump(decode(body)), name
        assert dump(decode(bytes.fromhex(again))) == dumped, name  # other widths, whole floats: the same value
