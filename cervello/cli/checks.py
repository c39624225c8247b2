"""Checks of `cervello doctor`: facts of this machine and of a policy, and findings from them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cervello.cli import compiling
from cervello.cli.formatting import plural

if TYPE_CHECKING:
    from pathlib import Path

    from cervello.native import Model

_EXTRAS = {  # package by extra, as in pyproject.toml
    "completion": ("shtab",), "evaluation": ("sklearn",), "league": ("openskill",), "minari": ("h5py", "minari"),
    "pettingzoo": ("pettingzoo",), "png": ("cairosvg",), "ray": ("ray",), "serve": ("prometheus_client", "uvloop", "websockets"),
    "video": ("moviepy",)}
_VECTOR_BITS = (("avx512f", 512), ("avx2", 256), ("avx", 128), ("sse2", 128), ("neon", 128))
_SHOWN_FEATURES = ("sse4.2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512vnni", "avx512bf16", "amx-bf16",
                   "neon", "sve")
_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_LANES = 16


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
      level: "attention" for what makes policies wrong, slow or unable to run; "hint" for what may be done.
      what: the fact. remedy: what to do.
    """

    level: str
    what: str
    remedy: str


def machine() -> dict[str, Any]:
    """The CPU, the packages and the cache, as JSON."""
    from cervello import __version__
    from cervello.cli.warmup import COMMON
    from cervello.codegen import cache, linker, versions

    name, flags = cache.cpu()
    features = [flag[1:] for flag in flags.split(",") if flag.startswith("+")]
    bits = next((bits for feature, bits in _VECTOR_BITS if feature in features), 128)
    facts = compiling.cache_facts()
    there = sum(map(linker.is_stored, COMMON))
    return {
        "cervello": __version__, "python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}",
        "cpu": {"name": name, "cores": _cores(), "features": [each for each in _SHOWN_FEATURES if each in features],
                "fma": "fma" in features or platform.machine().lower() in ("arm64", "aarch64"),
                "lanes": _LANES, "vector_bits": bits, "registers_per_vector": -(-_LANES * 32 // bits)},
        "packages": {package: {"version": version, "tested": versions.is_tested(package, version), "bounds": list(versions.TESTED[package])}
                     for package in versions.TESTED for version in [versions.installed(package)]},
        "cache": {**facts, "trusted": facts["folder"] is not None, "refused": cache.refused(), "common": len(COMMON), "common_there": there,
                  "state": "none" if facts["folder"] is None else "warm" if there == len(COMMON) else "cold"},
        "blas": _blas(),
        "extras": {extra: {package: _version(package) for package in packages} for extra, packages in _EXTRAS.items()}}


def _cores() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))  # type: ignore[attr-defined, unused-ignore]  # not everywhere
    except AttributeError:
        return os.cpu_count() or 1


def _blas() -> dict[str, Any]:
    """numpy's BLAS library and its threads; None where unknown. Only steps of the numpy tier use it."""
    import numpy as np

    config: Any = np.show_config(mode="dicts")
    name = config.get("Build Dependencies", {}).get("blas", {}).get("name")
    variables = {each: os.environ[each] for each in _THREAD_VARIABLES if each in os.environ}
    threads = None
    if importlib.util.find_spec("threadpoolctl") is not None:
        import threadpoolctl

        threads = max((each["num_threads"] for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"), default=None)
    return {"library": name, "threads": threads, "variables": variables}


def _version(package: str) -> str | None:
    if importlib.util.find_spec(package) is None:
        return None
    names = importlib.metadata.packages_distributions().get(package, [])
    return importlib.metadata.version(names[0]) if names else "?"


def of_machine(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Findings from `machine()`."""
    cpu, cached = facts["cpu"], facts["cache"]
    if not cpu["fma"]:
        yield Finding("attention", f"the CPU {cpu['name']} has no fused multiply-add, which is computed in software then",
                      "use a CPU with FMA: x86-64 since 2013, all of arm64")
    for package, found in facts["packages"].items():
        if not found["tested"]:
            low, high = found["bounds"]
            yield Finding("attention", f"{package} {found['version']} was never run; {low} up to, but not with, {high} were",
                          f"pip install '{package}>={low},<{high}'")
    complete = cached["common_there"] == cached["common"]
    if cached["folder"] is None and not complete:
        yield Finding("attention", "no folder for compiled code can be used, so every process compiles anew",
                      "set CERVELLO_CACHE_DIR to a folder that only you can write to")
    elif not complete:
        yield Finding("hint", f"{cached['common'] - cached['common_there']} of {cached['common']} usual kernels are not compiled yet; the "
                      "first action waits for those it needs", "cervello warmup, or cervello warmup MODEL for one policy")
    for root, reason in cached["refused"].items():
        yield Finding("attention" if root == os.environ.get("CERVELLO_CACHE_DIR") else "hint",
                      f"the cache folder {root} is not used: {reason}", "make it a folder that you own and only you can write to")


def of_policy(path: Path, dims: Mapping[str, int]) -> tuple[dict[str, Any], list[Finding]]:
    """Facts of a policy, and findings from them."""
    from cervello.native import Model

    compiled: list[str] = []
    model = Model.load(path, dims=dims, progress=lambda done, total, kernel: compiled.append(kernel) if kernel else None)
    plan = model.plan(1)
    steps = [{"node": step.node, "tier": step.runs, "why": model.slow_nodes.get(step.node, "")} for step in plan.steps
             if step.runs in ("numpy", "reference")]
    findings = list(_slow(model))
    broken = _with_nan(path)
    if broken:
        findings.append(Finding("attention", f"{plural(len(broken), 'weight')} with NaN: {', '.join(broken[:3])}"
                                + (", …" if len(broken) > 3 else ""), "export a checkpoint from before training broke"))
    if model.open_dims:
        findings.append(Finding("hint", f"sizes beside the batch are open: {', '.join(model.open_dims)}; each is planned when it comes",
                                "give those that never change by --dim NAME=SIZE, or dims= in Python"))
    facts = {"name": model.name, "tiers": dict(plan.tiers), "slow": steps, "one_row": plan.one_row,
             "random_nodes": list(model.random_nodes), "compiled_now": len(compiled), "weight_bytes": plan.weight_bytes,
             "weights_with_nan": broken}
    return facts, findings


def _slow(model: Model) -> Iterator[Finding]:
    plan = model.plan(1)
    if plan.one_row:
        yield Finding("attention", f"rows run one after another: {plan.one_row}",
                      "export with a dynamic batch axis, or name the batch by Model.load(batch_axis=)")
    runs = {step.node: step.runs for step in plan.steps}
    for node, reason in model.slow_nodes.items():
        tier = runs.get(node, "numpy")
        remedy = ("export with another opset or with plainer ops, or write the op as a kernel with cervello.ops" if tier == "numpy" else
                  "the reference implementation is slow: write the op as a kernel with cervello.ops, or export without it")
        yield Finding("attention", f"{node} runs on the {tier} tier: {reason}", remedy)


def _with_nan(path: Path) -> list[str]:
    """Weights that hold NaN. A single value may be intended, and infinity too, as in masks."""
    import numpy as np

    from cervello.native.frontend.importer import read

    return [name for name, data in read(path).constants.items()
            if data.dtype.kind == "f" and data.size > 1 and np.isnan(data).any()]


def as_json(findings: list[Finding]) -> list[dict[str, str]]:
    return [asdict(finding) for finding in findings]
