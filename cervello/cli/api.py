"""`cervello api`: inputs, outputs and properties of a policy."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cervello.cli import compiling, options
from cervello.cli.formatting import json_values, one_line, plain, row_shape
from cervello.cli.terminal import Terminal
from cervello.spec import Specs, TensorSpec

if TYPE_CHECKING:
    from cervello.native import Model

SUMMARY = "what a policy takes and gives: inputs, outputs, constants, metadata, proposed wrappers"
EXAMPLES: tuple[str, ...] = ("cervello api racer.onnx", "cervello api racer.onnx --json")
_ELEMENTS_SHOWN = 8
_CHARACTERS_SHOWN = 160


def configure(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    options.add_json(parser)


def execute(arguments: argparse.Namespace, terminal: Terminal) -> None:
    from cervello.native import Model
    from cervello.wrappers import suggest_wrappers

    with compiling.shown(terminal), terminal.busy("loading"):
        model = Model.load(arguments.model, dims=dict(arguments.dims))
    wrappers = [repr(wrapper) for wrapper in suggest_wrappers(model.spec)]
    reason = model.plan(1).one_row
    if arguments.json:
        terminal.json(_facts(model, wrappers, reason))
        return
    terminal.print(plain(model.name), style="bold")
    _print_specs(terminal, "inputs", model.inputs)
    _print_specs(terminal, "outputs", model.outputs)
    _print_constants(terminal, model.constants)

    facts = terminal.grid()
    if reason:
        facts.add_row("batch", f"one row at a time: {plain(reason)}", style="yellow")
    else:
        facts.add_row("batch", "free, all rows run at once")
    if model.open_dims:
        sizes = ", ".join(f"{plain(name)} {size}" for name, size in model.open_dims.items())
        facts.add_row("open sizes", f"{sizes}; a run takes what its arrays have, and --dim NAME=SIZE or dims= give others")
    facts.add_row("wrappers", "\n".join(map(plain, wrappers)) or "none needed")
    facts.add_row("random", "\n".join(map(plain, model.random_nodes)) or "no node draws random numbers")
    if model.slow_nodes:
        facts.add_row("slow", "\n".join(f"{plain(node)}: {plain(why)}" for node, why in model.slow_nodes.items()), style="yellow")
    else:
        facts.add_row("slow", "none, every step is on the planned tier")
    if model.metadata:
        facts.add_row("metadata", "\n".join(f"{plain(name)}: {_shortened(text)}" for name, text in model.metadata.items()))
    terminal.print("")
    terminal.print(facts)


def _print_specs(terminal: Terminal, what: str, specs: Specs) -> None:
    terminal.print("")
    if not specs:
        terminal.print(f"no {what}")
        return
    table = terminal.table(["~" + what, "row", "type", "batch axis"])
    for spec in specs.values():
        table.add_row(plain(spec.name), row_shape(spec), str(spec.dtype), _axis(spec))
    terminal.print(table)


def _axis(spec: TensorSpec) -> str:
    if spec.batch_axis is None:
        return "none, shared by all agents"
    return str(spec.batch_axis) if spec.default is None else f"{spec.batch_axis}, may be left out"


def _print_constants(terminal: Terminal, constants: Mapping[str, Any]) -> None:
    if not constants:
        return
    table = terminal.table(["~constants", "shape", "type", "~value"])
    for name, value in constants.items():
        table.add_row(plain(name), "×".join(map(str, value.shape)) or "scalar", str(value.dtype), _value(value))
    terminal.print("")
    terminal.print(table)


def _value(array: Any) -> str:
    """The value, on one line; a long one is shortened."""
    import numpy as np

    flat = array.reshape(-1)
    shown = ", ".join(str(each) for each in flat[:_ELEMENTS_SHOWN].tolist())
    if flat.size > _ELEMENTS_SHOWN:
        shown += f", … ({flat.size} in all)"
    return one_line(shown if np.ndim(array) == 0 else f"[{shown}]")


def _shortened(text: str) -> str:
    """A text of the file on one line; of a long one, its beginning and how many characters there are."""
    shown = one_line(text[:_CHARACTERS_SHOWN])
    return shown if len(text) <= _CHARACTERS_SHOWN else f"{shown}… ({len(text)} characters)"


def _facts(model: Model, wrappers: list[str], reason: str) -> dict[str, Any]:
    return {
        "name": model.name,
        "inputs": [_spec(spec) for spec in model.inputs.values()],
        "outputs": [_spec(spec) for spec in model.outputs.values()],
        "constants": [{"name": name, "shape": list(value.shape), "dtype": str(value.dtype), "value": json_values(value)}
                      for name, value in model.constants.items()],
        "batched": model.batched,
        "one_row": reason,
        "open_dims": dict(model.open_dims),
        "wrappers": wrappers,
        "random_nodes": list(model.random_nodes),
        "slow_nodes": dict(model.slow_nodes),
        "metadata": dict(model.metadata),
    }


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "shape": list(spec.shape), "dtype": str(spec.dtype), "batch_axis": spec.batch_axis,
            "required": spec.default is None}
