"""Puts object code of all kernels into a wheel, where the environment asks for it:

    HATCH_BUILD_HOOK_ENABLE_CUSTOM=true python -m build

Without the variable a build compiles nothing and needs nothing but hatchling; the code is made when it is first used, as it is on other
systems than Linux on x86-64.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ObjectCodeHook(BuildHookInterface):
    """Compiles before the wheel is written; a failure ends the build."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # what is edited would not be what was compiled
            return
        self._folder = tempfile.TemporaryDirectory()
        subprocess.run([sys.executable, str(Path(self.root) / "scripts" / "build_code.py"), self._folder.name], check=True)
        paths = sorted(Path(self._folder.name).glob("*.code"))
        if not paths:
            self.app.display_warning("this wheel carries no object code")
        for path in paths:
            build_data["force_include"][str(path)] = f"cervello/codegen/object_code/{path.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self._folder.cleanup()
