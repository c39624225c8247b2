"""Fixtures of the bridge clients' tests."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from languages import LANGUAGES, Language

Build = Callable[[str], list[str]]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Gives the command of a language's driver by the language's name; each is built once. Skips where a tool is missing."""
    return functools.cache(lambda name: LANGUAGES[name].build(tmp_path_factory.mktemp("driver")))


@pytest.fixture(scope="session", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> Language:
    """Each language in turn."""
    return LANGUAGES[request.param]


@pytest.fixture(scope="session")
def driver(language: Language, build: Build) -> list[str]:
    """The command of the language's driver."""
    return build(next(name for name, each in LANGUAGES.items() if each is language))
