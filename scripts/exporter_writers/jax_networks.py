"""Networks of Flax (nnx) and Equinox by jax2onnx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import equinox
import jax
import jax.numpy as jnp
from cases import attempt, progress
from flax import nnx
from jax2onnx import to_onnx

OPSETS = (17, 18, 20, 21, 23)
BATCHES: dict[str, Any] = {"free": "B", "baked": 1, "odd name": "s77_agents"}


class Mlp(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.hidden, self.norm, self.head = nnx.Linear(8, 32, rngs=rngs), nnx.LayerNorm(32, rngs=rngs), nnx.Linear(32, 3, rngs=rngs)

    def __call__(self, obs: Any) -> Any:
        return self.head(self.norm(nnx.tanh(self.hidden(obs))))


class Cnn(nnx.Module):
    """Pictures with the channels last, as Flax has them."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(3, 8, (4, 4), strides=(2, 2), padding="VALID", rngs=rngs)
        self.second = nnx.Conv(8, 8, (3, 3), padding="VALID", rngs=rngs)
        self.head = nnx.Linear(8 * 5 * 5, 3, rngs=rngs)

    def __call__(self, obs: Any) -> Any:
        x = nnx.relu(self.second(nnx.relu(self.first(obs))))
        return self.head(x.reshape(x.shape[0], -1))


class Gru(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.cell, self.head = nnx.GRUCell(8, 16, rngs=rngs), nnx.Linear(16, 3, rngs=rngs)

    def __call__(self, obs: Any, h_in: Any) -> Any:
        h_out, out = self.cell(h_in, obs)
        return self.head(out), h_out


class EquinoxGru(equinox.Module):
    cell: equinox.nn.GRUCell
    head: equinox.nn.Linear

    def __init__(self, key: Any) -> None:
        first, second = jax.random.split(key)
        self.cell, self.head = equinox.nn.GRUCell(8, 16, key=first), equinox.nn.Linear(16, 3, key=second)

    def __call__(self, obs: Any, h_in: Any) -> Any:
        h_out = self.cell(obs, h_in)
        return self.head(h_out), h_out


def networks() -> dict[str, tuple[Any, list[tuple[int, ...]]]]:
    """Kinds: a function of rows, and the shape of one row of each input."""
    rngs, key = nnx.Rngs(0), jax.random.key(0)
    conv = equinox.nn.Sequential([equinox.nn.Conv2d(3, 8, 4, 2, key=key), equinox.nn.Lambda(jax.nn.relu),
                                  equinox.nn.Lambda(jnp.ravel), equinox.nn.Linear(8 * 7 * 7, 3, key=key)])
    return {
        "Flax MLP": (Mlp(rngs), [(8,)]),
        "Flax CNN": (Cnn(rngs), [(16, 16, 3)]),
        "Flax GRU": (Gru(rngs), [(8,), (16,)]),
        "Equinox MLP": (jax.vmap(equinox.nn.MLP(8, 3, 32, 2, key=key)), [(8,)]),
        "Equinox CNN": (jax.vmap(conv), [(3, 16, 16)]),
        "Equinox GRU": (jax.vmap(EquinoxGru(key)), [(8,), (16,)]),
    }


def write(name: str, folder: Path) -> list[dict[str, Any]]:
    cases = []
    for kind, (function, shapes) in networks().items():
        progress(kind)
        for batch, rows in BATCHES.items():
            for opset in OPSETS:
                cases.append(attempt(folder, kind, batch, opset, lambda path, function=function, shapes=shapes, rows=rows, opset=opset:
                                     to_onnx(function, [(rows, *shape) for shape in shapes], opset=opset, return_mode="file",
                                             output_path=str(path))))
    return cases
