"""`cervello.load`: a policy from its file, or from a description beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cervello import agents
from cervello.agents import Policy
from cervello.agents.policy.core import core_of
from cervello.codegen import linker
from cervello.description.reading import read
from cervello.errors import ConfigurationError
from cervello.inferers import InfererConfig
from cervello.inferers.base import ModelInferer
from cervello.native import Model
from cervello.native.frontend.importer import Source
from cervello.native.passes.batch_axes import BatchAxis
from cervello.spec import Inferer, Wrapper


def load(source: Source | Model, *, inferer: str | InfererConfig | Inferer = "memoizing", wrappers: Sequence[Wrapper] | str = (),
         seed: int = 0, threads: int = 1, precision: str = "float32", outputs: Sequence[str] | None = None,
         share: Model | Policy | None = None, strict: bool = False, progress: linker.Progress | None = None,
         dims: Mapping[str, int] | None = None, spaces: Any = None, batch_axis: BatchAxis = None, name: str | None = None,
         rename: Mapping[str, str] | None = None) -> Policy:
    """Loads a policy.

    Args:
      source: a path, the bytes of an ONNX file, a ModelProto, or a `Model`; or the path of a description, NAME.toml beside NAME.onnx
        (docs/description.md), whose options apply unless other values than the defaults are given here.
      inferer: "basic", "fixed", "dynamic", "memoizing" or an inferer object.
      wrappers: outermost first, or "auto" for the wrappers that `cervello api` suggests.
      seed: of all noise, 0 ≤ seed < 2⁶⁴.
      threads: number of threads for large batches.
      precision: "float32", the only one so far.
      outputs: tensors of the graph to return instead of the declared outputs. Like share and strict, not for a `Model`, which is loaded.
      share: a model or policy whose equal tensors are not stored twice.
      strict: refuse ops outside the planned tier.
      dims: sizes by symbol, for open axes of the file besides the batch (a sequence, an image); those not given stay open, and
        agents bring observations of any size.
      batch_axis: axis of the rows in the file's arrays, where the graph does not determine it; see `Model.load`.
      spaces: an environment or `cervello.spaces.Spaces`: maps its observations to inputs and outputs to its actions.
        With wrappers="auto" the head of its action space samples actions.
      progress: called as (done, total, kernel) while kernels compile for the first time on this machine.
      name: of the policy in messages; default: the file's.
      rename: new names for inputs and computed tensors of the file, by their names there, as {"56": "action"}; all other arguments use
        the new ones.
    Raises:
      ModelError: the file cannot be used. WrapperError, ConfigurationError: an option is invalid.
    """
    if name is not None and (not isinstance(name, str) or not name):
        raise ConfigurationError(f"name: expected text, got {name!r}")
    given: dict[str, Any] = {"inferer": inferer, "wrappers": wrappers, "seed": seed, "threads": threads, "outputs": outputs,
                             "strict": strict, "dims": dims, "spaces": spaces, "batch_axis": batch_axis, "rename": rename}
    warmup: Sequence[int] = ()
    if isinstance(source, (str, os.PathLike)) and Path(source).suffix.lower() == ".toml":
        described = read(source)
        defaults: dict[str, Any] = {"inferer": "memoizing", "wrappers": (), "seed": 0, "threads": 1, "outputs": None, "strict": False,
                                    "dims": None, "spaces": None, "batch_axis": None, "rename": None}
        given = {key: described.options.get(key, value) if value is defaults[key] or value == defaults[key] else value
                 for key, value in given.items()}
        source, warmup = described.model, described.warmup
        name = described.name if name is None else name
    policy = agents.load(source, precision=precision, share=share, progress=progress, **given)
    if name is not None:
        core_of(policy).rename(name)
    if isinstance(policy.inferer, ModelInferer):
        for n_rows in warmup:
            policy.inferer.plan(n_rows)
    return policy
