"""`cervello play`: policies compared in a Gymnasium environment, on the same episodes."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cervello.cli import compiling, options
from cervello.cli.terminal import Terminal
from cervello.cli.wording import plain
from cervello.errors import ConfigurationError

if TYPE_CHECKING:
    from cervello.agents import Policy
    from cervello.recording import Writer

SUMMARY = "play policies in a Gymnasium environment and compare their returns"
_MOST_EPISODES = 1_000_000


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("environment", metavar="ENV", help="id of a registered environment; module:id imports the module first")
    parser.add_argument("policies", metavar="POLICY", nargs="+", type=Path, help="policy files (.onnx)")
    parser.add_argument("--episodes", metavar="E", type=_episodes, default=100, help="of each policy, on the same seeds (default: 100)")
    parser.add_argument("--seed", metavar="S", type=_seed, default=0, help="of episodes and noise (default: 0)")
    parser.add_argument("--deterministic", action="store_true", help="no noise: means and modes")
    parser.add_argument("--n-envs", metavar="N", type=options.rows, default=1, help="environments at once (default: 1)")
    parser.add_argument("--max-steps", metavar="T", type=options.rows, help="cut episodes after so many steps")
    parser.add_argument("--box", choices=("clip", "unscale"),
                        help="how float actions enter a bounded Box: clip for PPO and A2C, unscale for SAC, TD3 and DDPG")
    parser.add_argument("--action", metavar="OUTPUT", help="the output that is the action, or holds its logits or values")
    parser.add_argument("--greedy", metavar="EPSILON", type=float,
                        help="the output holds values: the best action, with this probability any")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="also draw the returns (SVG)")
    parser.add_argument("--record", metavar="FILE", type=Path, help="also write every episode to a log; see recording.read")
    parser.add_argument("--video", metavar="DIR", type=Path, help="also film every episode with Gymnasium's recorder; needs moviepy")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def execute(arguments: argparse.Namespace, terminal: Terminal) -> None:
    from cervello import envs, recording

    if arguments.video is not None and importlib.util.find_spec("moviepy") is None:
        raise ConfigurationError("play, --video: expected the package moviepy, got none; pip install 'cervello[video]', or leave it out")
    names = _names(arguments.policies)
    with compiling.shown(terminal):
        policies = {name: _loaded(path, arguments) for name, path in zip(names, arguments.policies, strict=True)}
    writer = None if arguments.record is None else recording.Writer(arguments.record, metadata={"environment": arguments.environment})
    total = arguments.episodes * len(policies)
    results: list[envs.PlayResult] = []
    try:
        with terminal.bar("playing", total) as bar:
            for name, policy in policies.items():  # one after the other, so that films and records are those of one policy
                def show(done: int, in_all: int, whose: str) -> None:
                    bar.show(done + arguments.episodes * len(results), total, plain(whose))

                results.append(envs.play(_maker(arguments, name, writer), {name: policy}, episodes=arguments.episodes, seed=arguments.seed,
                                         n_envs=arguments.n_envs, deterministic=arguments.deterministic, max_steps=arguments.max_steps,
                                         progress=show))
    finally:
        if writer is not None:
            writer.close()
    result = dataclasses.replace(results[0], title=arguments.environment, policies={
        name: returns for each in results for name, returns in each.items()})
    if arguments.plot is not None:
        result.to_svg(arguments.plot)
    terminal.write(result.to_json() if arguments.json else str(result))
    for what, path in (("picture", arguments.plot), ("record", arguments.record), ("films", arguments.video)):
        if path is not None:
            terminal.remark(f"{what}: {plain(str(path))}")


def _loaded(path: Path, arguments: argparse.Namespace) -> Policy:
    """The policy, for the spaces of the environment."""
    from cervello import envs, load

    env = _made(arguments.environment)
    try:
        return load(path, wrappers="auto", seed=arguments.seed, spaces=envs.Spaces(
            env, box=arguments.box, action=arguments.action, greedy=arguments.greedy))
    finally:
        env.close()


def _maker(arguments: argparse.Namespace, name: str, writer: Writer | None) -> Callable[[], Any]:
    """A function that makes one of a policy's environments."""
    from gymnasium.wrappers import RecordVideo

    from cervello import envs

    made = 0

    def make() -> Any:
        nonlocal made
        made += 1
        env = _made(arguments.environment, None if arguments.video is None else "rgb_array")
        if arguments.video is not None:
            number = made - 1
            share = -(-max(arguments.episodes - number, 0) // arguments.n_envs)  # the episodes that count
            prefix = "".join(c if c.isalnum() or c in "-_." else "_" for c in name) + (f"-env{number}" if arguments.n_envs > 1 else "")
            env = RecordVideo(env, str(arguments.video), episode_trigger=lambda episode: episode < share, name_prefix=prefix,
                              disable_logger=True)
        return env if writer is None else envs.Recorder(env, writer)

    return make


def _made(environment: str, render_mode: str | None = None) -> Any:
    import gymnasium

    try:
        return gymnasium.make(environment, render_mode=render_mode)
    except (gymnasium.error.Error, ImportError) as error:
        raise ConfigurationError(f"play, ENV: expected the id of an environment that can be made here, got {environment!r}: {error}"
                                 ) from error


def _names(paths: list[Path]) -> list[str]:
    """The files' stems; of files of one stem, their paths."""
    stems = [path.stem for path in paths]
    names = [stem if stems.count(stem) == 1 else str(path) for stem, path in zip(stems, paths, strict=True)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigurationError(f"play, POLICY: expected every file once, got {twice!r} twice")
    return names


def _episodes(text: str) -> int:
    return options.whole(text, 1, _MOST_EPISODES)


def _seed(text: str) -> int:
    return options.whole(text, 0, 2**63 - 1)
