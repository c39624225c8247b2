"""A wrapper of one's own: every agent decides only on each fourth tick and holds its action in between.

    python examples/custom_wrapper.py

The wrapper keeps the held actions in a slab, a row per agent, so that they are part of snapshots and survive a swap of the model. It
replaces the model's output on the way out, and stores what it has decided in `commit`, which is called only when the whole batch has
succeeded. Then the suite that ships with Cervello checks that it keeps what agents
rely on: isolation, all or nothing, fresh state at begin, replay. Under pytest, `TestHoldAction` alone is all one writes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import cervello
from cervello.wrappers import Passive, Slab, take_output
from cervello.wrappers.testing import WrapperContract

MODEL = cervello.Model.load(Path(__file__).parent / "cartpole.onnx")


class HoldAction(Passive):
    """Repeats an output for some ticks of its agent.

    Args:
      output: the output to hold.
      ticks: decisions between two changes.
    """

    def __init__(self, output: str, ticks: int = 4):
        self.output, self.ticks = output, ticks

    def attach(self, spec: cervello.PolicySpec) -> tuple[cervello.Wrapper, cervello.PolicySpec]:
        found = take_output(spec, self, self.output)  # a WrapperError with the reason when there is none
        bound = HoldAction(self.output, self.ticks)
        bound.slabs = {"held": Slab(found)}
        return bound, spec

    def outward(self, view: cervello.View) -> None:
        decides = view.agents.steps[view.slots] % self.ticks == 0
        column = view.outputs[self.output]
        mask = decides.reshape(-1, *[1] * (column.ndim - 1))
        view.outputs[self.output] = view.scratch[self] = np.where(mask, column, self.slabs["held"].gather(view.slots))

    def commit(self, view: cervello.View) -> None:
        self.slabs["held"].scatter(view.slots, view.scratch[self])


class TestHoldAction(WrapperContract):
    def make_model(self) -> cervello.Model:
        return MODEL

    def make_wrapper(self) -> cervello.Wrapper:
        return HoldAction("action")


if __name__ == "__main__":
    policy = cervello.Policy(MODEL, wrappers=[HoldAction("action")])
    policy.begin_agent("pole")
    random = np.random.default_rng(0)
    held = [policy.infer_single("pole", {"obs": random.standard_normal(4)})["action"].item() for _ in range(16)]
    print("actions:", *held)

    promises = [name for name in dir(TestHoldAction) if name.startswith("test_")]
    for name in promises:
        getattr(TestHoldAction(), name)()
        print("  ok ", name.removeprefix("test_").replace("_", " "))
    print(f"{len(promises)} promises kept")
