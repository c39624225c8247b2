"""Reads options of `cervello.load` from a TOML file.

    inferer = "fixed"            # or {kind = "fixed", sizes = [1, 8, 64]}
    seed = 7
    threads = 1
    strict = false
    outputs = ["action"]
    warmup = [1, 16, 64]         # batch sizes whose plans are made at once
    dims = {height = 64}
    rename = {"56" = "action"}
    wrappers = "auto"            # or tables, outermost first:

    [[wrappers]]
    kind = "Sample"
    head = {kind = "Categorical", logits = "logits"}

    [[wrappers]]
    kind = "Recurrent"
    pairs = {h_in = "h_out"}

    [spaces]
    observation = {kind = "Box", low = -1.0, high = 1.0, shape = [8]}
    action = {kind = "Discrete", n = 4}
    box = "clip"

A key that is not known is refused, with its place.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cervello import heads, inferers, wrappers
from cervello.errors import CervelloError, ConfigurationError, MissingFileError
from cervello.spaces import Spaces

_WRAPPERS = ("Clip", "EpisodeStart", "Epsilon", "Fill", "FrameStack", "Guard", "Image", "Normalize", "PreviousAction", "Recurrent",
             "Sample")
_INFERERS = {"basic": "Basic", "fixed": "Fixed", "memoizing": "Memoizing", "dynamic": "Dynamic"}
_HEADS = tuple(name for name in heads.__all__ if name != "Head")
_SPACES = ("Box", "Discrete", "MultiDiscrete", "MultiBinary")
_SCALARS: dict[str, tuple[type, str]] = {
    "name": (str, "text"), "seed": (int, "an integer"), "threads": (int, "an integer"), "strict": (bool, "true or false")}
_KEYS = (*_SCALARS, "inferer", "wrappers", "outputs", "warmup", "dims", "rename", "spaces")


@dataclass(frozen=True, slots=True)
class Description:
    """The description of a policy.

    Attributes:
      name: in messages; None where the file has none.
      path: the file. model: the policy's file beside it.
      options: of `cervello.load`, without those that the file leaves out.
      warmup: batch sizes whose plans are made when it is loaded.
    """

    path: Path
    model: Path
    options: Mapping[str, Any]
    warmup: Sequence[int]
    name: str | None = None


def read(path: str | os.PathLike[str]) -> Description:
    """Reads a description.

    Args:
      path: of the TOML file.
    Raises:
      MissingFileError: no such file. ConfigurationError: no TOML, an unknown key, or an invalid value; the message has the
        place.
    """
    file = Path(path)
    import tomllib  # not above: every program loads this module, and few have a description

    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingFileError(f"description {str(file)!r}: expected a file, found none; check the path") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"description {str(file)!r}: expected TOML, got a file that fails with {error}") from error
    where = f"description {str(file)!r}"
    _check_keys(where, found, _KEYS)
    options: dict[str, Any] = {}
    for key, (kind, expected) in _SCALARS.items():
        if key in found:
            if type(found[key]) is not kind:
                raise ConfigurationError(f"{where}, {key}: expected {expected}, got {found[key]!r}")
            options[key] = found[key]
    name = options.pop("name", None)
    if "inferer" in found:
        options["inferer"] = _inferer(f"{where}, inferer", found["inferer"])
    if "outputs" in found:
        options["outputs"] = _list(f"{where}, outputs", found["outputs"], str, "names")
    if "dims" in found:
        options["dims"] = _dims(f"{where}, dims", found["dims"])
    if "rename" in found:
        options["rename"] = _names(f"{where}, rename", found["rename"])
    if "spaces" in found:
        options["spaces"] = _spaces(f"{where}, spaces", found["spaces"])
    options["wrappers"] = _wrappers(f"{where}, wrappers", found.get("wrappers", "auto"))
    warmup = _list(f"{where}, warmup", found.get("warmup", []), int, "sizes")
    if any(n < 1 for n in warmup):
        raise ConfigurationError(f"{where}, warmup: expected sizes of at least 1, got {warmup}")
    return Description(file, file.with_suffix(".onnx"), options, warmup, name)


def _check_keys(where: str, found: Any, known: Sequence[str]) -> None:
    if not isinstance(found, dict):
        raise ConfigurationError(f"{where}: expected a table, got {found!r}")
    for key in found:
        if key not in known:
            raise ConfigurationError(f"{where}: expected keys among {', '.join(known)}, got {key!r}; take it out or correct it")


def _list(where: str, value: Any, kind: type, expected: str) -> list[Any]:
    if not isinstance(value, list) or any(type(each) is not kind for each in value):
        raise ConfigurationError(f"{where}: expected a list of {expected}, got {value!r}")
    return value


def _dims(where: str, value: Any) -> dict[str, int]:
    if not isinstance(value, dict) or any(type(size) is not int for size in value.values()):
        raise ConfigurationError(f"{where}: expected sizes by name, got {value!r}")
    return value


def _names(where: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or any(type(name) is not str for name in value.values()):
        raise ConfigurationError(f"{where}: expected new names by the file's names, got {value!r}")
    return value


def _kind(where: str, value: Any, known: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """A table's kind and its other keys."""
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise ConfigurationError(f"{where}: expected a table with a kind among {', '.join(known)}, got {value!r}")
    if value["kind"] not in known:
        raise ConfigurationError(f"{where}, kind: expected one of {', '.join(known)}, got {value['kind']!r}")
    return value["kind"], {key: each for key, each in value.items() if key != "kind"}


def _make(where: str, make: Callable[..., Any], options: dict[str, Any], hidden: Sequence[str] = ()) -> Any:
    """Makes an object from a table whose keys are the arguments' names."""
    known = [name for name in inspect.signature(make).parameters if name not in hidden]
    _check_keys(where, options, known)
    try:
        return make(**options)
    except (CervelloError, TypeError, ValueError, AssertionError) as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _inferer(where: str, value: Any) -> Any:
    if isinstance(value, str):
        if value not in _INFERERS:
            raise ConfigurationError(f"{where}: expected one of {', '.join(_INFERERS)}, got {value!r}")
        return value
    kind, options = _kind(where, value, tuple(_INFERERS))
    return _make(where, getattr(inferers, _INFERERS[kind]), options)


def _wrappers(where: str, value: Any) -> Any:
    if value == "auto":
        return "auto"
    if not isinstance(value, list):
        raise ConfigurationError(f"{where}: expected \"auto\" or a list of tables, got {value!r}")
    found = []
    for i, each in enumerate(value):
        at = f"{where}[{i}]"
        kind, options = _kind(at, each, _WRAPPERS)
        if kind == "Sample":
            head, head_options = _kind(f"{at}, head", options.get("head"), _HEADS)
            options["head"] = _make(f"{at}, head", getattr(heads, head), head_options)
        found.append(_make(at, getattr(wrappers, kind), options))
    return found


def _spaces(where: str, value: Any) -> Spaces:
    _check_keys(where, value, ("observation", "action", "box", "keys", "output", "greedy"))
    import gymnasium  # a game's spaces are rare, and it takes long to import

    def space(name: str) -> Any:
        kind, options = _kind(f"{where}, {name}", value.get(name), _SPACES)
        return _make(f"{where}, {name}", getattr(gymnasium.spaces, kind), options, ("seed",))

    pair = space("observation"), space("action")
    options = {("action" if key == "output" else key): each for key, each in value.items() if key not in ("observation", "action")}
    def make(box: Any = None, keys: Any = None, action: Any = None, greedy: Any = None) -> Spaces:
        return Spaces(pair, box=box, keys=keys, action=action, greedy=greedy)

    found: Spaces = _make(where, make, options)
    return found
