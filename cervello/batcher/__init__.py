"""Observations of many agents to one column per input. Knows only `cervello.spec`."""

from cervello.batcher.batcher import Batcher
from cervello.batcher.pad import ScratchPad
from cervello.batcher.queue import Batched, Queue

__all__ = ["Batched", "Batcher", "Queue", "ScratchPad"]
