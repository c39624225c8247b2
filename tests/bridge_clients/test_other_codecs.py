"""The golden frames, and the JavaScript client's codec, against two msgpack libraries from npm.

They are looked for in the `node_modules` of the folder that NPM_FOLDER names: `npm install @msgpack/msgpack msgpackr` there.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from golden import decode, dump
from languages import HERE, run, tool
from test_clients import VALUES


@pytest.mark.parametrize("library", ["@msgpack/msgpack", "msgpackr"])
def test_libraries_read_and_write_the_same_values(library: str) -> None:
    node, folder = tool("node"), os.environ.get("NPM_FOLDER", ".")
    if not (Path(folder) / "node_modules" / library).is_dir():
        pytest.skip(f"{library} is not installed; NPM_FOLDER names a folder that has it")
    lines = run([node, str(HERE / "javascript" / "other_codecs.mjs")], library, str(Path(folder).resolve()),
                given="".join(body.hex() + "\n" for body in VALUES.values()))
    assert len(lines) == len(VALUES)
    for (name, body), line in zip(VALUES.items(), lines, strict=True):
        expected = dump(decode(body))
        read, written, again = line.split(" ")
        assert (read, again) == (expected, expected), name
        assert dump(decode(bytes.fromhex(written))) == expected, name
