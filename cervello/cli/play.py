"""`cervello play`: policies compared in an environment of Gymnasium, or against each other in one of PettingZoo."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cervello.cli import compiling, options, pictures
from cervello.cli.formatting import plain, plural
from cervello.cli.terminal import Terminal
from cervello.errors import CervelloError, ConfigurationError

if TYPE_CHECKING:
    from cervello.agents import Policy
    from cervello.envs import PlayResult
    from cervello.recording import Writer

SUMMARY = "play policies in an environment of Gymnasium or PettingZoo and compare their returns"
EXAMPLES: tuple[str, ...] = ("cervello play CartPole-v1 old.onnx new.onnx --picture returns.svg",
                              "cervello play pettingzoo.classic.tictactoe_v3:env a.onnx b.onnx")
_MOST_EPISODES = 1_000_000
_MOST_ENVIRONMENTS = 10_000


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("environment", metavar="ENV", help="id of a registered environment, module:id of one that the module registers, or "
                        "module:function of a module that makes it, as in pettingzoo.classic.tictactoe_v3:env")
    parser.add_argument("policies", metavar="POLICY", nargs="+", type=Path, help="policy files (.onnx)")
    parser.add_argument("--episodes", metavar="E", type=_episodes, default=100, help="of each policy, on the same seeds (default: 100)")
    parser.add_argument("--seed", metavar="S", type=_seed, default=0, help="of episodes and noise (default: 0)")
    parser.add_argument("--deterministic", action="store_true", help="no noise: means and modes")
    parser.add_argument("--n-envs", metavar="N", type=_environments, default=1, help="environments at once (default: 1)")
    parser.add_argument("--max-steps", metavar="T", type=options.rows, help="cut episodes after so many steps (default: never)")
    parser.add_argument("--seat", metavar="PATTERN", action="append", help="agents of a PettingZoo environment that one policy plays, as "
                        "in 'red_*'; once for each seat (default: each possible agent is one)")
    parser.add_argument("--box", choices=("clip", "unscale"),
                        help="how float actions enter a bounded Box, which asks for it: clip for PPO and A2C, unscale for SAC, TD3, DDPG")
    parser.add_argument("--action", metavar="OUTPUT", help="the output that is the action, or holds its logits or values (default: the "
                        "only one, or the one called action, actions or logits)")
    parser.add_argument("--greedy", metavar="EPSILON", type=options.fraction, help="the output holds values: the best action, with this "
                        "probability, 0 to 1, any (default: no values)")
    pictures.add(parser, "the returns, of games the returns against each other", "--plot")
    parser.add_argument("--record", metavar="FILE", type=Path, help="also write every episode to a log, after the episodes that it holds "
                        "already; `cervello evaluate` reads it, and needs actions that are drawn (--action with the output of the logits)")
    parser.add_argument("--video", metavar="DIR", type=Path, help="also film every episode with Gymnasium's recorder; needs moviepy")
    options.add_json(parser)


def execute(arguments: argparse.Namespace, terminal: Terminal) -> None:
    from cervello import envs

    if arguments.video is not None and importlib.util.find_spec("moviepy") is None:
        raise ConfigurationError("play, --video: expected the package moviepy, got none; install the extra 'video', or leave it out")
    game = _game(arguments)
    if game is not None:
        _games(game, arguments, terminal)
        return
    if arguments.seat:
        raise ConfigurationError(f"play, --seat: expected none for an environment in which one policy plays, got {arguments.seat}")
    names = _names(arguments.policies)
    with compiling.shown(terminal), terminal.busy("loading"):
        policies = {name: _loaded(path, arguments) for name, path in zip(names, arguments.policies, strict=True)}
    writer = _writer(arguments)
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
    _report(result, arguments, terminal, writer)


def _report(result: PlayResult, arguments: argparse.Namespace, terminal: Terminal, writer: Writer | None) -> None:
    """Prints and draws the result, and says what the writer of --record has recorded."""
    if arguments.json:
        terminal.write(result.to_json())
    else:
        _print(result, terminal)
    if arguments.picture is not None:
        pictures.write(result.to_svg(), arguments.picture, arguments)
    recorded = ""
    if writer is not None:
        recorded = f" ({plural(writer.n_recorded, 'episode')}{' added to those that it held' if writer.continues else ''})"
    for what, path, more in (("picture", arguments.picture, ""), ("record", arguments.record, recorded), ("films", arguments.video, "")):
        if path is not None:
            terminal.remark(f"{what}: {plain(str(path))}{more}")


def _print(result: PlayResult, terminal: Terminal) -> None:
    """The text of the result, its tables as wide as the terminal."""
    terminal.print(f"{plain(result.title)}: {plain(result.notes())}")
    (name, mean, interval, *others), *rows = result.rows()
    table = terminal.table([f"~{name}", f">{mean}", f">{interval}", *(f"?>{other}" for other in others)])
    for cells in rows:
        table.add_row(*map(plain, cells))
    terminal.print(table)
    if result.cross_play is not None:
        (name, *against), *rows = result.cross_play.rows()
        table = terminal.table([f"~{name}", *(f"~>{plain(each)}" for each in against)])
        for cells in rows:
            table.add_row(*map(plain, cells))
        terminal.print(table)
    for line in result.remarks():
        terminal.print(plain(line))


def _game(arguments: argparse.Namespace) -> Any:
    """The environment, where it is one of PettingZoo; None for others."""
    import gymnasium

    from cervello.envs.named import imported_maker, is_game

    make = imported_maker("play", arguments.environment)
    if make is None:
        return None
    env = make()
    if is_game(env):
        return env
    if not isinstance(env, gymnasium.Env):
        raise ConfigurationError(f"play, ENV: expected a function that makes an environment of Gymnasium or PettingZoo, got "
                                 f"{arguments.environment!r}, which makes {type(env).__name__}")
    env.close()
    return None


def _games(env: Any, arguments: argparse.Namespace, terminal: Terminal) -> None:
    """Policies against each other."""
    from cervello import envs

    game, writer = env, None
    try:
        for name, given, most in (("--video", arguments.video, None), ("--n-envs", arguments.n_envs, 1)):
            if given != most:
                raise ConfigurationError(f"play, {name}: expected none for an environment of PettingZoo, got {given}; leave it out")
        names = _names(arguments.policies)
        with compiling.shown(terminal), terminal.busy("loading"):
            policies = {name: _for_seats(env, path, arguments) for name, path in zip(names, arguments.policies, strict=True)}
        writer = _writer(arguments)
        if writer is not None:
            game = envs.Recorder(env, writer)
        with terminal.bar("playing") as bar:
            result = envs.play(game, policies, episodes=arguments.episodes,
                               seed=arguments.seed, deterministic=arguments.deterministic, max_steps=arguments.max_steps,
                               seats=arguments.seat, progress=lambda done, total, who: bar.show(done, total, plain(who)))
    finally:
        game.close()
        if writer is not None:
            writer.close()
    _report(dataclasses.replace(result, title=arguments.environment), arguments, terminal, writer)


def _for_seats(env: Any, path: Path, arguments: argparse.Namespace) -> dict[str, Policy]:
    """The policy by seat, loaded once for equal spaces."""
    import gymnasium

    from cervello.envs.cross_play import seat_spaces

    loaded: dict[str, Policy] = {}
    found = {}
    seats = seat_spaces(env, arguments.seat, arguments.seed)
    boxes = any(isinstance(agents[0][1][1], gymnasium.spaces.Box) for agents in seats.values())  # --box is for those seats
    for seat, agents in seats.items():
        _, spaces = agents[0]
        box = arguments.box if isinstance(spaces[1], gymnasium.spaces.Box) or not boxes else None
        if repr(spaces) not in loaded:
            loaded[repr(spaces)] = _load(path, spaces, box, arguments)
        found[seat] = loaded[repr(spaces)]
    return found


def _writer(arguments: argparse.Namespace) -> Writer | None:
    """The writer of --record."""
    from cervello import recording

    if arguments.record is None:
        return None
    try:
        return recording.Writer(arguments.record, metadata={"environment": arguments.environment})
    except CervelloError as error:
        raise type(error)(f"play, --record: {error}") from error


def _loaded(path: Path, arguments: argparse.Namespace) -> Policy:
    """The policy, for the spaces of the environment."""
    env = _made(arguments.environment)
    try:
        return _load(path, env, arguments.box, arguments)
    finally:
        env.close()


def _load(path: Path, spaces: Any, box: Any, arguments: argparse.Namespace) -> Policy:
    """The policy; errors that say how to make its `Spaces` name the options that do so here."""
    from cervello import envs, load

    try:
        return load(path, wrappers="auto", seed=arguments.seed, spaces=envs.Spaces(
            spaces, box=box, action=arguments.action, greedy=arguments.greedy))
    except CervelloError as error:
        if "Spaces(" not in str(error):
            raise
        raise type(error)(f"{error} (on the command line: --box, --action, --greedy)") from error


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

    from cervello.envs.named import imported_maker

    make = imported_maker("play", environment)
    if make is not None:
        return make() if render_mode is None else make(render_mode=render_mode)
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


def _environments(text: str) -> int:
    return options.whole(text, 1, _MOST_ENVIRONMENTS)


def _seed(text: str) -> int:
    return options.whole(text, 0, 2**63 - 1)
