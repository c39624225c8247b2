"""Files and paths that do not serve: one line and status 2 for each command that takes them, and nothing is written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MODELS = ("api", "plan", "run", "benchmark", "profile", "doctor", "describe", "warmup")  # COMMAND FILE
BROKEN: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(MODELS, ("broken.onnx",)), "compare": ("broken.onnx", "--against", "onnxruntime"),
    "play": ("CartPole-v1", "broken.onnx"), "evaluate": ("broken.onnx", "broken.onnx"), "serve": ("policies",),
    "package": ("broken.onnx", "out.crvo"), "unpack": ("broken.onnx", "out.onnx"), "top": ("broken.onnx",)}


@pytest.fixture
def folder(tmp_path: Path, scout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a file that was cut off, and a folder of policies with such a file."""
    (tmp_path / "broken.onnx").write_bytes(scout.read_bytes()[:-20])
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "broken.onnx").write_bytes(scout.read_bytes()[:-20])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", BROKEN)
def test_a_file_that_is_broken(command: str, folder: Path, cervello: Callable[..., Any]) -> None:
    if command == "compare":
        pytest.importorskip("onnxruntime")
    said = cervello("-q", command, *BROKEN[command])
    assert (said.status, said.out) == (2, "")
    last = said.err.splitlines()[-1]  # `serve` logs before it
    assert last.startswith("cervello: ")
    assert "Traceback" not in said.err


@pytest.mark.parametrize("what", ["a folder", "an empty file"])
@pytest.mark.parametrize("command", [*MODELS, "package", "unpack", "play", "serve"])
def test_what_is_no_policy_is_refused_with_a_remedy(command: str, what: str, folder: Path, cervello: Callable[..., Any]) -> None:
    path = folder / "other.onnx"
    path.mkdir() if what == "a folder" else path.touch()
    said = cervello("-q", command, *(("CartPole-v1",) if command == "play" else ()), path,
                    *(("out.onnx",) if command in ("package", "unpack") else ()))
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("cervello: ")
    assert said.err.count("\n") == 1
    assert "expected" in said.err
    assert not (folder / "out.onnx").exists()
    assert not (folder / "out.crvo").exists()


@pytest.mark.parametrize(("arguments", "message"), [
    (("package", "good.onnx", "nowhere/out.crvo"), "'nowhere/out.crvo': expected a path that is there, found none; check its spelling"),
    (("package", "missing.onnx", "out.crvo"), "model 'missing.onnx': expected a file, found none; check the path"),
    (("unpack", "missing.crvo", "out.onnx"), "model 'missing.crvo': expected a file, found none; check the path"),
    (("api", "policies"), "model 'policies': expected a file, got a folder; name a file in it"),
    (("play", "CartPole-v1", "decides.onnx", "--record", "good.onnx"), "play, --record: recording 'good.onnx': expected bytes that begin"),
    (("play", "CartPole-v1", "decides.onnx", "--record", "nowhere/x.log"),
     "play, --record: recording 'nowhere/x.log': expected a file that can be written, got No such file or directory; check its folder"),
    (("package", "policies", "out.crvo"), "'policies': expected a file, got a folder; name a file in it"),
    (("profile", "good.onnx", "--rounds", "1", "--trace", "policies"),
     "argument --trace: expected a file that can be written, got 'policies': Is a directory"),
    (("demo", "--ticks", "1", "--picture", "arena.jpg"), "argument --picture: expected a file that ends in .png, got 'arena.jpg'"),
    (("serve", "good.onnx"), "expected a folder of policies, got the file 'good.onnx'; put it into a folder and name that"),
    (("serve", "--demo", "policies"), "argument FOLDER: not allowed with argument --demo"),
    (("serve", "--demo", "--record", "good.onnx", "--listen", "tcp://127.0.0.1:0"),
     "'good.onnx': expected a folder, or nothing yet, got a file")])
def test_a_path_that_does_not_serve_is_named_with_a_remedy(arguments: tuple[str, ...], message: str, folder: Path, scout: Path,
                                                           cervello: Callable[..., Any]) -> None:
    (folder / "good.onnx").write_bytes(scout.read_bytes())
    (folder / "decides.onnx").write_bytes((Path(__file__).parents[2] / "examples" / "cartpole.onnx").read_bytes())
    said = cervello("-q", *arguments)
    assert (said.status, said.out) == (2, "")
    assert message in said.err.splitlines()[-1]
    assert "Traceback" not in said.err


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of this kind are those of Unix")
def test_a_file_that_may_not_be_read_names_its_permissions(folder: Path, scout: Path) -> None:
    """As a user who may not read it, for root may read all."""
    from cervello.errors import FormatError
    from cervello.native.frontend.importer import read_bytes

    secret = folder / "secret.onnx"
    secret.write_bytes(scout.read_bytes())
    secret.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        with pytest.raises(FormatError, match=r"secret.onnx': expected a file that can be read, got .*; check its permissions") as caught:
            read_bytes(secret)
    finally:
        if user == 0:
            os.seteuid(0)
    assert isinstance(caught.value.__cause__, PermissionError)
    assert caught.value.__cause__.errno == errno.EACCES
