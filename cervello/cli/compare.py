"""`cervello compare`: compares two policy files, or Cervello and onnxruntime for one file, and locates the first difference."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cervello.cli import compiling, observations, options
from cervello.cli.formatting import plain, plural
from cervello.cli.terminal import Terminal
from cervello.errors import ConfigurationError, FormatError

if TYPE_CHECKING:
    from cervello.native.report.comparison import Comparison, Difference, Runner
    from cervello.spec import Specs

SUMMARY = "whether two policies give the same, or Cervello and onnxruntime do, and the first node where they part"
EXAMPLES: tuple[str, ...] = (
    "cervello compare racer.onnx --against onnxruntime",
    "cervello compare old.onnx new.onnx -b 1,64 --tolerance 1e-6",
    "cervello compare old.onnx new.onnx --observations frames.npz --json")
_NODES_SHOWN = 20


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = ("Values agree where |a - b| <= tolerance x max(1, |a|, |b|); NaN agrees with NaN. Random ops give their mean or mode. "
                     "Exit status: 0 they agree, 1 they differ, 2 an error.")
    parser.add_argument("model", metavar="A", type=Path, help="policy file (.onnx, or .crvo with ONNX in it)")
    parser.add_argument("other", metavar="B", nargs="?", type=Path, help="the policy file to compare with")
    parser.add_argument("--against", choices=("onnxruntime",), help="compare with this runtime, of the same file, instead of B")
    options.add_dims(parser)
    parser.add_argument("-b", "--batch-sizes", metavar="N1-N2,N3", type=options.row_counts,
                        help="batch sizes: numbers and ranges by comma, such as 1-4,8 (default: 1,7,64, or all rows of --observations)")
    parser.add_argument("--observations", metavar="FILE", type=Path,
                        help="a .npz file with an array per input, rows as in a batch; random ones without it")
    parser.add_argument("--tolerance", metavar="T", type=_tolerance, default=1e-4,
                        help="see below; 0 asks for equal numbers (default: 1e-4)")
    options.add_seed(parser, "of random observations")
    options.add_json(parser)


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    if (arguments.other is None) == (arguments.against is None):
        raise ConfigurationError("compare: expected B or --against onnxruntime, got "
                                 f"{'neither' if arguments.other is None else 'both'}; see cervello compare --help")
    from cervello.native.report.comparison import compare

    with compiling.shown(terminal), terminal.busy("comparing"):
        first, second = _runners(arguments)
        batches = _batches(first.inputs, arguments)
        found = compare(first, second, batches, arguments.tolerance)
    if arguments.json:
        terminal.json(_facts(first, second, found))
    else:
        _print(first, second, found, terminal)
    return 0 if found.agree else 1


def _runners(arguments: argparse.Namespace) -> tuple[Runner, Runner]:
    from cervello.native.report.comparison import ModelRunner

    path, dims = arguments.model, dict(arguments.dims)
    if arguments.other is not None:
        names = [each.name for each in (path, arguments.other)]
        if names[0] == names[1]:
            names = [str(path), str(arguments.other)]
        return ModelRunner(path, names[0], dims), ModelRunner(arguments.other, names[1], dims)
    from cervello.cli.onnxruntime_runner import OnnxruntimeRunner

    ours = ModelRunner(path, "cervello", dims)
    return ours, OnnxruntimeRunner(path, ours, dims)


def _batches(inputs: Specs, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A batch per size."""
    path: Path | None = arguments.observations
    if path is None:
        return [observations.batches(inputs, n_rows, 1, arguments.seed)[0] for n_rows in arguments.batch_sizes or [1, 7, 64]]
    given = _read(path)
    if set(given) != set(inputs):
        raise ConfigurationError(f"observations {str(path)!r}: expected an array for each of {list(inputs)}, got {sorted(given)}")
    rows = set()
    for name, spec in inputs.items():
        axis, shape = spec.batch_axis, given[name].shape
        if len(shape) != len(spec.batched(1)) or (axis is not None and spec.batched(shape[axis]) != shape) or (
                axis is None and shape != spec.shape):
            raise ConfigurationError(f"observations {str(path)!r}, input {name!r}: expected the shape {spec}, got {shape}")
        if axis is not None:
            rows.add(shape[axis])
    if len(rows) > 1 or 0 in rows:
        raise ConfigurationError(f"observations {str(path)!r}: expected as many rows for each input, at least 1, got {sorted(rows)}")
    n_rows = next(iter(rows), 1)
    for size in arguments.batch_sizes or [n_rows]:
        if size > n_rows:
            raise ConfigurationError(f"compare, -b: expected at most the {plural(n_rows, 'row')} of {str(path)!r}, got {size}")
    return [{name: given[name] if spec.batch_axis is None else given[name].take(range(size), axis=spec.batch_axis)
             for name, spec in inputs.items()} for size in arguments.batch_sizes or [n_rows]]


def _read(path: Path) -> dict[str, Any]:
    import zipfile

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            if not hasattr(file, "files"):
                raise ValueError("one array without a name")
            return {name: file[name] for name in file.files}
    except (ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise FormatError(f"observations {str(path)!r}: expected a .npz file, as numpy.savez writes it, got {error}") from error


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {text!r}")
    return value


def _print(first: Runner, second: Runner, found: Comparison, terminal: Terminal) -> None:
    sizes = ", ".join(f"{size:,}" for size in found.batch_sizes)
    names = f"{plain(first.name)} and {plain(second.name)}"
    summary = f"{names} {'agree' if found.agree else 'differ'}, tolerance {found.tolerance:g}, batch sizes {sizes}"
    terminal.print(summary, style="bold green" if found.agree else "bold red")
    facts = terminal.grid()
    for name, whose in found.missing.items():
        facts.add_row("output", f"{plain(name)}: only {plain(whose)} has it", style="red")
    at = found.first
    if at is not None:
        facts.add_row("first", f"{plain(at.node or 'no node')}, tensor {plain(at.tensor)}: {_apart(at)}")
    elif found.worst is not None:
        facts.add_row("first", "no tensor differs when every tensor is an output and the row runs alone: what differs is how steps are "
                               "fused, or what rows of a batch do to each other" if found.nodes else
                      "the graphs have no tensor in common, so the node where they part is not known")
    if found.worst is not None:
        facts.add_row("worst row", f"row {found.worst[1]} of the batch of {found.batch_sizes[found.worst[0]]:,}")
    if found.missing or found.worst is not None:
        terminal.print(facts)
    table = terminal.table(["~output", ">largest |a - b|", ">of tolerance", ">differing", "?>at", "?>a", "?>b"])
    for each in found.outputs:
        table.add_row(plain(each.tensor), *_cells(each, found.tolerance))
    terminal.print("")
    terminal.print(table)
    if found.worst is None or not found.nodes:
        return
    from cervello.native.report.comparison import by_node

    nodes = by_node(found.nodes)
    apart = [each for each in nodes if each.scaled > 0]
    table = terminal.table(["~node", "~tensor", ">largest |a - b|", ">of tolerance", "?>at", "?>a", "?>b"])
    for each in apart[:_NODES_SHOWN]:
        largest, share, _, *where = _cells(each, found.tolerance)
        table.add_row(plain(each.node), plain(each.tensor), largest, share, *where, style="red" if each.differs else None)
    terminal.print("")
    terminal.print(f"by node, in the order of the graph, for that row alone; {plural(len(nodes) - len(apart), 'node')} more are equal")
    terminal.print(table)
    if len(apart) > _NODES_SHOWN:
        terminal.remark(f"{plural(len(apart) - _NODES_SHOWN, 'node')} more differ by something; --json has all")


def _apart(each: Difference) -> str:
    if each.note:
        return each.note
    return f"{each.a:.7g} and {each.b:.7g}, {each.n_differing:,} of {plural(each.n_elements, 'element')} beyond the tolerance"


def _cells(each: Difference, tolerance: float) -> list[str]:
    """Largest difference, its share of the tolerance, elements beyond, where, both values."""
    if each.note:
        return [plain(each.note), "-", f"{each.n_elements:,}", "-", "-", "-"]
    share = f"{each.scaled / tolerance:.3g}" if tolerance else "-" if each.scaled else "0"
    return [f"{each.largest:.3g}", share, f"{each.n_differing:,} of {each.n_elements:,}", ",".join(map(str, each.index)) or "-",
            f"{each.a:.6g}", f"{each.b:.6g}"]


def _facts(first: Runner, second: Runner, found: Comparison) -> dict[str, Any]:
    at = found.first
    return {"a": first.name, "b": second.name, "agree": found.agree, "tolerance": found.tolerance, "batch_sizes": list(found.batch_sizes),
            "missing": dict(found.missing), "worst": None if found.worst is None else {
                "batch_size": found.batch_sizes[found.worst[0]], "row": found.worst[1]},
            "first": None if at is None else _difference(at), "outputs": [_difference(each) for each in found.outputs],
            "nodes": [_difference(each) for each in found.nodes]}


def _difference(each: Difference) -> dict[str, Any]:
    """JSON has no infinity and no NaN: those are text."""
    numbers = {key: getattr(each, key) for key in ("largest", "scaled", "a", "b")}
    return {"tensor": each.tensor, "node": each.node, "differs": each.differs,
            **{key: value if math.isfinite(value) else str(value) for key, value in numbers.items()},
            "index": list(each.index), "n_differing": each.n_differing, "n_elements": each.n_elements, "note": each.note}
