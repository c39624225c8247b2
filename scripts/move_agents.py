"""Moves the agents of a game from one server to another while it plays.

    python scripts/move_agents.py tcp://127.0.0.1:5577 tcp://127.0.0.1:5578 --policy hunter --agents 1000 --pieces 10 --check hunter.onnx

A connection's agents cannot be taken by anybody else, so the game itself moves them: it holds a connection to each server, and between two
frames takes a piece of the crowd along (`snapshot` on the old server, `restore` with `keep` on the new one, `end` on the old one). The
others go on where they are; each agent's recurrent state, noise stream and step move with it. Here random observations stand for a game, in
frames without pause, and `--check` compares every action, bitwise, with the policy run locally from the first frame on.

Both servers must hold the policy under the same name, with the same seed and shapes of state. Exit status 1 where an action differs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import cervello
from cervello import bridge


class Crowd:
    """Agents of one game, some on the old server and some on the new one. Mutable."""

    def __init__(self, old: bridge.RemotePolicy, new: bridge.RemotePolicy, agents: list[int]):
        self.old, self.new = old, new
        self.here, self.there = list(agents), list[int]()

    def move(self, piece: list[int]) -> None:
        """Between two frames: a piece goes on where it was, on the other server. On an error the agents are still on the old one."""
        self.new.restore(self.old.snapshot(piece), keep=True)
        self.old.end(piece, wait=True)  # only now: until here the old server has them too
        self.here = [agent for agent in self.here if agent not in set(piece)]
        self.there += piece

    def decide(self, inputs: dict[str, np.ndarray], agents: list[int]) -> dict[str, np.ndarray]:
        """A frame: both servers at once; rows in the order of `agents`."""
        row = {agent: i for i, agent in enumerate(agents)}
        parts = []
        for policy, mine in ((self.old, self.here), (self.new, self.there)):
            if mine:
                rows = [row[agent] for agent in mine]
                parts.append((rows, policy.infer(mine, {name: column[rows] for name, column in inputs.items()})))
        found: dict[str, np.ndarray] = {}
        for rows, pending in parts:
            for name, column in pending.result().items():
                whole = found.setdefault(name, np.empty((len(agents), *column.shape[1:]), column.dtype))
                whole[rows] = column
        return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--policy", required=True)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--pieces", type=int, default=10)
    parser.add_argument("--token")
    parser.add_argument("--check", type=Path, help="the policy's file or description")
    options = parser.parse_args(arguments)
    agents = list(range(options.agents))
    rng = np.random.default_rng(0)
    local = None if options.check is None else cervello.load(options.check, **({} if options.check.suffix == ".toml" else
                                                                               {"wrappers": "auto"}))
    differing = n_frames = 0
    with bridge.Client(options.old, name="mover", token=options.token) as old, \
            bridge.Client(options.new, name="mover", token=options.token) as new:
        crowd = Crowd(old.policy(options.policy), new.policy(options.policy), agents)
        streams = crowd.old.begin(agents)
        if local is not None:
            local.begin_agents(agents, stream=streams.astype(np.int64), episode=0)
        ports = crowd.old.columns.inputs

        def frame() -> None:
            nonlocal differing, n_frames
            inputs = {name: rng.standard_normal((len(agents), *port.shape)).astype(port.dtype) for name, port in ports.items()}
            actions = crowd.decide(inputs, agents)
            n_frames += 1
            if local is not None:
                expected = local.infer_batch(agents, inputs)
                differing += any(actions[name].tobytes() != expected[name].tobytes() for name in actions)

        frame()
        for piece in np.array_split(np.array(agents), options.pieces):
            crowd.move(piece.tolist())
            frame()
        left = old.stats()["agents"]
        frame()
    checked = "not compared" if local is None else f"{differing} frames differ from the policy run locally"
    print(f"{len(agents)} agents moved in {options.pieces} pieces over {n_frames} frames; {left} left behind; {checked}")
    return int(bool(differing or left))


if __name__ == "__main__":
    sys.exit(main())
