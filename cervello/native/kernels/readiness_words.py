"""Words of the check that a known batch may run at once. They have their own file because importing compiled code takes a second."""

from __future__ import annotations

from typing import Final

from cervello.codegen.schema import record

# current: address of two words: of the plan that the context is prepared for, 0 for none, and its number of rows
# holder: address of the dict that is not empty while a thread holds the exclusive lock of the agents; dict_size: of PyDict_Size
# versions: address of the table's words: version of the slots, membership version
# slots_version: at the lookup of the slots
READINESS: Final = record("readiness of a known batch", "current holder dict_size versions slots_version")
