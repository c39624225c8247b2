"""`cervello doctor`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnx.parser
import pytest

from cervello.cli import checks
from cervello.codegen import cache, versions


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A cache folder of its own, empty."""
    monkeypatch.setenv("CERVELLO_CACHE_DIR", str(tmp_path / "code"))
    cache.folder.cache_clear()
    yield tmp_path / "code"
    cache.folder.cache_clear()


def test_the_machine_is_described(cervello: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cervello.cli.checks._version", lambda package: None if package == "websockets" else "1.0")
    said = cervello("doctor")
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("nothing needs attention\n")
    for word in (cache.cpu()[0], "16 of float32", "within what was run", str(cache.folder()), "trusted", "BLAS", "the extra 'serve'"):
        assert word in said.out


def test_json_says_the_same(cervello: Callable[..., Any]) -> None:
    facts = json.loads(cervello("doctor", "--json").out)
    assert facts["healthy"] is True
    assert facts["packages"]["numba"]["version"] == versions.installed("numba")
    assert facts["packages"]["numba"]["tested"] is True
    assert facts["cache"]["folder"] == str(cache.folder())
    assert facts["cache"]["kernels"] == len(list(cache.folder().glob("*.o")))  # type: ignore[union-attr]
    assert facts["cpu"]["lanes"] == 16
    assert facts["policy"] is None


def test_slow_nodes_need_attention(slowpoke: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("doctor", slowpoke)
    assert said.status == 1
    assert said.out.startswith("2 things to attend to\nattention  Hardmax 'pick' runs on the numpy tier: no kernel for this op; ")
    assert "1 weight with NaN: " in said.out  # a vector
    facts = json.loads(cervello("doctor", slowpoke, "--json").out)
    assert facts["healthy"] is False
    assert facts["policy"]["slow"] == [{"node": "Hardmax 'pick'", "tier": "numpy", "why": "no kernel for this op"}]
    assert next(finding["level"] for finding in facts["findings"]) == "attention"


def test_rows_one_after_another_need_attention(mixer: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("doctor", mixer)
    assert said.status == 1
    assert "rows run one after another: node ReduceMean 'centre'" in said.out


def test_a_policy_that_is_planned_needs_none(scout: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("doctor", scout)
    assert said.status == 0
    assert "\nrows     all at once\n" in said.out
    assert "\nsteps    1 planned\n" in said.out


def test_broken_weights_need_attention(tmp_path: Path, cervello: Callable[..., Any]) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 3] obs) => (float[N, 2] action) <float[3, 2] trunk = {1, 1, 1, nan, 1, 1}> { action = MatMul(obs, trunk) }"""
                                             ).SerializeToString())
    said = cervello("doctor", path)
    assert said.status == 1
    assert "1 weight with NaN: trunk" in said.out


def test_a_cold_cache_is_a_hint(cold: Path, cervello: Callable[..., Any]) -> None:
    facts = json.loads(cervello("doctor", "--json").out)
    assert (facts["healthy"], facts["cache"]["state"], facts["cache"]["kernels"]) == (True, "cold", 0)
    assert "cervello warmup" in facts["findings"][0]["remedy"]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners and modes here")
def test_a_cache_that_others_can_write_to_needs_attention(cold: Path, cervello: Callable[..., Any]) -> None:
    cold.mkdir(mode=0o777)
    cold.chmod(0o777)
    with pytest.warns(RuntimeWarning, match="CERVELLO_CACHE_DIR"):
        said = cervello("doctor")
    assert said.status == 1
    assert f"the cache folder {cold} is not used: other users can write there" in said.out


def test_no_cache_at_all_needs_attention(cervello: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_usable", lambda root: (root, "Read-only file system"))
    cache.folder.cache_clear()
    try:
        said = cervello("doctor")
    finally:
        monkeypatch.undo()
        cache.folder.cache_clear()
    assert said.status == 1
    assert "no folder for compiled code can be used" in said.out


def test_versions_that_were_never_run_need_attention(cervello: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(versions.TESTED, "numpy", ("99", "100"))
    said = cervello("doctor")
    assert said.status == 1
    assert "was never run; 99 up to, but not with, 100 were; pip install 'numpy>=99,<100'" in said.out


def test_a_cpu_without_fma_needs_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CPU_NAME", "core2")
    monkeypatch.setenv("NUMBA_CPU_FEATURES", "+sse2")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    facts = checks.machine()
    assert (facts["cpu"]["fma"], facts["cpu"]["registers_per_vector"]) == (False, 4)
    assert any("no fused multiply-add" in finding.what for finding in checks.of_machine(facts))
