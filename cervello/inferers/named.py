"""Creates an inferer from a name, a configuration or an object."""

from __future__ import annotations

from collections.abc import Mapping

from cervello.errors import ConfigurationError, did_you_mean
from cervello.inferers.base import ModelInferer
from cervello.inferers.config import InfererConfig
from cervello.inferers.sizes import Basic, Dynamic, Fixed, Memoizing
from cervello.native import Model
from cervello.native.execution.counts import thread_count
from cervello.spec import Inferer


def choose(wanted: str | InfererConfig | Inferer, model: Model, threads: int = 1) -> Inferer:
    """An inferer from a name, a configuration or a custom inferer.

    Args:
      wanted: a name ("basic", "fixed", "dynamic", "memoizing"), a configuration as `Fixed([1, 8])`, or an inferer.
      model: the model that it runs.
      threads: rows of a large batch are split over this many.
    Raises:
      ConfigurationError: an unknown name, an object without the methods of an inferer or with the specs of another model, or an
        impossible number of threads.
    """
    threads = thread_count("threads", threads)
    named: dict[str, InfererConfig] = {
        "basic": Basic(), "fixed": Fixed(), "memoizing": Memoizing(), "dynamic": Dynamic()}
    if isinstance(wanted, str):
        if wanted not in named:
            raise ConfigurationError(f"inferer: expected one of {sorted(named)}, got {wanted!r}{did_you_mean(wanted, named)}")
        wanted = named[wanted]
    found = wanted.open(model, threads) if isinstance(wanted, InfererConfig) else wanted
    if not isinstance(found, Inferer) or isinstance(found, type):
        raise ConfigurationError(f"inferer: expected one of {sorted(named)} or an object with the methods of cervello.Inferer, got "
                                 f"{found!r}")
    _check_fit(found, model)
    return found


def _check_fit(inferer: Inferer, model: Model) -> None:
    """Raises ConfigurationError if an inferer's specs differ from the model's, on which later code relies without checks."""
    if isinstance(inferer, ModelInferer):
        if inferer.model is not model:
            raise ConfigurationError(f"inferer: expected one of model {model.name!r}, got {type(inferer).__name__} of "
                                     f"model {inferer.model.name!r}; give a configuration, as cervello.inferers.Memoizing()")
        return
    for side, given, expected in (("raw_inputs", inferer.raw_inputs, model.inputs), ("raw_outputs", inferer.raw_outputs, model.outputs)):
        if not isinstance(given, Mapping) or dict(given) != dict(expected):
            raise ConfigurationError(f"inferer {inferer!r}, {side}: expected those of model {model.name!r}, {expected!r}, got {given!r}")
