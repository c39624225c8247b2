"""One tree of errors: each class is raised by something a user can do, with a message that names the place."""

from __future__ import annotations

import inspect
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import small_models
import stacks
from serving import Running, served
from small_models import FLOAT, graph, node

import cervello
from cervello import bridge, errors, inferers, recording
from cervello.codegen import linker
from cervello.native.graph.tensors import Buffer, Space, Step, dense
from cervello.native.memory import arena_plan

COLUMN = (FLOAT, ("N", 2))
_LESS_THAN_NOTHING = dense("less", np.dtype(np.float32), (1,), Buffer("less", Space.ARENA, -1))


def tiny(*nodes: onnx.NodeProto, inputs: Any = None, outputs: Any = None) -> bytes:
    return graph(nodes, inputs or {"obs": COLUMN}, outputs or {"action": COLUMN}, {})


def truncated() -> bytes:
    whole = small_models.feed_forward()
    return whole[:len(whole) // 2]


def policy(name: str = "feed_forward", **options: Any) -> cervello.Policy:
    found = cervello.Policy(stacks.model(name), **options)
    found.begin_agents([1, 2])
    return found


def over_the_bridge(act: Callable[[bridge.Client, Running], Any]) -> None:
    with tempfile.TemporaryDirectory() as folder, served({"counter": cervello.load(small_models.counter(), wrappers="auto")}, Path(folder),
                                                         max_wait_us=300_000) as running, \
            bridge.Client(running.address, reconnect=True) as client:
        act(client, running)


def drained(client: bridge.Client, running: Running) -> None:
    remote = client.policy("counter")
    remote.begin([1])
    running.stop()
    for _ in range(100):
        remote.infer([1], {"obs": [[1.0]]}).result()


def cut(client: bridge.Client, running: Running) -> None:
    client.policy("counter").begin([1])
    running.loop.call_soon_threadsafe(lambda: [session.abort("cut") for session in list(running.server.state.sessions)])
    for _ in range(100):
        with suppress(cervello.ServerGoneError):  # the one that was on its way
            client.stats()


TABLE: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    ("no file", lambda: cervello.load("nowhere.onnx"), errors.MissingFileError, "model .nowhere.onnx.: expected a file, found none"),
    ("a folder", lambda: cervello.load(Path(__file__).parent), errors.FormatError, "expected a file, got a folder; name a file"),
    ("no bytes", lambda: cervello.load(b""), errors.FormatError, "model .*: expected an ONNX file, got 0 bytes"),
    ("a file that is not ONNX", lambda: cervello.load(b"<html>not a policy</html>" * 9), errors.FormatError, "model .*: expected"),
    ("half a file", lambda: cervello.load(truncated()), errors.FormatError, "model .*: expected"),
    ("text", lambda: cervello.load(Path(__file__)), errors.FormatError, "model 'test_errors': expected"),
    ("a dangling output", lambda: cervello.load(tiny(node("Tanh", "obs", "z"))), errors.GraphError,
     "output 'action': expected a node that produces it, found none"),
    ("a dangling input", lambda: cervello.load(tiny(node("Add", "obs ghost", "action"))), errors.GraphError, "input 'ghost'"),
    ("a cycle", lambda: cervello.load(tiny(node("Add", "obs b", "a"), node("Tanh", "a", "b"), node("Tanh", "b", "action"))),
     errors.GraphError, "expected an acyclic graph, got a cycle"),
    ("no outputs", lambda: cervello.load(graph([], {"obs": COLUMN}, {}, {})), errors.GraphError, "expected at least one output, got none"),
    ("shapes that do not meet", lambda: cervello.load(tiny(node("MatMul", "obs obs", "action"))), errors.GraphError, "equal inner sizes"),
    ("an unknown output", lambda: cervello.load(small_models.feed_forward(), outputs=["logits"]), errors.GraphError,
     "expected outputs among its tensors, got 'logits'"),
    ("an unknown op", lambda: cervello.Model.load(tiny(node("Teleport", "obs", "action"))),
     errors.UnsupportedError,
     "expected an op of ONNX, got .Teleport."),
    ("strict", lambda: cervello.load(tiny(node("Det", "obs", "action"), inputs={"obs": (FLOAT, ("N", 2, 2))}, outputs={
        "action": (FLOAT, ("N",))}), strict=True), errors.UnsupportedError, r"expected every op on the planned tier \(strict=True\), got"),
    ("a plan of less than nothing", lambda: arena_plan.plan([Step("k", (), (_LESS_THAN_NOTHING,), [], "op", "node")]), errors.PlanError,
     "memory plan: expected sizes of at least 0, got -1"),
    ("a missing input", lambda: policy().infer_batch([1], {}), errors.InputError,
     r"policy 'model': expected inputs \['obs'\], got a dict in which input 'obs' is missing"),
    ("a wrong shape", lambda: policy().model.run({"obs": np.zeros((2, 5))}), errors.InputError,
     r"policy 'model', input 'obs': expected \(2, 6\) float32, got \(2, 5\) float64"),
    ("a wrong observation", lambda: policy().infer({1: {"obs": "left"}}), errors.InputError,
     r"agent 1, input 'obs': expected \(6,\) float32"),
    ("noise without a seed", lambda: stacks.model("random_normal").run({"obs": np.zeros((1, 4))}), errors.InputError,
     r"expected seed= or deterministic=True, got neither"),
    ("a buffer that must be copied", lambda: stacks.model("feed_forward").bind({"obs": np.zeros((1, 6))}, {"action": np.zeros((1, 3))}),
     errors.InputError, "bind, 'obs': expected a C-contiguous, aligned float32 array"),
    ("an unknown agent", lambda: policy().end_agent("scout"), errors.AgentError, r"got 'scout'; it has ended already, or never begun"),
    ("an agent twice", lambda: policy().begin_agent(1), errors.AgentError, "expected an agent that has not begun, got 1; end it first"),
    ("a push of an unknown agent", lambda: cervello.Batcher(policy()).push(3, {}), errors.AgentError, "got 3; call begin_agent"),
    ("a wrapper that does not fit", lambda: policy(wrappers=[cervello.Epsilon("noise")]), errors.WrapperError,
     r"wrapper Epsilon\('noise'\): expected an input among \['obs'\], got 'noise'; it does not exist or an inner wrapper provides it"),
    ("recurrence without state", lambda: policy(wrappers=[cervello.Recurrent()]), errors.WrapperError, "name the pairs"),
    ("an unknown inferer", lambda: policy(inferer="quick"), errors.ConfigurationError, "inferer: expected one of .*, got 'quick'"),
    ("a fixed size of 0", lambda: inferers.Fixed([0]), errors.ConfigurationError, r"inferers\.Fixed: expected sizes of at least 1, got 0"),
    ("a seed out of range", lambda: policy(seed=-1), errors.ConfigurationError, "expected a seed 0 ≤ seed < 2⁶⁴, got -1"),
    ("a plan for no rows", lambda: stacks.model("feed_forward").plan(0), errors.ConfigurationError, "rows: expected at least 1, got 0"),
    ("an index outside its table", lambda: policy("lookup").infer_batch([1], {"index": [99]}), errors.ExecutionError,
     "node Gather → 'action': expected to run, got an index outside its table"),
    ("a kernel that does not exist", lambda: linker.link(["cervello.native.kernels.gemm:nothing"]), errors.CompilationError,
     r"kernel 'cervello\.native\.kernels\.gemm:nothing': expected a function of that name in cervello\.native\.kernels\.gemm, found none"),
    ("no snapshot", lambda: policy().restore(b"CRVSxyz"), errors.SnapshotError, "snapshot: expected bytes that begin with b'CRVS'"),
    ("a snapshot of another seed", lambda: policy().restore(policy(seed=3).snapshot()), errors.SnapshotError,
     "restore: expected a snapshot of seed 0, got one of seed 3"),
    ("a recording in a folder that is not there", lambda: recording.Writer(Path(__file__) / "play.log"), errors.RecordingError,
     "recording .*play.log': expected a file that can be written, got"),
    ("another model", lambda: policy().replace(stacks.model("counter")), errors.ConfigurationError, "replace, inputs: expected"),
    ("a watch of nothing", lambda: cervello.watch("nowhere.onnx"), errors.MissingFileError, "watch 'nowhere.onnx': expected a file"),
    ("a server that is not there", lambda: bridge.Client("tcp://127.0.0.1:1", connect_timeout_s=2.0), errors.ServerGoneError,
     "tcp://127.0.0.1:1, connect: expected a server"),
    ("a policy that a server does not have", lambda: over_the_bridge(lambda client, _: client.policy("nobody")), errors.RefusedError,
     r"spec: refused with code 4: policy: expected one of \['counter'\], got 'nobody'"),
    ("a server that goes away", lambda: over_the_bridge(drained), errors.DrainingError, "infer: .*going away"),
    ("a connection made anew", lambda: over_the_bridge(cut), errors.AgentsLostError, "1 are lost; begin them again"),
    ("an answer that has not come", lambda: over_the_bridge(
        lambda client, _: client.policy("counter").infer([1], {"obs": [[1.0]]}, begin=True).result(0.0)), errors.LateAnswerError,
     "infer: expected an answer within 0.0 s, got none yet"),
    ("a budget of nothing", lambda: cervello.Runtime().run(budget_s=0), errors.ConfigurationError, "budget_s: expected seconds above 0"),
]
ABSTRACT = {errors.CervelloError, errors.ModelError, errors.BridgeError}  # for catching; what is raised says more
CLASSES = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, errors.CervelloError)]


@pytest.mark.parametrize(("trigger", "error", "message"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_mistake_raises_its_class_with_a_message_that_names_the_place(trigger: Callable[[], Any], error: type[Exception], message: str,
                                                                       ) -> None:
    with pytest.raises(errors.CervelloError, match=message) as caught:
        trigger()
    assert type(caught.value) is error
    assert re.search(r": expected .+(, got|, found) ", str(caught.value)), f"not 'where: expected X, got Y': {caught.value}"
    assert not str(caught.value).startswith(("'", '"')), "KeyError's quotes around the message"


def test_every_class_is_raised_by_something_in_the_table() -> None:
    assert {row[2] for row in TABLE} == set(CLASSES) - ABSTRACT


def test_the_docstring_draws_the_tree_that_the_classes_form() -> None:
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^( {4}[│├└─ ]*)([A-Z]\w+Error)\b", line)
        if found:
            depth = (len(found[1]) - 4) // 4
            path[depth:] = [found[2]]
            if depth:
                drawn[found[2]] = path[depth - 1]
    real = {each.__name__: next(base.__name__ for base in each.__mro__[1:] if issubclass(base, errors.CervelloError))
            for each in CLASSES if each is not errors.CervelloError}
    assert drawn == real


def test_the_docstring_says_which_are_python_errors_too() -> None:
    for each in CLASSES:
        line = re.search(rf"{each.__name__} .*", errors.__doc__ or "")
        for builtin in (ValueError, KeyError):
            assert issubclass(each, builtin) == bool(line and f"(also a {builtin.__name__})" in line[0]), each


def test_all_of_them_can_be_had_from_the_package() -> None:
    assert sorted(errors.__all__) == sorted(each.__name__ for each in CLASSES)
    for each in CLASSES:
        assert getattr(cervello, each.__name__) is each
        assert each.__doc__
