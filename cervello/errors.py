"""Every error Cervello raises, in one tree.

    CervelloError
    ├── ModelError              a policy file cannot be used
    │   ├── MissingFileError    it, its external data, or a recording is not there (also a FileNotFoundError)
    │   ├── FormatError         the bytes are not a readable ONNX model, or not a readable recording
    │   ├── GraphError          the graph contradicts itself (dangling names, cycles, shapes)
    │   └── UnsupportedError    valid ONNX that Cervello refuses to run
    ├── PlanError               a memory plan or program failed verification
    ├── InputError              observations or arrays that do not fit (also a ValueError)
    ├── AgentError              unknown, doubled, not begun or ended agents (also a KeyError)
    ├── WrapperError            a wrapper stack that makes no sense
    ├── SnapshotError           bytes that are no snapshot, or not one of this policy (also a ValueError)
    ├── RecordingError          a recording cannot be opened, written or converted: a full disk, another writer
    ├── BridgeError             a server did not do what was asked; the message names address, step and cause
    │   ├── RefusedError        it answered with an error code; nothing has changed
    │   ├── DrainingError       it is going away and says so; nothing has changed
    │   ├── ServerGoneError     it cannot be reached, or the connection ended without a word
    │   ├── AgentsLostError     the connection is a new one, where the agents of the old one have not begun
    │   └── LateAnswerError     the answer has not come in the time that the caller gives; it may still come
    ├── ConfigurationError      an option with an impossible value (also a ValueError)
    ├── ExecutionError          a kernel reported a failure while running
    └── CompilationError        machine code could not be produced or loaded

Messages read *where: expected X, got Y; remedy.*
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "AgentError",
    "AgentsLostError",
    "BridgeError",
    "CervelloError",
    "CompilationError",
    "ConfigurationError",
    "DrainingError",
    "ExecutionError",
    "FormatError",
    "GraphError",
    "InputError",
    "LateAnswerError",
    "MissingFileError",
    "ModelError",
    "PlanError",
    "RecordingError",
    "RefusedError",
    "ServerGoneError",
    "SnapshotError",
    "UnsupportedError",
    "WrapperError",
]


_MOST_CHARACTERS, _LAST = 500, 180


def shortened(message: str) -> str:
    """A message of at most 500 characters."""
    if len(message) <= _MOST_CHARACTERS:
        return message
    return f"{message[:_MOST_CHARACTERS - _LAST - 3]} … {message[-_LAST:]}"


class CervelloError(Exception):
    """The root of the tree: `except cervello.CervelloError` catches everything the library raises on purpose.

    A message of more than 500 characters is shortened in the middle: its place and its remedy stay.
    """

    def __init__(self, *args: object):
        if args and isinstance(args[0], str) and len(args[0]) > _MOST_CHARACTERS:
            args = shortened(args[0]), *args[1:]
        super().__init__(*args)

    def name_policy(self, name: str, model: str | None = None) -> None:
        """Puts a policy's name in front of a message that names none, or in place of its model's name.

        Args:
          model: the model's name.
        """
        message, own = str(self), f"policy {model!r}"
        if model is not None and message.startswith(own):
            message = message.replace(own, f"policy {name!r}", 1)
        elif not message.startswith(("policy ", "model ", "runtime")):
            message = f"policy {name!r}, {message}"
        self.args = shortened(message), *self.args[1:]

    def __str__(self) -> str:
        # KeyError quotes its message; every class here prints it plainly.
        return str(self.args[0]) if self.args else ""


class ModelError(CervelloError):
    """A policy file cannot be used."""


class MissingFileError(ModelError, FileNotFoundError):
    """There is no such policy file, no file of its external data, or no such recording."""


class FormatError(ModelError):
    """The bytes are not a readable ONNX model, or not a readable recording."""


class GraphError(ModelError):
    """The graph contradicts itself: dangling names, cycles, impossible shapes."""


class UnsupportedError(ModelError):
    """Valid ONNX that Cervello refuses to run, with the reason."""


class PlanError(CervelloError):
    """A memory plan or program failed verification: a defect of Cervello, never of the caller."""


class InputError(CervelloError, ValueError):
    """Observations or arrays that do not fit the policy."""


class AgentError(CervelloError, KeyError):
    """Unknown, doubled, not begun or ended agents."""


class WrapperError(CervelloError):
    """A wrapper stack that makes no sense for this policy."""


class SnapshotError(CervelloError, ValueError):
    """Bytes that are no snapshot, are damaged, or belong to another policy."""


class RecordingError(CervelloError):
    """A recording cannot be opened, written or converted; what was recorded before is complete."""


class BridgeError(CervelloError):
    """A server did not do what was asked; the message names address, step and cause."""


class RefusedError(BridgeError):
    """A server answered with an error code; nothing has changed.

    Attributes:
      code: of the protocol.
      data: what goes with it: `field`, `agents` or `versions`.
    """

    def __init__(self, message: str, code: int = 0, data: dict[str, object] | None = None):
        super().__init__(message)
        self.code, self.data = code, data or {}


class DrainingError(BridgeError):
    """A server is shutting down; nothing has changed. Another one may take over."""


class ServerGoneError(BridgeError):
    """A server cannot be reached, or the connection was closed without a message."""


class AgentsLostError(BridgeError):
    """The connection is a new one; the agents of the old one are not active on it."""


class LateAnswerError(BridgeError):
    """The answer has not arrived within the caller's time limit; it may still arrive."""


class ConfigurationError(CervelloError, ValueError):
    """An option with an impossible value."""


class ExecutionError(CervelloError):
    """A kernel reported a failure while running; the message names the node."""


class CompilationError(CervelloError):
    """Machine code could not be produced or loaded."""


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the known one that is nearest to it; nothing where none is near."""
    import difflib  # few programs end with an error

    near = difflib.get_close_matches(given, list(known), 1) if isinstance(given, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""
