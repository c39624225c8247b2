"""Report of a compiled call about non-finite state, without a check that every batch would pay for."""

from __future__ import annotations

from typing import Any


class NonFiniteState(Exception):
    """A batch has run and its state is stored, except for agents whose new state was not finite: their wrapper has something to report.

    Attributes:
      outputs: of the batch, as the call would have returned them.
    """

    def __init__(self, outputs: dict[str, Any]):
        super().__init__("state that is not finite")
        self.outputs = outputs
