"""The words by which compiled code checks that a known batch may run at once."""

from __future__ import annotations

import numpy as np

from cervello.agents.membership.table import AgentTable
from cervello.inferers.fast_path import FastPath
from cervello.native.execution.c_api import api
from cervello.native.kernels.readiness_words import READINESS
from cervello.spec import Array

SLOTS_VERSION: int = READINESS.index.slots_version


def readiness(fast_path: FastPath, table: AgentTable, holder: dict[int, int]) -> Array:
    """Makes the words READINESS, with a `slots_version` of -1: not ready. The caller keeps all arguments alive as long as the words.

    Args:
      holder: the dict that is not empty while a thread holds the exclusive lock.
    """
    return np.array(READINESS.filled(current=fast_path.current.ctypes.data, holder=id(holder), dict_size=api("PyDict_Size"),
                                     versions=table.versions.ctypes.data, slots_version=-1), np.int64)
