"""Environments of every make, stepped in one way: what arrives, for which rows, and whose episode has ended.

`open_source` finds the right one; `Source` is what they have in common.
"""

from cervello.envs.sources.base import Arrived, Source
from cervello.envs.sources.opening import open_source

__all__ = ["Arrived", "Source", "open_source"]
