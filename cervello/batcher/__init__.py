"""Gathers observations of many agents into one column per input. Knows no policy, model or runtime."""

from cervello.batcher.batcher import Batcher
from cervello.batcher.pad import ScratchPad
from cervello.batcher.queue import Batched, Queue

__all__ = ["Batched", "Batcher", "Queue", "ScratchPad"]
