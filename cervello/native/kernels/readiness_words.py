"""Words of the check that a known batch may run at once. A separate module, because importing compiled code takes a second."""

from __future__ import annotations

from typing import Final

from cervello.codegen.schema import record

# current: address of two words: address of the plan for which the context is prepared (0: none), and its number of rows
# holder: address of the dict that is not empty while a thread holds the exclusive lock of the agents; dict_size: of PyDict_Size
# versions: address of the agent table's two words: version of the slots, membership version
# slots_version: version of the slots when they were looked up
READINESS: Final = record("readiness of a known batch", "current holder dict_size versions slots_version")
