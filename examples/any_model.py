"""Looks at a policy file and runs it: what goes in and out, the wrappers it asks for, and a few decisions of eight agents.

    python examples/any_model.py [MODEL.onnx]

Without a file it takes a policy of the demo.
"""

import sys
from importlib.resources import as_file, files

import numpy as np

import cervello

AGENTS, STEPS = 8, 5

if len(sys.argv) > 1:
    policy = cervello.load(sys.argv[1], wrappers="auto", seed=1)
else:
    with as_file(files("cervello.demo") / "policies" / "hunter.onnx") as path:
        policy = cervello.load(path, wrappers="auto", seed=1)

print(f"{policy.name}")
for title, specs in (("the model takes", policy.model.inputs), ("the model gives", policy.model.outputs), ("you give", policy.inputs),
                     ("you get", policy.outputs)):
    print(f"  {title}")
    for spec in specs.values():
        print(f"    {spec}")
print(f"  wrappers: {', '.join(map(repr, policy.wrappers)) or 'none'}")
for name, value in policy.constants.items():
    print(f"  constant {name}: {np.array2string(value, threshold=6)}")

random = np.random.default_rng(0)
agents = [f"agent_{i}" for i in range(AGENTS)]
policy.begin_agents(agents)


def observation(spec: cervello.TensorSpec) -> np.ndarray:
    """A random row."""
    row = random.standard_normal(spec.shape) if spec.dtype.kind == "f" else random.integers(0, 2, spec.shape)
    return np.asarray(row).astype(spec.dtype)


shared = {name: observation(spec) for name, spec in policy.inputs.items() if spec.batch_axis is None}
for _ in range(STEPS):
    actions = policy.infer({agent: {name: shared.get(name, observation(spec)) for name, spec in policy.inputs.items()} for agent in agents})

print(f"  after {STEPS} steps")
for agent in agents[:3]:
    for name, value in actions[agent].items():
        print(f"    {agent} {name}: {np.array2string(np.asarray(value), precision=3, threshold=6)}")
