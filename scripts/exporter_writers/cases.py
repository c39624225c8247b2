"""One file of an exporter, or its message where it wrote none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

OPSETS = (11, 13, 15, 17, 18, 20, 21, 23)


def attempt(folder: Path, kind: str, batch: str, opset: int, write: Callable[[Path], object]) -> dict[str, Any]:
    """Calls `write` with the path of a new file, unless an earlier run wrote it.

    An exporter's refusal is a result; its first line is kept.
    """
    case: dict[str, Any] = {"kind": kind, "batch": batch, "opset": opset}
    file = f"{kind}-{batch}-{opset}.onnx".replace(", ", "_").replace(" ", "_").replace("/", "_")
    done = folder / f"{file}.done"  # a file without it may be half written
    try:
        if not done.exists():
            write(folder / file)
            done.touch()
        case["file"] = file
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        case["error"] = f"{type(error).__name__}: {lines[0]}"[:200]
    return case


def progress(kind: str) -> None:
    """Shows which kind of policy is being written."""
    print(f"  writing {kind}", flush=True)
