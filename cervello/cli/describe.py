"""`cervello describe`: what kind of file this is. The words are those of `cervo describe`."""

from __future__ import annotations

import argparse
from pathlib import Path

from cervello.cli.terminal import Terminal

SUMMARY = "what kind of file this is: ONNX, or a container of cervo and what it holds"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="policy file (.onnx, .crvo)")


def execute(arguments: argparse.Namespace, terminal: Terminal) -> None:
    from cervello.native.frontend import crvo
    from cervello.native.frontend.importer import read

    path: Path = arguments.file
    data = path.read_bytes()
    if crvo.is_crvo(data):
        terminal.write(f"a native cervo file containing {crvo.kind(path.name, data)} data")
    elif path.name.endswith(".nnef.tar"):
        terminal.write("a NNEF file")
    else:
        read(path)  # refuses what is no ONNX file
        terminal.write("an ONNX file")
