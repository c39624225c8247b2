"""The `cervello` command: `main`, one module per subcommand, and the only place of tables and colours.

    terminal     where a command speaks: results, remarks, progress bars
    table        tables and lists of facts that fit the terminal
    compiling    the bar shown while kernels compile for the first time
    formatting   numbers and names as people read them
    options      argument types that commands share
    observations random ones, for commands that run a policy
    pictures     SVG and PNG files, and the options that ask for them
    demo, run, play, api, plan, benchmark, profile, compare, doctor, evaluate, serve, top, warmup, describe, package, unpack, completion
                 the commands: SUMMARY, EXAMPLES, configure(parser), execute(options, terminal)

Results go to stdout; progress, remarks and errors to stderr. The exit status is the same everywhere:

    0    done
    1    done, and the answer is no: `compare` found a difference, `doctor` something to attend to, `profile --leaks` a leak, `evaluate
         --certify` a check that failed, `serve` gave something up when it stopped
    2    an error of the command line, the files or the machine, in one line on stderr
    130  Ctrl-C
    141  the reader of stdout has gone

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

from cervello.cli import (
    api,
    benchmark,
    compare,
    completion,
    demo,
    describe,
    doctor,
    evaluate,
    package,
    plan,
    play,
    profile,
    run,
    serve,
    top,
    unpack,
    warmup,
)
from cervello.cli.formatting import one_line
from cervello.cli.terminal import Terminal
from cervello.errors import CervelloError, did_you_mean

__all__ = ["main"]

_FAILED, _INTERRUPTED, _PIPE_CLOSED = 2, 130, 141
_HELP = 78  # columns of text that argparse does not fill


class _Command(Protocol):
    SUMMARY: str
    EXAMPLES: tuple[str, ...]

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's arguments."""

    def execute(self, options: argparse.Namespace, terminal: Terminal) -> int | None:
        """Runs the command. Returns 1 for an answer of no, else 0 or None."""


_COMMANDS: dict[str, _Command] = {
    "demo": demo, "run": run, "play": play, "api": api, "plan": plan, "benchmark": benchmark, "profile": profile,
    "compare": compare, "doctor": doctor, "evaluate": evaluate, "serve": serve, "top": top, "warmup": warmup, "describe": describe,
    "package": package, "unpack": unpack, "completion": completion}
_REMEDIES: dict[type[OSError], str] = {  # of errors whose place is a path
    FileNotFoundError: "expected a path that is there, found none; check its spelling, and make its folder first where it is to be written",
    IsADirectoryError: "expected a file, got a folder; name a file in it",
    NotADirectoryError: "expected a folder, got a file; name another one",
    FileExistsError: "expected a folder, or nothing yet, got a file; name another place",
    PermissionError: "expected a path that may be used, got permission denied; name another one, or ask its owner"}
_STATUSES = ("exit status: 0 done; 1 done, and the answer is no (a difference, a leak,\n"
             "something to attend to); 2 an error of the command line, the files or the\n"
             "machine; 130 after Ctrl-C; 141 when the reader of stdout has gone.\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status; `argv` is without the program's name, sys.argv's when None."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller, as for a daemon: what is written is lost
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  (until the process ends)
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot show must not raise
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        return _run(argv)
    except BrokenPipeError:  # `cervello plan … | head`
        # Python flushes stdout at exit and would complain again.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except KeyboardInterrupt:
        return _complain("interrupted", _INTERRUPTED)
    except (CervelloError, MemoryError, OSError) as error:
        return _complain(_message(error), _FAILED)


def _run(argv: Sequence[str] | None) -> int:
    parser = _parser()
    try:
        options, unknown = parser.parse_known_args(argv)
        if unknown:
            return _complain(_unknown(parser, options.command, unknown), _FAILED)
    except _UsageError as error:
        return _complain(str(error), _FAILED)
    except SystemExit as stop:  # --help and --version
        sys.stdout.flush()
        return int(stop.code or 0)
    options.parser = parser  # for `completion`, which is about the whole of it
    if options.command is None:
        parser.print_help(sys.stderr)
        return _FAILED
    with Terminal(quiet=options.quiet) as terminal:
        status = _COMMANDS[options.command].execute(options, terminal)
    sys.stdout.flush()
    return status or 0


def _unknown(parser: argparse.ArgumentParser, command: str | None, unknown: Sequence[str]) -> str:
    """The message about arguments that a command does not have."""
    children = next(each.choices for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    options = (children[command] if command is not None else parser)._option_string_actions
    return (f"unrecognized arguments: {' '.join(unknown)}; see {' '.join(filter(None, [parser.prog, command]))} --help"
            f"{did_you_mean(unknown[0].partition('=')[0], options)}")


def _complain(message: str, status: int) -> int:
    print(f"cervello: {one_line(message)}", file=sys.stderr)
    return status


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        remedy = next((remedy for kind, remedy in _REMEDIES.items() if isinstance(error, kind)), error.strerror)
        return f"{os.fspath(error.filename)!r}: {remedy}"
    if isinstance(error, OSError) and error.strerror:  # without its number
        return error.strerror
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}" if str(error) else "not enough memory"
    return str(error) or type(error).__name__


class _UsageError(Exception):
    """Raised for a command line that argparse refuses; the message is one line."""


class _Parser(argparse.ArgumentParser):
    """Raises instead of exiting, so that every error is printed in one place and one form."""

    _interleaving = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Takes options between arguments too, as in `evaluate play.log --seed 3 old.onnx`, where argparse of some versions of Python finds
        that POLICY may be left out and has been."""
        optional = any(each.nargs in ("?", "*") for each in self._get_positional_actions())
        if self._interleaving or not optional or self._mutually_exclusive_groups:  # argparse does not interleave these groups
            return super().parse_known_args(args, namespace)
        self._interleaving = True  # for the calls that the next one makes
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._interleaving = False

    def error(self, message: str) -> NoReturn:
        raise _UsageError(f"{message}; see {self.prog} --help")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(each) for each in action.choices]
            near = did_you_mean(value, names)
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}, expected one of {', '.join(names)}{near}")


class _Version(argparse.Action):
    """Prints versions; argparse's action needs the text in advance."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help="print the version and leave")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        import platform

        from cervello import __version__

        print(f"cervello {__version__}, Python {platform.python_version()}")
        parser.exit(0)


def _parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(
        prog="cervello", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Runs reinforcement-learning policies (ONNX files) for many agents.",
        epilog="examples:\n"
               "  cervello demo                        watch three policies play the arena game\n"
               "  cervello api racer.onnx              what the policy takes and gives\n"
               "  cervello run racer.onnx -b 64        run it for 64 agents, and time it\n"
               "  cervello compare racer.onnx --against onnxruntime\n"
               "  cervello play CartPole-v1 old.onnx new.onnx --picture returns.svg\n"
               "  cervello plan racer.onnx -b 64 --picture arena.svg\n"
               "  cervello benchmark racer.onnx -b 1-4,64   time per agent, by crowd size\n"
               "  cervello profile racer.onnx -b 64    which steps take the time\n"
               "  cervello doctor racer.onnx           what is slow, why, and what to do\n"
               "  cervello evaluate play.log old.onnx new.onnx   which is better, from logs\n"
               "  cervello serve brains/               policies for games in other languages\n\n" + _STATUSES)
    parser.add_argument("--version", action=_Version)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress and no remarks, only results and errors")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", parser_class=_Parser)
    for name, command in _COMMANDS.items():
        summary = command.SUMMARY
        child = commands.add_parser(name, help=summary, description=textwrap.fill(summary[0].upper() + summary[1:] + ".", _HELP),
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
        command.configure(child)
        # After the command too; SUPPRESS keeps a value given before it.
        child.add_argument("-q", "--quiet", action="store_true", default=argparse.SUPPRESS,
                           help="no progress and no remarks, only results and errors")
        child.add_argument("--version", action=_Version)
        examples = "".join(f"  {example}\n" for example in command.EXAMPLES)
        notes = f"\n{textwrap.fill(child.epilog, _HELP)}\n" if child.epilog else ""
        child.epilog = f"example{'s' * (len(command.EXAMPLES) > 1)}:\n{examples}{notes}"
    return parser
