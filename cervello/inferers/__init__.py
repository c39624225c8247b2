"""Inferers determine how many rows run at once: four thin layers over one executor.

    inferer      rows per run                  memory                       for
    Basic        1                             one row's arena              one agent, steady latency
    Fixed        listed sizes, largest first   arena of the largest size    known batch sizes
    Memoizing    all                           a bounded cache of plans     batch sizes that repeat (default)
    Dynamic      all                           one plan, resolved per call  batch sizes that never repeat

A policy takes one of these, or a name ("basic", "fixed", "memoizing", "dynamic"), or any object with the methods of
`cervello.Inferer`. Results are the same, bit for bit, with each of them.
"""

from cervello.inferers.base import ModelInferer
from cervello.inferers.config import InfererConfig
from cervello.inferers.named import choose
from cervello.inferers.sizes import Basic, Dynamic, Fixed, Memoizing

__all__ = ["Basic", "Dynamic", "Fixed", "InfererConfig", "Memoizing", "ModelInferer", "choose"]
