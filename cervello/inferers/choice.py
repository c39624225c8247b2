"""An inferer before it has a model: what `cervello.load(..., inferer=…)` takes."""

from __future__ import annotations

from cervello.errors import ConfigurationError
from cervello.native import Model
from cervello.spec import Inferer


class Choice:
    """Describes an inferer; `open` makes one for a model."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def open(self, model: Model, threads: int = 1) -> Inferer:
        raise NotImplementedError


def choose(wanted: str | Choice | Inferer, model: Model, threads: int = 1) -> Inferer:
    """An inferer from a name, a description or an inferer of the user's own.

    Raises:
      ConfigurationError: an unknown name, an object without the methods of an inferer, or an impossible number of threads.
    """
    from cervello.inferers import sizes

    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ConfigurationError(f"threads: expected at least 1, got {threads!r}")
    named: dict[str, Choice] = {
        "basic": sizes.Basic(), "fixed": sizes.Fixed(), "memoizing": sizes.Memoizing(), "dynamic": sizes.Dynamic()}
    if isinstance(wanted, str):
        if wanted not in named:
            raise ConfigurationError(f"inferer: expected one of {sorted(named)}, got {wanted!r}")
        return named[wanted].open(model, threads)
    if isinstance(wanted, Choice):
        return wanted.open(model, threads)
    if isinstance(wanted, Inferer) and not isinstance(wanted, type):
        return wanted
    raise ConfigurationError(f"inferer: expected one of {sorted(named)} or an object with the methods of cervello.Inferer, got {wanted!r}")
