"""Requests of a form that has come before, and which of the short paths answered them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import pytest
import small_models
from serving import Wire

import cervello
from cervello.bridge import inference, loop_budget
from cervello.bridge.compiled_answer import CompiledAnswer

TRIES = 500  # on a busy machine some runs take longer than the bound of the event loop
IDS = [3, 300, 70_000]


class Seen:
    """Which of the short paths have answered: `n_alone` counts requests that were answered at once, `n_compiled` those among them that one
    compiled call answered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.n_alone = self.n_together = self.n_compiled = 0
        alone, together, compiled = inference.run_at_once, inference.run_known, CompiledAnswer.answer

        def run_at_once(*given: Any) -> Any:
            reply = alone(*given)
            self.n_alone += reply is not None
            return reply

        def answer(*given: Any) -> Any:
            reply = compiled(*given)
            self.n_alone += reply is not None
            self.n_compiled += reply is not None
            return reply

        def run_known(served: Any, jobs: Any) -> bool:
            answered = together(served, jobs)
            self.n_together += answered
            return answered

        monkeypatch.setattr(loop_budget, "_SEVERE_S", 1e9)  # a busy machine makes no proof longer
        monkeypatch.setattr(inference, "run_at_once", run_at_once)
        monkeypatch.setattr(CompiledAnswer, "answer", answer)
        monkeypatch.setattr(inference, "run_known", run_known)


def counter() -> cervello.Policy:
    return cervello.load(small_models.counter(), wrappers=[cervello.Recurrent()])


def body(number: int, obs: list[float], **more: Any) -> bytes:
    params = {"policy": "sum", "agents": IDS, "inputs": {"obs": np.array(obs, "<f4").tobytes()}, **more}
    packed: bytes = msgpack.packb([0, number, "infer", [params]])
    return packed


def asked(wire: Wire, sent: bytes) -> bytes:
    """The bytes of a reply."""
    wire.send_body(sent)
    head = wire._exactly(4)
    assert head is not None
    found = wire._exactly(struct.unpack("<I", head)[0])
    assert found is not None
    return found


def until(what: Callable[[], bool], act: Callable[[], Any]) -> None:
    for _ in range(TRIES):
        act()
        if what():
            return
    raise AssertionError("no request took the short way")
