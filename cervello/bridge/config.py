"""`serve.toml`: the options of a server in a file; the command line takes precedence."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from pathlib import Path
from typing import Any

from cervello.bridge.limits import Limits
from cervello.bridge.server import Options
from cervello.errors import ConfigurationError, MissingFileError

_PATHS = ("token_file", "record", "ready_file")
_LISTS = ("listen", "allow_origin")
_NUMBERS: dict[str, tuple[type, ...]] = {"max_wait_us": (int,), "busy_poll_us": (int,), "drain_s": (int, float),
                                         "reload_interval_s": (int, float)}
_TEXTS = ("metrics", "server")


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads the options of a file; paths in it are relative to its folder.

        listen = ["tcp://127.0.0.1:5577"]
        token_file = "tokens"
        drain_s = 5.0
        [limits]
        agents = 4096

    Raises:
      MissingFileError: no such file. ConfigurationError: no TOML, an unknown key or a bad value; the message names its place.
    """
    where = Path(path)
    at = f"config {str(where)!r}"
    try:
        found = tomllib.loads(where.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingFileError(f"{at}: expected a file, found none; check the path") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{at}: expected TOML, got a file that fails with {error}") from error
    known = (*_PATHS, *_LISTS, *_NUMBERS, *_TEXTS, "limits")
    options: dict[str, Any] = {}
    for key, value in found.items():
        if key not in known:
            raise ConfigurationError(f"{at}: expected keys among {', '.join(known)}, got {key!r}; take it out or correct it")
        options[key] = _checked(f"{at}, {key}", key, value, where.parent)
    return options


def _checked(at: str, key: str, value: Any, folder: Path) -> Any:
    if key == "limits":
        names = [each.name for each in dataclasses.fields(Limits)]
        if not isinstance(value, dict) or not set(value) <= set(names):
            raise ConfigurationError(f"{at}: expected a table of {', '.join(names)}, got {value!r}")
        return Limits(**value)
    if key in _PATHS and isinstance(value, str):
        return folder / value
    if key in _TEXTS and isinstance(value, str):
        return value
    if key in _LISTS and isinstance(value, list) and all(isinstance(each, str) for each in value):
        return value
    if key in _NUMBERS and type(value) in _NUMBERS[key] and value >= 0:
        return value
    words = "a list of texts" if key in _LISTS else "a number of at least 0" if key in _NUMBERS else "text"
    raise ConfigurationError(f"{at}: expected {words}, got {value!r}")


def options(folder: Path, config: Path | None, given: dict[str, Any]) -> Options:
    """A server's options: the given ones, else the file's, else the defaults."""
    found = {} if config is None else read(config)
    return Options(folder, **{**found, **{key: value for key, value in given.items() if value not in (None, [])}})
