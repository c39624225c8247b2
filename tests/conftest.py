"""What all tests share: the real policies beside the project, when they are there."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE / "support"))  # small policies that the tests of several rooms share
_NEEDS_MODELS = pytest.StashKey[int]()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a suite that a shell started in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


def models_folder() -> Path | None:
    """The folder of real policies: `CERVELLO_MODELS`, else `../shared/models` beside the project; None when it is not there."""
    named = os.environ.get("CERVELLO_MODELS")
    folder = Path(named) if named else _HERE.parent.parent / "shared" / "models"
    return folder if (folder / "manifest.json").is_file() else None


class SharedModels:
    """Real policies and what the manifest says of them.

    Attributes:
      entries: manifest records by id; `record["file"]` lies in `folder`.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.entries: dict[str, dict[str, Any]] = {
            record["id"]: record for record in json.loads((folder / "manifest.json").read_text(encoding="utf-8"))}

    def path(self, name: str) -> Path:
        """The file of a policy."""
        return self.folder / str(self.entries[name]["file"])

    def of_kind(self, kind: str) -> list[str]:
        """Ids of the "valid" or of the "invalid" ones."""
        return [name for name, record in self.entries.items() if record["kind"] == kind]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `valid_model` or `invalid_model` runs once per policy."""
    for kind in ("valid", "invalid"):
        if f"{kind}_model" in metafunc.fixturenames:
            folder = models_folder()
            names = SharedModels(folder).of_kind(kind) if folder else [pytest.param("none", marks=pytest.mark.skip("no shared models"))]
            metafunc.parametrize(f"{kind}_model", names)


@pytest.fixture(scope="session")
def shared_models() -> SharedModels:
    """The real policies; a test that takes this is skipped when they are not there."""
    folder = models_folder()
    if folder is None:
        pytest.skip("shared models: not found")
    return SharedModels(folder)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[_NEEDS_MODELS] = sum("shared_models" in getattr(item, "fixturenames", ()) for item in items)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Says aloud whether the real policies were there."""
    folder, count = models_folder(), config.stash.get(_NEEDS_MODELS, 0)
    if folder is None:
        terminalreporter.write_line(f"shared models: not found, {count} tests skipped", yellow=True, bold=True)
    else:
        terminalreporter.write_line(f"shared models: {len(SharedModels(folder).entries)} found, {count} tests use them")
