"""Writes small policies with the exporters that people use, runs each file, and tells in docs/exporters.md what came of it.

    python scripts/exporters.py --output build/exporters [--only torch-script] [--python torch-script=/path/to/python]

Exporters: torch.onnx.export with dynamo (torch-dynamo) and without (torch-script), Stable-Baselines3 through the latter, skl2onnx.
Each is installed by pip in a virtual environment of its own under the output folder, so the package index must be reachable; torch
alone takes about 1 GB there. `--python NAME=PATH` uses an interpreter that has the packages already. This script itself needs cervello and
onnxruntime. One JSON file per exporter holds its results; an exporter that has one is not run again. Without that
file, files written before are checked anew; `--again` writes them anew too. The page is made
from these files alone, and an exporter without results is listed as not run.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WRITERS = Path(__file__).resolve().parent / "exporter_writers.py"
TORCH = ["torch==2.13.0", "onnx", "onnxscript"]
PACKAGES = {
    "torch-dynamo": TORCH,
    "torch-script": TORCH,
    "sb3": [*TORCH, "stable-baselines3"],
    "skl2onnx": ["skl2onnx"],
}
NOT_TRIED = ("sb3-contrib", "rsl_rl", "TorchRL", "RLlib", "jax2onnx", "tf2onnx")
TOLERANCE = 1e-4  # relative and absolute: float32 sums of another order
EXPORT_LIMIT_S, INSTALL_LIMIT_S = 1800, 3600


def interpreter(name: str, output: Path, given: dict[str, str]) -> str:
    """An interpreter with the packages of an exporter.

    Raises:
      CalledProcessError: pip cannot install them; its message is in `stderr`.
    """
    if name in given:
        return given[name]
    folder = output / "environments" / name
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True, text=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES[name]], check=True, capture_output=True, text=True,
                   timeout=INSTALL_LIMIT_S)
    return str(python)


def reference(session: Any, model: Any, columns: dict[str, Any], n_rows: int) -> dict[str, Any]:
    """onnxruntime's outputs; a file whose batch is fixed at 1 is run once per row."""
    import numpy as np

    names = [item.name for item in session.get_outputs()]
    if all(isinstance(item.shape[model.inputs[item.name].batch_axis or 0], str) for item in session.get_inputs()):
        return dict(zip(names, session.run(names, columns), strict=True))
    rows = [session.run(names, {name: value.take([row], model.inputs[name].batch_axis or 0) for name, value in columns.items()})
            for row in range(n_rows)]
    return {name: np.concatenate([row[i] for row in rows], model.outputs[name].batch_axis or 0)
            for i, name in enumerate(names) if name in model.outputs}


def checked(path: Path) -> dict[str, Any]:
    """What cervello makes of a file: planned, batched, the largest difference from onnxruntime at 1 and 3 rows, wrappers."""
    import numpy as np
    import onnx
    import onnxruntime

    from cervello import Model
    from cervello.errors import ModelError
    from cervello.wrappers import suggest_wrappers

    imports = {item.domain: item.version for item in onnx.load(path, load_external_data=False).opset_import}
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
            wanted, got = reference(session, model, columns, n_rows), model.run(columns)
            for name in model.outputs:
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
    folder = output / "files" / name
    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / "cases.json"  # written last, so files that it lists are complete
    try:
        if again or not listed.exists():
            python = interpreter(name, output, given)
            subprocess.run([python, str(WRITERS), name, str(folder)], check=True, capture_output=True, text=True, timeout=EXPORT_LIMIT_S)
    except subprocess.CalledProcessError as error:
        return {"failed": (error.stderr or "").strip().splitlines()[-1:] or [str(error)]}
    except subprocess.TimeoutExpired as error:
        return {"failed": [str(error)]}
    cases = json.loads(listed.read_text())
    for case in cases["cases"]:
        if "file" in case:
            case.update(checked(folder / case["file"]))
    return dict(cases)


def page(results: dict[str, dict[str, Any]]) -> str:
    """The page, from results alone; equal rows of several opsets are one."""
    lines = ["# Exporters", "", "Written by `scripts/exporters.py` "
             f"(Python {platform.python_version()}, {platform.machine()}).", "",
             "*Planned*: no node is outside the planned tier. *Batched*: rows of agents run at once. *Agrees*: within "
             f"{TOLERANCE:g} of onnxruntime, absolute and relative, at 1 and 3 rows. A file that is fixed at one row is run once per row "
             "by onnxruntime. *Opsets*: asked for; where the file has "
             "another one, it follows the arrow. A file whose refusal asks for `batch_axis=` is loaded "
             "with 0. *Wrappers*: what `wrappers=\"auto\"` chooses.", ""]
    for name in PACKAGES:
        found = results.get(name)
        lines += [f"## {name}", ""]
        if found is None:
            lines += ["Not run.", ""]
            continue
        if "failed" in found:
            lines += [f"Not usable on this machine: {found['failed'][0]}", ""]
            continue
        lines += ["Versions: " + ", ".join(f"{k} {v}" for k, v in found["versions"].items()) + ".", "",
                  "| kind | batch | opsets | planned | batched | agrees | wrappers |", "|---|---|---|---|---|---|---|"]
        groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for case in found["cases"]:
            problem = case.get("error")
            told = ("" if problem is None else f"{_how(case)}: {problem}").replace("|", "/")
            cells = (_said(case.get("planned")), _said(case.get("batched")), _said(case.get("agrees")),
                     " ".join((told or ", ".join(f"`{w}`" for w in case["wrappers"]) or "none").split()))
            groups[(case["kind"], case["batch"], *cells)].append(_opset(case))
        for (kind, batch, *rest), opsets in groups.items():
            lines.append(f"| {kind} | {batch} | {', '.join(opsets)} | {' | '.join(rest)} |")
        lines.append("")
    lines += ["## Not in this script yet", "", ", ".join(NOT_TRIED) + ": the script neither installs these nor writes a policy with them.",
              ""]
    return "\n".join(lines)


def _opset(case: dict[str, Any]) -> str:
    asked, written = case["opset"], case.get("written", case["opset"])
    return str(asked) if written == asked else f"{asked} → {written}"


def _how(case: dict[str, Any]) -> str:
    if "file" not in case:
        return "not exported"
    return "refused" if case.get("planned") is None else "fails when run"


def _said(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "**no**"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for environments, files and results")
    parser.add_argument("--only", action="append", choices=PACKAGES, help="run this exporter; may be repeated (default: all)")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH", help="interpreter that has an exporter's packages")
    parser.add_argument("--again", action="store_true", help="run exporters that have results already")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "exporters.md", help="default: %(default)s")
    arguments = parser.parse_args()
    given = dict(item.split("=", 1) for item in arguments.python)
    if unknown := sorted(set(given) - set(PACKAGES)):
        parser.error(f"--python: expected names of {', '.join(PACKAGES)}, got {', '.join(unknown)}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in arguments.only or PACKAGES:
        path = arguments.output / f"{name}.json"
        if arguments.again or not path.exists():
            path.write_text(json.dumps(tried(name, arguments.output, given, arguments.again), indent=1))
    paths = {name: arguments.output / f"{name}.json" for name in PACKAGES}
    arguments.page.write_text(page({name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}))


if __name__ == "__main__":
    main()
