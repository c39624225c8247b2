"""Recorded episodes: a crash-safe log of what policies saw, did and got, and Minari datasets. Data only.

    with recording.Writer("play.log", observation_space=env.observation_space, action_space=env.action_space) as log:
        episodes = log.begin(observation=observations)
        log.step(episodes, next_observations, actions, rewards, terminated=terminated, truncated=truncated, log_prob=log_probs)
    for episode in recording.read("play.log"):
        print(episode.total_reward, len(episode))
    recording.to_minari("play.log", "studio/hunter-v0")

`Writer` writes, `read` reads logs and Minari datasets, `to_minari` converts, `as_episode` takes episodes of other libraries.
docs/recording-format.md describes the file.
"""

from cervello.recording.episode import Episode, same
from cervello.recording.minari_columns import as_episode
from cervello.recording.minari_reading import MinariRecording
from cervello.recording.minari_writing import Converted, to_minari
from cervello.recording.reader import Log, Recording, read
from cervello.recording.writer import Writer

__all__ = ["Converted", "Episode", "Log", "MinariRecording", "Recording", "Writer", "as_episode", "read", "same", "to_minari"]
