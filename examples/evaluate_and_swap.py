"""Scouts of the demo arena are recorded; three candidates are evaluated on the log alone, then checked by play; the best is swapped in.

    python examples/evaluate_and_swap.py [MATCHES]

The candidates are the playing policy with its logits scaled: as it is, bolder and more careless. Offline, their values come from the log of
the policy as it is; nobody plays them. The true values, which a studio would not have, come from matches that they do play.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx

import cervello
from cervello import evaluation, heads, recording
from cervello.demo.arena import Arena
from cervello.demo.baseline import RandomPolicy
from cervello.demo.species import SPECIES

HORIZON = 20  # ticks that are evaluated; weights of longer stretches say less
SCALES = {"as it is": 1.0, "bolder": 1.25, "careless": 0.75}
POLICY = Path(cervello.__file__).parent / "demo" / "policies" / "scout.onnx"


def scaled(scale: float, path: Path) -> Path:
    """The scout's policy with its logits times a number."""
    model = onnx.load(POLICY)
    for node in model.graph.node:
        for i, name in enumerate(node.output):
            if name == "logits":
                node.output[i] = "unscaled"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(scale), "scale"))
    model.graph.node.append(onnx.helper.make_node("Mul", ["unscaled", "scale"], ["logits"]))
    onnx.save(model, path)
    return path


def matches(policy: cervello.Policy, n: int, first_seed: int) -> Iterator[Callable[[], Iterator[tuple[np.ndarray, ...]]]]:
    """Matches of HORIZON ticks, in which scouts play a policy and the others act at random. Each gives its ticks."""
    for seed in range(first_seed, first_seed + n):
        yield lambda seed=seed: ticks(policy, seed)


def ticks(policy: cervello.Policy, seed: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Of scouts that lived at the start: ids, images, actions, log-probabilities; then rewards, who is left, their images."""
    arena = Arena(seed)
    others = {species.name: RandomPolicy(species, seed) for species in SPECIES if species.name != "scout"}
    ids = arena.ids("scout")
    policy.begin_agents(ids, stream=seed)
    total = dict.fromkeys(ids.tolist(), 0.0)
    image = arena.observe()["scout"]["image"]
    for tick in range(HORIZON):
        found = policy.infer_batch(ids, {"image": image})
        everyone = arena.ids("scout")
        actions = {name: each.infer_batch(arena.ids(name), {})["action"] for name, each in others.items()}
        directions = np.zeros(len(everyone), np.int64)  # scouts born meanwhile walk straight on, and are not recorded
        directions[np.isin(everyone, ids)] = found["action"]
        ended = {life.agent_id: life.total_reward for life in arena.step({**actions, "scout": directions}).ended["scout"]}
        herd = arena.herds["scout"]
        now = dict(zip(herd.ids[herd.living()].tolist(), herd.total_reward[herd.living()].tolist(), strict=True)) | ended
        rewards = np.array([now[i] - total[i] for i in ids.tolist()])
        total = now
        left = ~np.isin(ids, list(ended))
        images = arena.observe()["scout"]["image"][np.isin(arena.ids("scout"), ids[left])]
        yield ids, image, found["action"], found["log_prob"], rewards, left, images
        policy.end_agents(ids[~left] if tick < HORIZON - 1 else ids)
        ids, image = ids[left], images


def record(policy: cervello.Policy, n: int, path: Path) -> None:
    """Plays n matches and logs every life, up to the horizon."""
    with recording.Writer(path) as log:
        for number, match in enumerate(matches(policy, n, 0)):
            handles = None
            for tick, (ids, image, action, log_prob, reward, left, images) in enumerate(match()):
                if handles is None:
                    handles = log.begin(observation=image, agent=ids.tolist(), match=number)
                log.step(handles[left], images, action[left], reward[left], truncated=tick == HORIZON - 1, log_prob=log_prob[left])
                if not left.all():  # the dead see nothing more
                    log.step(handles[~left], None, action[~left], reward[~left], terminated=True, log_prob=log_prob[~left])
                handles = handles[left]


def true_value(policy: cervello.Policy, n: int) -> tuple[float, float]:
    """Mean return of a life over n other matches, and its standard error over matches."""
    returns = []
    for match in matches(policy, n, 10_000):
        rewards = lives = 0.0
        for tick, (ids, _, _, _, reward, _, _) in enumerate(match()):
            lives += len(ids) if tick == 0 else 0
            rewards += reward.sum()
        returns.append(rewards / lives)
    return float(np.mean(returns)), float(np.std(returns) / np.sqrt(n))


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory() as folder:
        files = {name: scaled(scale, Path(folder) / f"{name.replace(' ', '_')}.onnx") for name, scale in SCALES.items()}
        policy = cervello.load(files["as it is"], wrappers="auto", seed=1)
        record(policy, n, Path(folder) / "play.log")
        report = evaluation.evaluate(Path(folder) / "play.log", files, head=heads.Categorical("logits"),
                                     estimators=["cwpdis", "pdis", "agreement"], horizon=HORIZON)
        print(report)
        print()
        for name, path in files.items():
            value, error = true_value(cervello.load(path, wrappers="auto", seed=2), n)
            estimate = report[name]["cwpdis"]
            print(f"{name}: offline {estimate.value:.3f}, by play {value:.3f} ± {2 * error:.3f}, off by "
                  f"{abs(estimate.value - value):.3f}, {estimate.verdict}")
        best = report.best
        policy.replace(best.path)
        print(f"swapped in: {best.name}, version {policy.version}")


if __name__ == "__main__":
    main()
