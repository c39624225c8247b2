"""Atari: pictures of uint8, frames that are skipped, lives that are lost, rewards that are clipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from small_models import FLOAT, dense, graph, node

import cervello
from cervello import envs, recording

ale_py = pytest.importorskip("ale_py", reason="ale-py")
pytest.importorskip("cv2", reason="opencv-python-headless")
gymnasium.register_envs(ale_py)
ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
ACTIONS = 9  # of MsPacman


def raw(frames: int) -> Any:
    """Some 270 frames go by before anything moves; then there are ten points for each pill."""
    return gymnasium.make("ALE/MsPacman-v5", frameskip=1, repeat_action_probability=0.0, max_num_frames_per_episode=frames)


def pictures(frames: int = 360) -> Any:
    """(84, 84, 1) of every fourth frame."""
    return gymnasium.wrappers.AtariPreprocessing(raw(frames), noop_max=5, grayscale_newaxis=True)


def model(channels: int = 1, skipped: float = 1 / 255) -> bytes:
    """image [N, channels, 84, 84] → logits [N, 9]; `skipped` scales the pixels."""
    nodes = [node("Mul", "image scale", "scaled"), node("Conv", "scaled k", "seen", strides=[6, 6]), node("Relu", "seen", "on"),
             node("Flatten", "on", "flat"), node("MatMul", "flat w", "logits")]
    return graph(nodes, {"image": (FLOAT, ("N", channels, 84, 84))}, {"logits": (FLOAT, ("N", ACTIONS))},
                 {"scale": np.float32(skipped), "k": dense(4, channels, 8, 8), "w": dense(4 * 13 * 13, ACTIONS)})


def policy_of(**options: Any) -> cervello.Policy:
    """It looks at one picture, (84, 84, 1)."""
    wrappers = [cervello.Image("image"), cervello.Sample(cervello.heads.Categorical("logits"))]
    return cervello.load(model(skipped=1.0), wrappers=wrappers, spaces=pictures(), **options)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, envs.PlayResult, list[recording.Episode]]:
    path = tmp_path_factory.mktemp("pixels") / "log"
    with recording.Writer(path, observation_space=pictures().observation_space, action_space=pictures().action_space) as writer:
        result = envs.play(lambda: envs.Recorder(pictures(), writer), policy_of(), episodes=2, n_envs=2, seed=1)
    return path, result, [each for each in recording.read(path) if each.finished]


def test_pictures_are_recorded_bit_for_bit(recorded: Any) -> None:
    _, result, episodes = recorded
    env = pictures()
    assert result.seeds is not None
    found = {each.seed: each for each in episodes}
    for seed in result.seeds:
        episode = found[seed]
        observation, _ = env.reset(seed=seed)
        shown = [observation]
        for action in episode.actions:
            observation, *_ = env.step(int(action))
            shown.append(observation)
        expected = np.stack(shown)
        assert (episode.observations.dtype, episode.observations.shape) == (np.uint8, (len(episode) + 1, 84, 84, 1))
        assert episode.observations.tobytes() == expected.tobytes()
        assert len(np.unique(expected)) > 10


def test_pictures_go_to_minari_and_back_bit_for_bit(recorded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Minari itself would store them as JPEG."""
    pytest.importorskip("minari", reason="the extra minari")
    pytest.importorskip("h5py", reason="the extra minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    path, _, episodes = recorded
    recording.to_minari(path, "pixels/pacman-v0")
    for ours, theirs in zip(episodes, recording.read(minari="pixels/pacman-v0"), strict=True):
        assert ours.observations.tobytes() == theirs.observations.tobytes()
        assert ours.actions.tolist() == theirs.actions.tolist()
        steps = len(theirs) + 1  # the game tells its seeds at the reset alone; all rows of the infos have them
        assert theirs.infos["seeds"].shape == (steps, 2)
        assert theirs.infos["_seeds"].tolist() == [True] + [False] * (steps - 1)
        assert theirs.infos["lives"].shape == (steps,)


def test_rewards_are_those_of_all_frames_whatever_is_made_of_them(recorded: Any) -> None:
    """Frames are skipped, random steps are taken at each reset, rewards are clipped to 1; the game itself pays tens."""
    def trainer() -> Any:
        return gymnasium.wrappers.ClipReward(pictures(), -1, 1)

    _, plain, episodes = recorded
    returns = plain["model"].returns
    assert returns.tolist() == [each.total_reward for seed in plain.seeds for each in episodes if each.seed == seed]
    assert (returns >= 20).all()
    assert (returns % 10 == 0).all()
    env = SyncVectorEnv([trainer] * 2, autoreset_mode=AutoresetMode.DISABLED)
    assert envs.play(env, policy_of(), episodes=2, seed=1)["model"].returns.tolist() == returns.tolist()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_last_pictures_are_those_of_their_episode_in_each_mode(mode: AutoresetMode) -> None:
    """What one step shows as the next picture is what the next step decides on, but for the first of an episode."""
    columns = envs.rollout(SyncVectorEnv([pictures] * 2, autoreset_mode=mode), policy_of(), steps=95, seed=1).columns()
    over = columns.terminated | columns.truncated
    assert over.sum() >= 2
    for row in range(2):
        for t in range(94):
            same = columns.next_observation[t, row].tobytes() == columns.observation[t + 1, row].tobytes()
            if columns.valid[t, row] and not over[t, row]:
                assert same
            if over[t, row] and mode is not AutoresetMode.NEXT_STEP:
                assert not same


def test_frames_stacked_by_the_policy_are_those_that_the_environment_stacks() -> None:
    """Also after an episode's end: nothing of the last one is left in the stack."""
    def stacked() -> Any:
        return gymnasium.wrappers.FrameStackObservation(single(), 4, padding_type="reset")

    def single() -> Any:
        return gymnasium.wrappers.AtariPreprocessing(raw(120), noop_max=5)

    head = cervello.Sample(cervello.heads.Categorical("logits"))
    outer = cervello.load(model(4), wrappers=[head], spaces=stacked(), seed=3)
    inner = cervello.load(model(4), wrappers=[cervello.FrameStack("image", 4, drop_axis=True), head], spaces=single(), seed=3)
    runs = [envs.rollout(make, policy, steps=40, n_envs=2, seed=4).columns() for make, policy in ((stacked, outer), (single, inner))]
    assert runs[0].action.tolist() == runs[1].action.tolist()
    assert runs[0].outputs["logits"].tobytes() == runs[1].outputs["logits"].tobytes()
    assert (runs[0].terminated | runs[0].truncated).sum() >= 2


@pytest.mark.filterwarnings("ignore:.*precision lowered by casting")  # of EnvPool's own spaces
def test_envpool_shows_the_same_pictures_in_both_forms() -> None:
    envpool = pytest.importorskip("envpool")
    rows = 3

    def pool(batch: int) -> Any:
        return envpool.make("MsPacman-v5", env_type="gymnasium", num_envs=rows, batch_size=batch, seed=3, num_threads=1,
                            max_episode_steps=15, noop_max=2)

    policy = cervello.load(model(4), wrappers="auto", spaces=pool(rows), seed=1)
    found = []
    for batch, steps in ((rows, 36), (1, 108)):
        seen: list[list[Any]] = [[] for _ in range(rows)]
        for step in envs.rollout(pool(batch), policy, steps=steps):
            assert step.observation.dtype == np.uint8
            for i, row in enumerate(step.env_id.tolist()):
                if step.valid[i]:
                    seen[row].append((step.observation[i].tobytes(), int(step.action[i]), step.next_observation[i].tobytes(),
                                      bool(step.truncated[i])))
        found.append(seen)
    for one, other in zip(*found, strict=True):
        length = min(len(one), len(other))
        assert length > 30
        assert one[:length] == other[:length]
        assert any(over for *_, over in one)
