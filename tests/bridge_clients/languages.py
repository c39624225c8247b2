"""How a client of each language is built and run with what the machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from golden import CLIENTS

HERE = Path(__file__).resolve().parent
TIME_LIMIT_S = 60


def tool(*names: str) -> str:
    """The first of these programs that the machine has; else the test is skipped, by name."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(names)} is installed")
    return found


@dataclass(frozen=True)
class Language:
    """One client.

    Attributes:
      build: gives the command of the language's driver; its arguments are a scenario, an address and what the scenario takes.
      strings_only: the language has one type for str and bin.
      lists_only: it has one for empty arrays and maps.
    """

    build: Callable[[Path], list[str]]
    strings_only: bool = False
    lists_only: bool = False


def run(command: list[str], *arguments: str, given: str = "") -> list[str]:
    """The lines that a driver prints; the test fails where it ends with another exit status than 0 or says anything on stderr.

    Godot takes its arguments from the environment and prints lines of its own; a driver's begin with `> ` there.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".hex") as file:
        file.write(given)
        file.flush()
        if given:
            arguments = (*arguments, file.name)
        godot = "--script" in command
        line = [*command] if godot else [*command, *arguments]
        done = subprocess.run(line, input=given, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False,
                              env=os.environ | {"DRIVER": " ".join(arguments), "LC_ALL": "en_US", "LANG": "en_US", "LANGUAGE": "en"})
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-2000:] or done.stdout[-2000:]
    lines = done.stdout.splitlines()
    return [line.removeprefix("> ") for line in lines if line.startswith("> ")] if godot else lines


def _javascript(folder: Path) -> list[str]:
    return [tool("node"), str(HERE / "javascript" / "driver.mjs")]


def _c(folder: Path, *options: str, compiler: str = "gcc") -> list[str]:
    made = folder / "driver"
    subprocess.run([tool(compiler), *options, "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-I", str(CLIENTS / "c"),
                    str(HERE / "c" / "driver.c"), "-o", str(made)], check=True, timeout=TIME_LIMIT_S)
    return [str(made)]


def _c_checked(folder: Path) -> list[str]:
    return _c(folder, "-std=c99", "-pedantic", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def _cpp(folder: Path) -> list[str]:
    return _c(folder, "-x", "c++", "-std=c++17", compiler="g++")


def _godot_3(folder: Path) -> list[str]:
    for source in (CLIENTS / "godot" / "cervello_codec.gd", CLIENTS / "godot" / "cervello_client_3.gd", HERE / "godot" / "driver_3.gd"):
        shutil.copy(source, folder)
    (folder / "project.godot").write_text("config_version=4\n")
    return [tool("godot3-server"), "--path", str(folder), "--script", "res://driver_3.gd"]


LANGUAGES = {"javascript": Language(_javascript), "c": Language(_c_checked), "c++": Language(_cpp),
             "godot3": Language(_godot_3)}

__all__ = ["CLIENTS", "LANGUAGES", "Language", "run", "tool"]
