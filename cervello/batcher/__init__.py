"""Observations of many agents to one column per input. Knows only `cervello.spec`."""

from cervello.batcher.batcher import Batched, Batcher
from cervello.batcher.pad import ScratchPad

__all__ = ["Batched", "Batcher", "ScratchPad"]
