"""From a name, a description or an object to an inferer."""

from __future__ import annotations

from cervello.errors import ConfigurationError
from cervello.inferers.choice import Choice
from cervello.inferers.sizes import Basic, Dynamic, Fixed, Memoizing
from cervello.native import Model
from cervello.spec import Inferer


def choose(wanted: str | Choice | Inferer, model: Model, threads: int = 1) -> Inferer:
    """An inferer from a name, a description or an inferer of the user's own.

    Raises:
      ConfigurationError: an unknown name, an object without the methods of an inferer, or an impossible number of threads.
    """
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ConfigurationError(f"threads: expected at least 1, got {threads!r}")
    named: dict[str, Choice] = {
        "basic": Basic(), "fixed": Fixed(), "memoizing": Memoizing(), "dynamic": Dynamic()}
    if isinstance(wanted, str):
        if wanted not in named:
            raise ConfigurationError(f"inferer: expected one of {sorted(named)}, got {wanted!r}")
        return named[wanted].open(model, threads)
    if isinstance(wanted, Choice):
        return wanted.open(model, threads)
    if isinstance(wanted, Inferer) and not isinstance(wanted, type):
        return wanted
    raise ConfigurationError(f"inferer: expected one of {sorted(named)} or an object with the methods of cervello.Inferer, got {wanted!r}")
