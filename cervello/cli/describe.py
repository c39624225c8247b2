"""`cervello describe`: the kind of a file, in the words of `cervo describe`."""

from __future__ import annotations

import argparse
from pathlib import Path

from cervello.cli import options
from cervello.cli.terminal import Terminal

SUMMARY = "what kind of file this is: ONNX, or a container of cervo and what it holds"
EXAMPLES: tuple[str, ...] = ("cervello describe racer.crvo",)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="policy file (.onnx, .crvo)")
    options.add_json(parser)


def execute(arguments: argparse.Namespace, terminal: Terminal) -> None:
    from cervello.native.frontend import crvo
    from cervello.native.frontend.importer import read, read_bytes

    path: Path = arguments.file
    data = read_bytes(path)
    if crvo.is_crvo(data):
        container, holds = "crvo", crvo.kind(path.name, data)
        description = f"a native cervo file containing {holds} data"
    elif path.name.endswith(".nnef.tar"):
        container, holds, description = None, "NNEF", "a NNEF file"
    else:
        read(path)  # refuses other files than ONNX
        container, holds, description = None, "ONNX", "an ONNX file"
    if arguments.json:
        terminal.json({"file": str(path), "n_bytes": len(data), "container": container, "holds": holds.lower()})
    else:
        terminal.write(description)
