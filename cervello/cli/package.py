"""`cervello package`: an ONNX file into a container of cervo, as `cervo package` writes it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cervello.cli.terminal import Terminal
from cervello.cli.wording import plain

if TYPE_CHECKING:
    import onnx

SUMMARY = "put an ONNX file into a container of cervo (.crvo)"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("infile", metavar="INFILE", type=Path, help="policy file (.onnx)")
    parser.add_argument("outfile", metavar="OUTFILE", type=Path, help="file to write; its suffix becomes .crvo")


def execute(arguments: argparse.Namespace, terminal: Terminal) -> None:
    import onnx

    from cervello.errors import UnsupportedError
    from cervello.native.frontend import crvo
    from cervello.native.frontend.importer import read

    source: Path = arguments.infile
    data = source.read_bytes()
    if source.name.endswith(".nnef.tar") or crvo.is_crvo(data):
        got = "a container already" if crvo.is_crvo(data) else "NNEF"
        raise UnsupportedError(f"model {source.name!r}: expected an ONNX file, got {got}; package the ONNX file that it was made of")
    read(source)  # refuses what is no ONNX file
    outside = _weights_outside(onnx.load_model_from_string(data))
    if outside:
        raise UnsupportedError(f"model {source.name!r}: expected weights inside the file, got {outside!r} in a file beside it, which the "
                               "container would not hold; save it as one file with onnx.save_model")
    target = arguments.outfile.with_suffix(".crvo")
    target.write_bytes(crvo.packed(data))
    terminal.remark(f"written: {plain(str(target))}")


def _weights_outside(model: onnx.ModelProto) -> str:
    """The name of a tensor that lies in another file; "" for none."""
    import onnx

    return next((tensor.name for tensor in model.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL), "")
