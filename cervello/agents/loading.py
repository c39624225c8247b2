"""`cervello.load`: from a file to a policy in one call."""

from __future__ import annotations

from collections.abc import Sequence

from cervello.agents.policy import Policy
from cervello.compiled import linker
from cervello.errors import ConfigurationError
from cervello.inferers import Choice
from cervello.native import Model
from cervello.native.importer import Source
from cervello.spec import Inferer, Wrapper


def load(source: Source | Model, *, inferer: str | Choice | Inferer = "memoizing", wrappers: Sequence[Wrapper] | str = (), seed: int = 0,
         threads: int = 1, precision: str = "float32", outputs: Sequence[str] | None = None, share: Model | Policy | None = None,
         strict: bool = False, progress: linker.Progress | None = None) -> Policy:
    """Loads a policy.

    Args:
      source: a path, the bytes of an ONNX file, a ModelProto, or a `Model`.
      inferer: "basic", "fixed", "dynamic", "memoizing" or an inferer object.
      wrappers: outermost first, or "auto" for what `cervello api` proposes.
      seed: of all noise, 0 ≤ seed < 2⁶⁴.
      threads: large batches are split over this many.
      precision: "float32", the only one so far.
      outputs: tensors of the graph to give instead of the declared outputs.
      share: a model or policy whose equal tensors are not stored twice.
      strict: refuse ops outside the planned tier.
      progress: called as (done, total, kernel) while kernels compile for the first time on this machine.
    Raises:
      ModelError: the file cannot be used. WrapperError, ConfigurationError: the options cannot.
    """
    if precision != "float32":
        raise ConfigurationError(f"precision: expected 'float32', got {precision!r}; no other is available yet")
    if isinstance(source, Model):
        model = source
    else:
        model = Model.load(source, share=share.model if isinstance(share, Policy) else share, outputs=outputs, strict=strict,
                           progress=progress)
    return Policy(model, inferer=inferer, wrappers=wrappers, seed=seed, threads=threads)
