"""Fixtures of the bridge clients' tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from languages import LANGUAGES, Language


@pytest.fixture(scope="session", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> Language:
    """Each language in turn."""
    return LANGUAGES[request.param]


@pytest.fixture(scope="session")
def driver(language: Language, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of the language's driver, built once."""
    return language.build(tmp_path_factory.mktemp("driver"))
