"""Checks that a known batch may run at once: its plan is prepared, its slots are valid, and no thread is changing agents."""

from __future__ import annotations

from cervello.codegen.compiler import noinline
from cervello.codegen.memory import call_c_1, word
from cervello.codegen.records import view
from cervello.native.kernels.readiness_words import READINESS

_readiness = view(READINESS)


@noinline
def ready_plan(readiness, n_rows):
    """The address of the plan for a batch of agents whose slots are known; 0 if another path is needed.

    The caller holds the GIL until the end of the run, so no agent can end meanwhile, and the lock is not needed.

    Args:
      readiness: address of the words READINESS of `readiness_words`.
    """
    r = _readiness(readiness)
    current, versions = r.current, r.versions
    plan = word(current, 0)
    if plan == 0 or word(current, 1) != n_rows or word(versions, 0) != r.slots_version:
        return 0
    return plan if call_c_1(r.dict_size, r.holder) == 0 else 0
