"""`cervello unpack`: the ONNX file in a container of cervo, byte for byte."""

from __future__ import annotations

import argparse
from pathlib import Path

from cervello.cli.formatting import plain
from cervello.cli.terminal import Terminal

SUMMARY = "take the ONNX file out of a container of cervo (.crvo)"
EXAMPLES: tuple[str, ...] = ("cervello unpack racer.crvo racer.onnx",)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("infile", metavar="INFILE", type=Path, help="container (.crvo)")
    parser.add_argument("outfile", metavar="OUTFILE", type=Path, help="ONNX file to write")


def execute(arguments: argparse.Namespace, terminal: Terminal) -> None:
    from cervello.native.frontend import crvo
    from cervello.native.frontend.importer import read_bytes

    source: Path = arguments.infile
    arguments.outfile.write_bytes(crvo.unpacked(source.name, read_bytes(source)))
    terminal.remark(f"written: {plain(str(arguments.outfile))}")
