"""Game objects end their agents in `__del__`, and signal handlers push, begin and end, whatever is under way: nobody waits for ever, and
nobody is left behind. Every case runs in a process of its own, in which a hang is an error."""

from __future__ import annotations

import signal

import pytest
from own_process import run

_UNITS = """
kind, through = sys.argv[2:4]
gc.set_threshold(20, 2, 2)
policy = make(kind)
runtime = Runtime()
if through == "runtime":
    runtime.add("a", policy, measure=False)
N = 4_000 if kind == "short" else 300
policy.begin_agents(range(1_000_000, 1_000_008))
names, x = list(range(1_000_000, 1_000_008)), columns(8)
end = policy.end_agent if through == "policy" else (lambda agent: runtime.end_agent("a", agent))
begin = policy.begin_agent if through == "policy" else (lambda agent: runtime.begin_agent("a", agent))
for agent in range(N):
    begin(agent)
    Unit(lambda agent=agent: end(agent))
    if through == "policy":
        policy.infer({name: {"obs": [1.0]} for name in names}) if agent % 3 else policy.infer_batch(names, x)
    else:
        runtime.push("a", agent, {"obs": [1.0]})
        if not agent % 5:
            runtime.push_batch("a", names, x)
            runtime.run(budget_s=1.0 if agent % 2 else None)
gc.collect()
assert not lost, lost[:3]
assert len(policy) == 8, len(policy)
if through == "runtime":
    runtime.run()
    assert set(runtime.waiting("a")) == set(), runtime.waiting("a")
"""


@pytest.mark.parametrize("kind", ["short", "long"])
@pytest.mark.parametrize("through", ["policy", "runtime"])
def test_objects_that_end_their_agents_when_they_are_collected_leave_nobody_behind(kind: str, through: str) -> None:
    run(_UNITS, kind, through)


_INSIDE = """
policy = make("short")
seen = []


policy.begin_agents(["a", "b", "c"])
model = policy._core.engine.fast_path
infer = model.infer
def meanwhile(*arguments):
    policy.end_agent("c")
    seen.append(len(policy))
    for wrong in (lambda: policy.begin_agent("d"), lambda: policy.end_agent("c"), lambda: policy.end_agent("nobody"),
                  lambda: policy.restart_agents(["a"]), lambda: policy.snapshot(), lambda: policy.replace(policy.model)):
        try:
            wrong()
        except AgentError as error:
            seen.append(str(error))
    return infer(*arguments)

class Meddling:
    infer = staticmethod(meanwhile)

policy._core.engine.fast_path = Meddling()
assert policy.infer_batch(["a", "b"], columns(2))["action"][:, 0].tolist() == [1, 1]
assert len(policy) == 2 and "c" not in policy
assert seen[0] == 3
assert len(seen) == 7, seen
assert "change them outside" in seen[1]
assert "got 'c'" in seen[2] and "got 'nobody'" in seen[3]
policy._core.engine.fast_path = type("", (), {"infer": staticmethod(infer)})()
policy.begin_agent("c")
assert policy.infer_batch(["a", "b", "c"], columns(3))["action"][:, 0].tolist() == [2, 2, 1]
"""


def test_an_end_from_inside_a_decision_is_done_before_it_returns_and_a_begin_is_refused() -> None:
    run(_INSIDE)


_NONFINITE = """
from cervello.inferers.nonfinite import NonFiniteState

policy = make("short")
policy.begin_agents(["a", "b", "c"])
fast_path = policy._core.engine.fast_path
class Meddling:
    @staticmethod
    def infer(*arguments):
        results = fast_path.infer(*arguments)
        policy.end_agent("c")
        raise NonFiniteState(results)

policy._core.engine.fast_path = Meddling()
assert policy.infer_batch(["a", "b"], columns(2))["action"][:, 0].tolist() == [1, 1]
assert policy.agents == ("a", "b")
"""


def test_an_end_from_inside_a_decision_with_state_that_is_not_finite_is_done_before_it_returns() -> None:
    run(_NONFINITE)


_FAILING = """
class Failing(Passive):
    fail = False
    def attach(self, spec):
        return self, spec
    def commit(self, view):
        if self.fail:
            policy.end_agents(["b", "c"])
            raise ValueError("no")
wrapper = Failing()
policy = Policy(stacks.model("counter"), wrappers=[wrapper, Recurrent()])
policy.begin_agents(["a", "b", "c"])
wrapper.fail = True
try:
    policy.infer_batch(["a"], columns(1))
    raise SystemExit("expected the hook's error")
except ValueError:
    pass
assert policy.agents == ("a",)
policy.begin_agents(["b", "c"])
"""


def test_an_end_from_inside_a_decision_that_fails_is_done_too() -> None:
    run(_FAILING)


_CHAIN = """
class Chain(Passive):
    '''The end of every agent drops the object that ends the next one.'''
    def attach(self, spec):
        return self, spec
    def end(self, slots):
        if objects:
            objects.pop()

policy = Policy(stacks.model("counter"), wrappers=[Chain(), Recurrent()])
policy.begin_agents(range(5001))

class Ends:
    def __init__(self, agent):
        self.agent = agent
    def __del__(self):
        policy.end_agent(self.agent)

objects = [Ends(agent) for agent in range(5000)]
policy.end_agent(5000)
assert not lost, lost[:2]
assert len(policy) == 0, len(policy)
"""


def test_a_chain_of_ends_is_followed_to_its_end() -> None:
    run(_CHAIN)


_SIGNALS = """
kind, through = sys.argv[2:4]
policy, runtime = make(kind), Runtime()
runtime.add("a", policy, measure=False)
runtime.begin_agents("a", list(range(100)))
counts = dict(push=0, refused=0, ended=0, begun=0)
alive = set()
refusals = set()

def handler(*_):
    '''An agent of its own begins and ends, another is pushed.'''
    number = 1000 + counts["begun"]
    try:
        runtime.begin_agent("a", number) if through == "runtime" else policy.begin_agent(number)
        counts["begun"] += 1
        alive.add(number)
    except AgentError as error:
        counts["refused"] += 1
        refusals.add(str(error))
    if alive:
        number = alive.pop()
        runtime.end_agent("a", number) if through == "runtime" else policy.end_agent(number)
        counts["ended"] += 1
    try:
        runtime.push("a", 5, {"obs": [1.0]})
        counts["push"] += 1
    except AgentError as error:
        counts["refused"] += 1
        refusals.add(str(error))
    signal.setitimer(signal.ITIMER_REAL, 2e-4)  # the next one; several at once would be one inside the other

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 2e-4)
until, n = time.monotonic() + 4, 0
while time.monotonic() < until:
    n += 1
    runtime.push_batch("a", list(range(100)), columns(100))
    runtime.run(budget_s=1.0 if n % 2 else None)
    policy.infer_batch([1, 2, 3], columns(3))
    runtime.begin_agents("a", [500, 501])
    runtime.end_agents("a", [500, 501])
    policy.restart_agents([7, 8])
    if not n % 50:
        runtime.restore(runtime.snapshot())
signal.signal(signal.SIGALRM, signal.SIG_IGN)
for number in alive:
    policy.end_agent(number)
assert counts["ended"] > 100, counts
assert counts["push"] > 100, counts
extra = set(policy.agents) - set(range(100))
assert not extra, extra
runtime.run()
runtime.run()
assert runtime.waiting("a") == (), runtime.waiting("a")
runtime.push_batch("a", list(range(100)), columns(100))
assert len(runtime.run()["a"]) == 100
print(counts, refusals)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
@pytest.mark.parametrize("kind", ["short", "long"])
@pytest.mark.parametrize("through", ["policy", "runtime"])
def test_signal_handlers_may_push_begin_and_end_whatever_is_under_way(kind: str, through: str) -> None:
    run(_SIGNALS, kind, through)
