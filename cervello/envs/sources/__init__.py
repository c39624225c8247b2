"""One interface to environments of every kind: time steps of rows, with the rows whose episode has ended.

`open_source` finds the right one; `Source` is what they have in common.
"""

from cervello.envs.sources.base import Source, TimeStep
from cervello.envs.sources.opening import open_source

__all__ = ["Source", "TimeStep", "open_source"]
