"""A torch network by both of torch's exporters: batch free, of one row, and with an axis of an odd name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from cases import OPSETS, attempt, progress

BATCHES = ("free", "baked", "odd name")
EXPORTERS = {"dynamo": True, "script": False}  # name: the exporter's `dynamo=`
# Batches and opsets of libraries' networks: the sections of torch's exporters have the others. dynamo takes seconds for a file.
FEW = {"dynamo": (("free", "baked"), (18,)), "script": (BATCHES, (11, 17, 23))}


class Input(NamedTuple):
    """An input at two rows.

    Attributes:
      shape: of two rows.
      axis: of the batch.
      dtype: of its values.
    """

    shape: tuple[int, ...]
    axis: int = 0
    dtype: torch.dtype = torch.float32

    def example(self, n_rows: int) -> torch.Tensor:
        shape = tuple(n_rows if i == self.axis else n for i, n in enumerate(self.shape))
        return torch.randn(shape).to(self.dtype) if self.dtype.is_floating_point else torch.ones(shape, dtype=self.dtype)


class Network(NamedTuple):
    """What is exported.

    Attributes:
      module: takes the inputs in order, gives the outputs in order.
      inputs: by name.
      outputs: batch axis by name.
    """

    module: torch.nn.Module
    inputs: dict[str, Input]
    outputs: dict[str, int]


class Forward(torch.nn.Module):
    """A network and a function of it as one module, since exporters take a module's `forward`."""

    def __init__(self, network: Any, of: Any = None) -> None:
        super().__init__()
        self.network, self._of = network, of

    def forward(self, *given: torch.Tensor) -> Any:
        return self.network(*given) if self._of is None else self._of(self.network, *given)


def export(network: Network, path: Path, batch: str, opset: int, dynamo: bool) -> None:
    symbol = {"free": "batch", "odd name": "s77_agents"}.get(batch)
    given = tuple(item.example(1 if symbol is None else 2) for item in network.inputs.values())
    options: dict[str, Any] = {}
    if symbol is not None and dynamo:
        dim = torch.export.Dim(symbol)
        options["dynamic_shapes"] = (tuple({item.axis: dim} for item in network.inputs.values()),)  # `forward` takes *given
    elif symbol is not None:
        options["dynamic_axes"] = {name: {item.axis: symbol} for name, item in network.inputs.items()} | {
            name: {axis: symbol} for name, axis in network.outputs.items()}
    torch.onnx.export(Forward(network.module).eval(), given, str(path), dynamo=dynamo, opset_version=opset, verbose=False,
                      input_names=list(network.inputs), output_names=list(network.outputs), **options)


def write_networks(folder: Path, networks: dict[str, Network], exporter: str | None = None) -> list[dict[str, Any]]:
    """Cases of each network by one exporter, every batch and opset; by both (None), few of them, and the kind names the exporter too."""
    cases = []
    for kind, network in networks.items():
        progress(kind)
        for by, (batches, opsets) in FEW.items() if exporter is None else ((exporter, (BATCHES, OPSETS)),):
            for batch in batches:
                for opset in opsets:
                    cases.append(attempt(folder, f"{kind}, {by}" if exporter is None else kind, batch, opset,
                                         lambda path, network=network, batch=batch, opset=opset, by=by:
                                         export(network, path, batch, opset, EXPORTERS[by])))
    return cases
