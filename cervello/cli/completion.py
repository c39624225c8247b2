"""`cervello completion`: a script that completes the command line in a shell. The script is shtab's; no Python runs while you type."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from cervello.cli.pictures import picture_file
from cervello.cli.terminal import Terminal
from cervello.errors import ConfigurationError

SUMMARY = "print a script that completes commands, options and files in a shell"
EXAMPLES: tuple[str, ...] = ("cervello completion bash > ~/.bash_completion.d/cervello",
                              "cervello completion zsh > ~/.zfunc/_cervello",
                              "cervello completion fish > ~/.config/fish/completions/cervello.fish")
_SHELLS = ("bash", "zsh", "fish", "powershell")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=_SHELLS, help="the shell that the script is for")


def execute(arguments: argparse.Namespace, terminal: Terminal) -> None:
    try:
        import shtab
    except ImportError as error:
        raise ConfigurationError(f"completion: expected the package shtab, got {error}; install the extra 'completion'") from error
    for action in _actions(arguments.parser):
        if action.type in (Path, picture_file):
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # the attribute that shtab reads
    terminal.write(shtab.complete(arguments.parser, shell=arguments.shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All options and arguments, those of the commands too."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _actions(child)
