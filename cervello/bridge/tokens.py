"""Access control: a file of tokens, one a line, each followed by its roles."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any

from cervello.errors import ConfigurationError

ROLES = ("infer", "record", "admin")
OPEN = ("infer", "record")  # roles of every client without a token file
_BY_METHOD = {"reward": "record", "swap": "admin"}


def role_of(method: str) -> str:
    """The role that a method requires."""
    return _BY_METHOD.get(method, "infer")


class Tokens:
    """The tokens of a server; without a file every client has the roles `infer` and `record`.

    Raises:
      ConfigurationError: the file cannot be read, is empty, or names an unknown role.
    """

    def __init__(self, path: Path | None):
        self._known: list[tuple[bytes, tuple[str, ...]]] | None = None
        if path is None:
            return
        where = f"token file {str(path)!r}"
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except FileNotFoundError as error:
            raise ConfigurationError(f"{where}: expected a file, found none; write one with a token a line, and its roles after it if it "
                                     "has not all") from error
        except OSError as error:
            raise ConfigurationError(f"{where}: expected a text file, got {error.strerror or error}; name another one") from error
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{where}: expected a text file, got {error}; write it in UTF-8") from error
        self._known = []
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            roles = tuple(words[1].split(",")) if len(words) > 1 else ROLES
            if len(words) > 2 or not set(roles) <= set(ROLES):
                raise ConfigurationError(f"{where}, line {number}: expected a token and roles among {','.join(ROLES)}, "
                                         "got something else")
            self._known.append((_digest(words[0]), tuple(role for role in ROLES if role in roles)))
        if not self._known:
            raise ConfigurationError(f"{where}: expected a token, got none; write one into it")

    def roles(self, token: Any) -> tuple[str, ...] | None:
        """The roles of a token; None for an unknown token. Takes the same time for every token."""
        if self._known is None:
            return OPEN
        given = _digest(token if isinstance(token, str) else "")
        found: tuple[str, ...] | None = None
        for known, roles in self._known:
            if hmac.compare_digest(known, given):
                found = roles
        return found if isinstance(token, str) and token else None

    @property
    def needed(self) -> bool:
        """Whether a token is required."""
        return self._known is not None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
