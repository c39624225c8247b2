"""What every benchmark here does alike: contenders in alternation, inputs in rotation, medians, and the facts of the machine."""

from __future__ import annotations

import gc
import importlib.metadata
import itertools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROTATION = 16  # inputs that take turns, so that no contender lives on one input's branch history and cache lines
_BLOCK_S = 0.02
Call = Callable[[], Any]


def alternate(contenders: Mapping[str, Sequence[Call]], rounds: int = 11, block_s: float = _BLOCK_S) -> dict[str, float]:
    """Times contenders block by block in turn.

    Args:
      contenders: by name, one call per input in rotation.
      rounds: blocks per contender.
      block_s: seconds a block should take.
    Returns:
      seconds per call by name: the median of the blocks.
    """
    counts = {name: _calls_per_block(calls, block_s) for name, calls in contenders.items()}
    turns = {name: itertools.cycle(calls) for name, calls in contenders.items()}
    found: dict[str, list[float]] = {name: [] for name in contenders}
    enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, count in counts.items():
                found[name].append(_block(list(itertools.islice(turns[name], min(count, ROTATION))), max(1, count // ROTATION)))
    finally:
        if enabled:
            gc.enable()
    return {name: statistics.median(times) for name, times in found.items()}


def _block(calls: Sequence[Call], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        for call in calls:
            call()
    return (time.perf_counter() - start) / (repeats * len(calls))


def _calls_per_block(calls: Sequence[Call], block_s: float) -> int:
    """How many calls a block takes: whole rotations of short ones, a part of one of long ones."""
    start = time.perf_counter()
    calls[0]()  # what is slow the first time
    if time.perf_counter() - start > block_s:
        return max(1, round(block_s / _block(calls[:1], 1)))
    _block(calls, 1)
    repeats = 1
    while True:
        each = _block(calls, repeats)
        if each * repeats * len(calls) > block_s / 4 or repeats > 1 << 20:
            count = max(1, round(block_s / each))
            return count if count < ROTATION else count // ROTATION * ROTATION
        repeats *= 2


def machine(packages: Sequence[str]) -> dict[str, Any]:
    """The machine and the versions of packages, for the head of every report."""
    versions = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {"cpu": _cpu_name(), "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(), **versions}


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def models_folder(given: str | None) -> Path | None:
    """The folder of real policies: the one given, `CERVELLO_MODELS`, or `../shared/models` beside the project; None when not there."""
    named = given or os.environ.get("CERVELLO_MODELS")
    folder = Path(named) if named else Path(__file__).resolve().parent.parent.parent / "shared" / "models"
    return folder if (folder / "manifest.json").is_file() else None


def write_json(path: Path, report: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
