"""Says which public names the built documentation site lacks.

    python scripts/check_docs_site.py SITE

SITE/objects.inv lists what the site documents. Exit status 1 when a name of `cervello.__all__`, or of the `__all__` of a module in
`PUBLIC`, is missing there.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import zlib
from pathlib import Path

import cervello

PUBLIC = ["bridge", "description", "envs", "errors", "evaluation", "heads", "inferers", "noise", "ops", "recording", "spaces", "statistics",
          "wrappers"]


def documented(inventory: bytes) -> set[str]:
    """Names in a Sphinx inventory, version 2: four lines of text, then compressed lines `name domain:role priority uri title`."""
    *_, packed = inventory.split(b"\n", 4)
    return {line.split(" ", 1)[0] for line in zlib.decompress(packed).decode().splitlines()}


def public() -> dict[str, set[str]]:
    """Every public name, with the names under which the site may document it: where it is offered and where it is defined."""
    found: dict[str, set[str]] = {}
    for module in (cervello, *(importlib.import_module(f"cervello.{name}") for name in PUBLIC)):
        for name in module.__all__:
            value = getattr(module, name)
            here = f"{module.__name__}.{name}"
            if not inspect.ismodule(value):  # a module is a page
                found[here] = {here, f"{getattr(value, '__module__', None)}.{name}"}
    return found


def main(site: Path) -> int:
    names = documented((site / "objects.inv").read_bytes())
    missing = sorted(name for name, places in public().items() if not places & names)
    print(f"{site}: all {len(public())} public names are documented" if not missing else f"{site}: missing: {', '.join(missing)}")
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
