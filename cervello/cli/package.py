"""`cervello package`: an ONNX file into a container of cervo, as `cervo package` writes it."""

from __future__ import annotations

import argparse
from pathlib import Path

from cervello.cli.formatting import plain
from cervello.cli.terminal import Terminal

SUMMARY = "put an ONNX file into a container of cervo (.crvo)"
EXAMPLES: tuple[str, ...] = ("cervello package racer.onnx racer.crvo",)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("infile", metavar="INFILE", type=Path, help="policy file (.onnx)")
    parser.add_argument("outfile", metavar="OUTFILE", type=Path, help="file to write; its suffix becomes .crvo")


def execute(arguments: argparse.Namespace, terminal: Terminal) -> None:
    from cervello.errors import FormatError, UnsupportedError
    from cervello.native.frontend import crvo
    from cervello.native.frontend.importer import read, read_bytes

    source: Path = arguments.infile
    data = read_bytes(source)
    if source.name.endswith(".nnef.tar") or crvo.is_crvo(data):
        got = "a container already" if crvo.is_crvo(data) else "NNEF"
        raise UnsupportedError(f"model {source.name!r}: expected an ONNX file, got {got}; package the ONNX file that it was made of")
    read(source)  # refuses what is no ONNX file
    try:
        read(data)  # bytes lie in no folder, as those in a container do
    except FormatError as error:
        raise UnsupportedError(f"model {source.name!r}: expected weights inside the file, since a container holds no other files, got: "
                               f"{error}; or save it as one file with onnx.save_model, and package that") from error
    target = arguments.outfile.with_suffix(".crvo")
    target.write_bytes(crvo.packed(data))
    terminal.remark(f"written: {plain(str(target))}")
