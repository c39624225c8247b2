"""An inferer before it has a model: what `cervello.load(..., inferer=…)` takes."""

from __future__ import annotations

from cervello.native import Model
from cervello.spec import Inferer


class InfererConfig:
    """Describes an inferer; `open` makes one for a model."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def open(self, model: Model, threads: int = 1) -> Inferer:
        """An inferer for a model.

        Args:
          model: what it runs.
          threads: rows of a large batch are split over this many.
        """
        raise NotImplementedError
