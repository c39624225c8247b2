"""Configuration of an inferer without a model, as `cervello.load(..., inferer=…)` takes it."""

from __future__ import annotations

from cervello.native import Model
from cervello.spec import Inferer


class InfererConfig:
    """Describes an inferer; `open` creates one for a model."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def open(self, model: Model, threads: int = 1) -> Inferer:
        """Creates an inferer for a model.

        Args:
          model: the model that it runs.
          threads: rows of a large batch are split over this many.
        """
        raise NotImplementedError
