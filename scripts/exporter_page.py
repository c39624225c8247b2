"""docs/exporters.md from the results of `scripts/exporters.py`; equal rows of several opsets are one."""

from __future__ import annotations

import platform
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

HEADER = """# Exporters

Written by `scripts/exporters.py` (Python {python}, {machine}).

*Planned*: no node is outside the planned tier. *Batched*: rows of agents run at once. *Agrees*: within {tolerance:g} of onnxruntime,
absolute and relative, at 1 and 3 rows. A file that is fixed at one row is run once per row by onnxruntime. Outputs that a file draws
itself are not compared. *Opsets*: asked for; where the file has another one, it follows the arrow. A file whose refusal asks for
`batch_axis=` is loaded with 0. *Wrappers*: what `wrappers="auto"` chooses. *dynamo* and *script* are torch's exporters, `dynamo=True` and
`dynamo=False`; libraries whose networks they write have fewer opsets and batches here than the first two sections. How policies are
exported, with code: [Exporting](guides/exporting.md).
"""


def page(results: dict[str, dict[str, Any]], names: Iterable[str], not_tried: dict[str, str], tolerance: float) -> str:
    lines = [HEADER.format(python=platform.python_version(), machine=platform.machine(), tolerance=tolerance)]
    lines += [*_summary(results, names), ""]
    for name in names:
        lines += [f"## {name}", ""]
        found = results.get(name)
        if found is None:
            lines += ["Not run.", ""]
        elif "failed" in found:
            lines += [f"Not usable on this machine: {found['failed']}", ""]
        else:
            lines += ["Versions: " + ", ".join(f"{k} {v}" for k, v in found["versions"].items()) + ".", "", *_table(found["cases"]), ""]
    lines += ["## Not tried", "", *(f"- {name}: {reason}" for name, reason in not_tried.items()), ""]
    return "\n".join(lines)


def _summary(results: dict[str, dict[str, Any]], names: Iterable[str]) -> list[str]:
    """A row per exporter: files it wrote, and how many are planned, batched and agree."""
    lines = ["| exporter | files | planned | batched | agree | not exported |", "|---|---|---|---|---|---|"]
    for name in names:
        cases = results.get(name, {}).get("cases", [])
        files = [case for case in cases if "file" in case]
        counts = [sum(bool(case.get(key)) for case in files) for key in ("planned", "batched", "agrees")]
        link = f"[{name}](#{name.lower().replace(' ', '-')})"
        lines.append(f"| {link} | {len(files)} | {' | '.join(map(str, counts))} | {len(cases) - len(files)} |")
    return lines


def _table(cases: list[dict[str, Any]]) -> list[str]:
    lines = ["| kind | batch | opsets | planned | batched | agrees | wrappers |", "|---|---|---|---|---|---|---|"]
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for case in cases:
        problem = case.get("error")
        told = re.sub(r"\x1b\[\d*m", "", "" if problem is None else f"{_how(case)}: {problem}").replace("|", "/")  # without colours
        if case.get("slow"):
            told = f"slow: {', '.join(case['slow'])}. {told}"
        wrappers = ", ".join(f"`{w}`" for w in case.get("wrappers", ())) or "none"
        cells = (_said(case.get("planned")), _said(case.get("batched")), _said(case.get("agrees")),
                 " ".join((told if problem is not None else told + wrappers).split()))
        groups[(case["kind"], case["batch"], *cells)].append(_opset(case))
    for (kind, batch, *rest), opsets in groups.items():
        lines.append(f"| {kind} | {batch} | {', '.join(opsets)} | {' | '.join(rest)} |")
    return lines


def _opset(case: dict[str, Any]) -> str:
    asked, written = case["opset"], case.get("written", case["opset"])
    return str(asked) if written == asked else f"{asked} → {written}"


def _how(case: dict[str, Any]) -> str:
    if "file" not in case:
        return "not exported"
    return "refused" if case.get("planned") is None else "fails when run"


def _said(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "**no**"
