"""docs/architecture.md and docs/extending.md do what they say: paths and names exist, the picture is current, examples run."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cervello.evaluation.registry import INFOS
from cervello.native.passes.graph_builder import DECOMPOSITIONS

ROOT = Path(__file__).resolve().parent.parent
TEXT = "\n".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("architecture.md", "extending.md"))
EXAMPLES = dict(re.findall(r"^<!-- example: (\w+) -->\n\n```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
PROSE = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
OTHER = {"cervello", "int64 kernel(step, ctx)"}  # the package, and a form
ELSEWHERE = {"Actions": ["cervello/agents/policy/actions.py"], "FastPath.infer": ["cervello/inferers/fast_path.py"],
             "PolicyCore": ["cervello/agents/policy/core.py"], "run_named": ["cervello/native/kernels/runtime/control.py"]}


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """What an example registers is gone after it."""
    tables: list[dict[Any, Any]] = [DECOMPOSITIONS, INFOS]
    before = [dict(table) for table in tables]
    yield
    for table, was in zip(tables, before, strict=True):
        table.clear()
        table.update(was)


@functools.cache
def defined(path: Path) -> set[str]:
    """Names that a file, or any file of a folder, defines: functions, classes, variables; methods and attributes as `Class.name`."""
    found = set()
    for source in [path] if path.is_file() else sorted(path.rglob("*.py")):
        for node in ast.parse(source.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            if isinstance(node, ast.ClassDef):
                found |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
                found |= {f"{node.name}.{each.target.id}" for each in node.body
                          if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)}
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {each.id for each in targets if isinstance(each, ast.Name)}
    return found


def test_every_path_exists_and_every_name_is_defined_in_a_path_beside_it() -> None:
    n_names = 0
    for part in re.split(r"\n(?=\n|- |\d\. )", PROSE):  # paragraphs, items
        spans = [each for each in re.findall(r"`([^`\n]+)`", part) if each not in OTHER]
        paths = [each for each in spans if "/" in each or each.endswith((".py", ".toml", ".md"))]
        assert [each for each in paths if not (ROOT / each).exists()] == []
        names = [each for each in spans if each not in paths and not each.startswith("cervello.")]
        missing = [each for each in names if not any(each in defined(ROOT / path) for path in (*paths, *ELSEWHERE.get(each, ()))
                                                     if path.startswith("cervello/"))]
        assert missing == [], part
        n_names += len(names)
    assert n_names > 30
    assert [each for each in re.findall(r"\]\(([^)]+)\)", TEXT) if not (ROOT / "docs" / each).exists()] == []


def test_an_observation_takes_at_most_nine_hops() -> None:
    path = TEXT.partition("## The path of one observation")[2].partition("\n## ")[0]
    hops = re.findall(r"^\d\. `(cervello/[\w/]+\.py)`, `([\w.]+)`", path, re.MULTILINE)
    assert 5 < len(hops) <= 9
    assert len(hops) == len(re.findall(r"^\d+\. ", path, re.MULTILINE))


def test_the_picture_is_what_the_script_draws() -> None:
    done = subprocess.run([sys.executable, "scripts/draw_architecture.py", "--check"], cwd=ROOT, capture_output=True, text=True,
                          encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["op", "wrapper", "estimator"])
def test_an_example_of_the_page_runs_in_under_40_lines(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(EXAMPLES[name].splitlines()) < 40
    path = tmp_path / f"architecture_{name}.py"
    path.write_text(EXAMPLES[name], encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
