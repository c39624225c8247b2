"""Trains the demo's policies and writes them as ONNX files: `python -m cervello.demo.train`.

Needs numpy and onnx only, takes about a minute on one core. The seed fixes everything but the last bits of the matrix
products, which depend on numpy's build and on its number of threads. The command therefore runs with one thread: more
also take several times as long, because the matrices are tiny.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx

from cervello.demo.export import grazer_model, hunter_model, scout_model
from cervello.demo.species import SPECIES
from cervello.demo.training_adam import Parameters
from cervello.demo.training_grazer import train_grazer
from cervello.demo.training_hunter import train_hunter
from cervello.demo.training_scout import train_scout

Trainer = Callable[[np.random.Generator, Callable[[str], None]], Parameters]

_RECIPES: dict[str, tuple[Trainer, Callable[[Parameters], onnx.ModelProto]]] = {
    "grazer": (train_grazer, grazer_model),
    "hunter": (train_hunter, hunter_model),
    "scout": (train_scout, scout_model),
}

_ONE_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    names = [species.name for species in SPECIES]
    parser = argparse.ArgumentParser(prog="python -m cervello.demo.train", description="Trains the demo's policies.")
    parser.add_argument("--species", choices=names, help="train this one only; all by default")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "policies", help="folder of the ONNX files")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        if options.species in (None, name):
            _train(name, options.out / f"{name}.onnx", np.random.default_rng([options.seed, index]))


def _train(name: str, path: Path, random: np.random.Generator) -> None:
    trainer, exporter = _RECIPES[name]
    start = time.perf_counter()
    content = exporter(trainer(random, _say)).SerializeToString(deterministic=True)
    path.write_bytes(content)
    _say(f"{name}: {time.perf_counter() - start:.1f} s of training, {len(content)} bytes in {path}")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    if _ONE_THREAD.items() <= os.environ.items():
        main()
    else:
        # The matrix library reads these once, when numpy is imported, which has already happened here.
        command = [sys.executable, "-m", "cervello.demo.train", *sys.argv[1:]]
        raise SystemExit(subprocess.run(command, env=os.environ | _ONE_THREAD, check=False).returncode)
