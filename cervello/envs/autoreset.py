"""What a vector environment does when an episode ends: read from its metadata, asked for when missing, never assumed."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import AutoresetMode

from cervello.errors import ConfigurationError


def autoreset_mode(env: Any, given: AutoresetMode | str | None) -> AutoresetMode:
    """The mode of a Gymnasium vector environment.

    Args:
      env: the environment.
      given: what the caller says, for environments whose metadata do not.

    Raises:
      ConfigurationError: nothing says it, or what is said is no mode or another one than the environment's.
    """
    metadata = getattr(env, "metadata", None) or {}
    said = metadata.get("autoreset_mode")
    mode = None if said is None else checked_mode("the environment's metadata", said)
    wanted = None if given is None else checked_mode("autoreset", given)
    if mode is None and wanted is None:
        raise ConfigurationError(f"autoreset: expected a vector environment whose metadata name its mode, got {metadata!r:.200} of "
                                 f"{type(env).__name__}; give autoreset='next_step', 'same_step' or 'disabled'")
    if mode is not None and wanted is not None and mode != wanted:
        raise ConfigurationError(f"autoreset: expected {mode.value!r}, as in its metadata, got {wanted.value!r}; leave it out")
    found = mode or wanted
    assert found is not None
    return found


def checked_mode(where: str, value: Any) -> AutoresetMode:
    """A mode of Gymnasium, or its name. Raises ConfigurationError otherwise."""
    if isinstance(value, AutoresetMode):
        return value
    for mode in AutoresetMode:
        if isinstance(value, str) and value.lower().replace("-", "_") in (mode.value.lower(), mode.name.lower(),
                                                                         _words(mode.value)):
            return mode
    raise ConfigurationError(f"{where}: expected one of {[mode.name.lower() for mode in AutoresetMode]}, got {value!r}")


def _words(name: str) -> str:
    """NextStep → next_step"""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
