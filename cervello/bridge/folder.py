"""The folder of policies of a server: each NAME.onnx, with an optional NAME.toml."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from cervello.agents import Policy
from cervello.agents.policy.core import core_of
from cervello.bridge.envelope import is_name
from cervello.description import load
from cervello.errors import CervelloError, ConfigurationError, MissingFileError


def find(folder: Path) -> dict[str, Path]:
    """Finds policies by name, in the order of names.

    Raises:
      MissingFileError: no such folder, or no policy in it. ConfigurationError: a description without its policy, or a name that
        clients cannot send.
    """
    if not folder.is_dir():
        raise MissingFileError(f"folder {str(folder)!r}: expected a folder of policies, found none; check the path")
    found = {path.stem: path for path in sorted(folder.glob("*.onnx")) if path.is_file()}
    if not found:
        raise MissingFileError(f"folder {str(folder)!r}: expected NAME.onnx, found none; export a policy into it, or name another folder")
    for name, path in found.items():
        if not is_name(name):
            raise ConfigurationError(f"{str(path)!r}: expected a name of UTF-8, got other bytes, which no client can send; rename the file")
    for path in folder.glob("*.toml"):
        if path.stem not in found:
            raise ConfigurationError(f"{str(path)!r}: expected {path.stem}.onnx beside it, found none; export it there, or "
                                     "take the description away")
    return found


def load_all(folder: Path) -> dict[str, tuple[Policy, Path]]:
    """Loads every policy of a folder. A policy without a description gets the wrappers that `cervello api` suggests.

    Raises:
      the errors of `find` and `cervello.load`.
    """
    loaded = {}
    for name, path in find(folder).items():
        described = path.with_suffix(".toml")
        loaded[name] = (load(described) if described.is_file() else load(path, wrappers="auto"), path)
        _warm_up(loaded[name][0])
    return loaded


def _warm_up(policy: Policy) -> None:
    """Compiles the kernels of the first frames, with made-up observations of temporary agents."""
    clone = core_of(policy).clone_without_agents()
    if clone is None:
        return
    for n_rows in (1, 2):
        clone.begin_agents(list(range(n_rows)))
        with suppress(CervelloError):  # made-up observations need not suit it
            clone.infer_batch(list(range(n_rows)), {name: np.zeros(spec.batched(n_rows), spec.dtype)
                                                   for name, spec in clone.all_inputs.items()})
        clone.end_agents(list(range(n_rows)))
