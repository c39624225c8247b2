"""Writes small policies with the exporters that people use, runs each file, and tells in docs/exporters.md what came of it.

    python scripts/exporters.py --output build/exporters [--only torch-script] [--python torch-script=/path/to/python]

Each exporter is installed by pip in a virtual environment of its own under the output folder, so the package index must be reachable; torch
alone takes about 1 GB there. `EXPORTERS` says which packages and which Python each needs. `--python NAME=PATH` uses an interpreter that has
the packages already. This script itself needs cervello and onnxruntime. One JSON file per exporter holds its results; an exporter that
has one is not run again. Without that file, files written before are checked anew; `--again` writes them anew too. The page is made from
these files alone, and an exporter without results is listed as not run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from exporter_page import page

ROOT = Path(__file__).resolve().parent.parent
WRITERS = Path(__file__).resolve().parent / "exporter_writers"
TORCH = ("torch==2.13.0", "onnx", "onnxscript")


class Exporter(NamedTuple):
    """How an exporter is installed.

    Attributes:
      packages: what pip installs.
      python: the interpreter's name; None: the one that runs this script.
      without_dependencies: what pip installs after that, without what it asks for.
    """

    packages: tuple[str, ...]
    python: str | None = None
    without_dependencies: tuple[str, ...] = ()


EXPORTERS = {
    "torch-dynamo": Exporter(TORCH),
    "torch-script": Exporter(TORCH),
    "CleanRL": Exporter(TORCH),
    "Stable-Baselines3": Exporter((*TORCH, "stable-baselines3")),
    "sb3-contrib": Exporter((*TORCH, "sb3-contrib")),
    "RLlib": Exporter((*TORCH, "ray[rllib]")),
    "TorchRL": Exporter((*TORCH, "torchrl")),
    "rsl_rl": Exporter((*TORCH, "rsl-rl-lib")),
    # Its pins leave out this Python; grpcio and protobuf are only for talking to Unity.
    "ML-Agents": Exporter((TORCH[0], "onnx==1.15.0", "numpy<1.24", "protobuf<3.21", "cattrs<1.7", "setuptools<81", "huggingface-hub<1",
                           "grpcio", "h5py", "pillow", "pyyaml", "tensorboard", "six", "attrs", "cloudpickle", "filelock"),
                          without_dependencies=("--ignore-requires-python", "mlagents==1.1.0", "mlagents-envs==1.1.0")),
    "Godot RL Agents": Exporter((*TORCH, "stable-baselines3", "onnxruntime"), without_dependencies=("godot-rl",)),
    "jax2onnx": Exporter(("jax2onnx", "flax", "equinox")),
    "tf2onnx": Exporter(("tensorflow-cpu==2.15.1", "tf2onnx==1.16.1", "onnx==1.16.2"), "python3.11"),
    "skl2onnx": Exporter(("skl2onnx",)),
}
NOT_TRIED = {
    "CleanRL's own scripts": "each is a program that trains; the rows above have their networks, written as they are there.",
    "IsaacLab": "needs Isaac Sim and a GPU. Its policies are exported by rsl_rl (above), skrl or rl_games.",
}
DRAWS = frozenset({"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"})
TOLERANCE = 1e-4  # relative and absolute: float32 sums of another order
EXPORT_LIMIT_S, INSTALL_LIMIT_S = 3600, 3600


def interpreter(name: str, output: Path, given: dict[str, str]) -> str:
    """An interpreter with the packages of an exporter.

    Raises:
      CalledProcessError: pip cannot install them; its message is in `stderr`.
      FileNotFoundError: the Python that it needs is not installed.
    """
    if name in given:
        return given[name]
    wanted = EXPORTERS[name]
    base = sys.executable if wanted.python is None else shutil.which(wanted.python)
    if base is None:
        raise FileNotFoundError(f"expected {wanted.python} on the path, found none")
    folder = output / "environments" / name.replace(" ", "-")
    python = folder / "bin" / "python"

    def run(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_LIMIT_S)

    print(f"{name}: installing {', '.join((*wanted.packages, *wanted.without_dependencies))}", flush=True)
    if not python.exists():
        run(base, "-m", "venv", str(folder))
    run(str(python), "-m", "pip", "install", "--quiet", *wanted.packages)
    if wanted.without_dependencies:
        run(str(python), "-m", "pip", "install", "--quiet", "--no-deps", *wanted.without_dependencies)
    return str(python)


def reference(session: Any, model: Any, columns: dict[str, Any], n_rows: int) -> dict[str, Any]:
    """onnxruntime's outputs; a file whose batch is fixed at 1 is run once per row."""
    import numpy as np

    names = [item.name for item in session.get_outputs()]
    if all(isinstance(item.shape[model.inputs[item.name].batch_axis or 0], str) for item in session.get_inputs()):
        return dict(zip(names, session.run(names, columns), strict=True))
    ranks = {item.name: len(item.shape) for item in session.get_inputs()}

    def one(name: str, row: int) -> Any:  # where the whole file is one agent's row, it has no axis for rows
        axis = model.inputs[name].batch_axis or 0
        return columns[name].take([row] if ranks[name] == columns[name].ndim else row, axis)

    rows = [session.run(names, {name: one(name, row) for name in columns}) for row in range(n_rows)]
    found = {}
    for i, name in enumerate(names):
        if name in model.outputs:
            spec = model.outputs[name]
            join = np.concatenate if rows[0][i].ndim == len(spec.batched(1)) else np.stack
            found[name] = join([row[i] for row in rows], spec.batch_axis or 0)
    return found


def drawn(proto: Any) -> set[str]:
    """Values that a random op of a file reaches: two programs draw other numbers."""
    found: set[str] = set()
    for node in proto.graph.node:
        if node.op_type in DRAWS or found.intersection(node.input):
            found.update(node.output)
    return found


def checked(path: Path) -> dict[str, Any]:
    """What cervello makes of a file: planned, batched, the largest difference from onnxruntime at 1 and 3 rows, wrappers."""
    import numpy as np
    import onnx
    import onnxruntime

    from cervello import Model
    from cervello.errors import ModelError
    from cervello.wrappers import suggest_wrappers

    proto = onnx.load(path, load_external_data=False)
    imports, random = {item.domain: item.version for item in proto.opset_import}, drawn(proto)
    found: dict[str, Any] = {"written": imports.get("")}  # exporters do not always write the opset that they are asked for
    try:
        try:
            model = Model.load(path)
        except ModelError as error:
            if "batch_axis=" not in str(error):
                raise
            found["batch_axis"] = 0  # what the message asks for
            model = Model.load(path, batch_axis=0)
        found.update(planned=not model.slow_nodes, slow=sorted(set(model.slow_nodes.values())), batched=bool(model.batched),
                     wrappers=[repr(item) for item in suggest_wrappers(model.spec)])
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        rng = np.random.default_rng(0)
        worst = 0.0
        for n_rows in (1, 3):
            columns = {name: rng.standard_normal(item.batched(n_rows)).astype(item.dtype) for name, item in model.inputs.items()}
            wanted, got = reference(session, model, columns, n_rows), model.run(columns, deterministic=bool(random))
            for name in sorted(set(model.outputs) - random):
                np.testing.assert_equal(got[name].shape, wanted[name].shape)
                difference = np.abs(got[name].astype(float) - wanted[name]) / np.maximum(1.0, np.abs(wanted[name].astype(float)))
                worst = max(worst, float(np.max(difference, initial=0.0)))
                if np.isnan(difference).any():
                    worst = float("inf")
        found.update(difference=worst, agrees=worst <= TOLERANCE)
    except Exception as error:  # what a file does is the result of this script
        message = str(error).replace(path.stem, "...")  # so that equal answers for several opsets are one row
        found["error"] = f"{type(error).__name__}: {message}"[:300]
    return found


def tried(name: str, output: Path, given: dict[str, str], again: bool) -> dict[str, Any]:
    """Installs an exporter, writes its files and checks them."""
    folder = output / "files" / name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / "cases.json"  # written last, so files that it lists are complete
    if again:
        shutil.rmtree(folder)
        folder.mkdir()
    try:
        if not listed.exists():
            python = interpreter(name, output, given)
            print(f"{name}: writing files", flush=True)
            subprocess.run([python, str(WRITERS), name, str(folder)], check=True, stderr=subprocess.PIPE, text=True, timeout=EXPORT_LIMIT_S)
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or str(error)).strip().splitlines()
        return {"failed": ([line for line in lines if line.startswith("ERROR") or "Error:" in line] or lines)[-1]}
    except (subprocess.TimeoutExpired, FileNotFoundError) as error:
        return {"failed": str(error)}
    cases = json.loads(listed.read_text())
    files = [case for case in cases["cases"] if "file" in case]
    for i, case in enumerate(files):
        print(f"{name}: checking file {i + 1} of {len(files)}", end="\n" if i + 1 == len(files) else "\r", flush=True)
        case.update(checked(folder / case["file"]))
    return dict(cases)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for environments, files and results")
    parser.add_argument("--only", action="append", choices=EXPORTERS, help="run this exporter; may be repeated (default: all)")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH", help="interpreter that has an exporter's packages")
    parser.add_argument("--again", action="store_true", help="run exporters that have results already")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "exporters.md", help="default: %(default)s")
    arguments = parser.parse_args()
    given = dict(item.split("=", 1) for item in arguments.python)
    if unknown := sorted(set(given) - set(EXPORTERS)):
        parser.error(f"--python: expected names of {', '.join(EXPORTERS)}, got {', '.join(unknown)}")
    arguments.output.mkdir(parents=True, exist_ok=True)

    def result(name: str) -> Path:
        return arguments.output / f"{name.replace(' ', '-')}.json"

    for name in arguments.only or EXPORTERS:
        path = result(name)
        if arguments.again or not path.exists():
            path.write_text(json.dumps(tried(name, arguments.output, given, arguments.again), indent=1))
    results = {name: json.loads(result(name).read_text()) for name in EXPORTERS if result(name).exists()}
    arguments.page.write_text(page(results, EXPORTERS, NOT_TRIED, TOLERANCE), encoding="utf-8")


if __name__ == "__main__":
    main()
