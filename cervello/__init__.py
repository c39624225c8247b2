"""Cervello runs reinforcement-learning policies (ONNX files) for many agents inside games and simulators.

    policy = cervello.load("racer.onnx", wrappers="auto")
    policy.begin_agents([1, 2])
    actions = policy.infer({1: {"obs": x}, 2: {"obs": y}})

See `Policy` for agents, `Model` for stateless arrays, `cervello.inferers`, `cervello.wrappers` and `cervello.heads` for the parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cervello import agents, heads, inferers, noise, spaces, wrappers
from cervello.agents import Actions, Policy, Watch, watch
from cervello.batcher import Batched, Batcher
from cervello.description import load
from cervello.errors import (
    AgentError,
    AgentsLostError,
    BridgeError,
    CervelloError,
    CompilationError,
    ConfigurationError,
    DrainingError,
    ExecutionError,
    FormatError,
    GraphError,
    InputError,
    LateAnswerError,
    MissingFileError,
    ModelError,
    PlanError,
    RecordingError,
    RefusedError,
    ServerGoneError,
    SnapshotError,
    UnsupportedError,
    WrapperError,
)
from cervello.native import MemoryPlan, Model
from cervello.spec import Inferer, PolicySpec, Specs, TensorSpec, View, Wrapper
from cervello.wrappers import Clip, EpisodeStart, Epsilon, Fill, FrameStack, Guard, Image, Normalize, PreviousAction, Recurrent, Sample

if TYPE_CHECKING:
    from cervello.agents import Frame, Runtime

__version__ = "0.1.0"

__all__ = [
    "Actions",
    "AgentError",
    "AgentsLostError",
    "Batched",
    "Batcher",
    "BridgeError",
    "CervelloError",
    "Clip",
    "CompilationError",
    "ConfigurationError",
    "DrainingError",
    "EpisodeStart",
    "Epsilon",
    "ExecutionError",
    "Fill",
    "FormatError",
    "Frame",
    "FrameStack",
    "GraphError",
    "Guard",
    "Image",
    "Inferer",
    "InputError",
    "LateAnswerError",
    "MemoryPlan",
    "MissingFileError",
    "Model",
    "ModelError",
    "Normalize",
    "PlanError",
    "Policy",
    "PolicySpec",
    "PreviousAction",
    "RecordingError",
    "Recurrent",
    "RefusedError",
    "Runtime",
    "Sample",
    "ServerGoneError",
    "SnapshotError",
    "Specs",
    "TensorSpec",
    "UnsupportedError",
    "View",
    "Watch",
    "Wrapper",
    "WrapperError",
    "heads",
    "inferers",
    "load",
    "noise",
    "spaces",
    "watch",
    "wrappers",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """`Runtime` and `Frame`, which `cervello.agents` imports on first access."""
    if name in ("Frame", "Runtime"):
        return getattr(agents, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
