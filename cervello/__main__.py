"""`python -m cervello` is the `cervello` command."""

from __future__ import annotations

import sys

from cervello.cli import main

if __name__ == "__main__":
    sys.exit(main())
