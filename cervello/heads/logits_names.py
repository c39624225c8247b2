"""Names that exporters give to outputs that are logits."""

from __future__ import annotations

import re

_LOGITS = re.compile(r"^(action_?)?logits(:\d+)?$", re.IGNORECASE)


def is_named_logits(name: str) -> bool:
    """Whether an output is called logits, as `logits`, `action_logits` or `Logits:0`."""
    return _LOGITS.match(name) is not None
