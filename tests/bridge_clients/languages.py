"""How a client of each language is built and run with what the machine has."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from godot_project import DRIVER, write_project
from golden import CLIENTS

HERE = Path(__file__).resolve().parent
TIME_LIMIT_S = 60
ENGLISH = {"LC_ALL": "en_US", "LANG": "en_US", "LANGUAGE": "en"}  # Godot complains of others

DOTNET_LIBRARIES = ("System.Private.CoreLib", "System.Runtime", "System.Collections", "System.Console", "System.IO.FileSystem",
                    "System.Linq", "System.Net.NameResolution", "System.Net.Primitives", "System.Net.Sockets", "System.Runtime.Extensions",
                    "System.Threading", "System.Threading.Tasks", "Microsoft.Win32.Primitives")


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
      schemes: the transports of the client.
    """

    build: Callable[[Path], list[str]]
    strings_only: bool = False
    lists_only: bool = False
    schemes: tuple[str, ...] = ("tcp",)


def is_godot(command: list[str]) -> bool:
    """Whether the driver is a Godot project."""
    return "--path" in command


def run(command: list[str], *arguments: str, given: str = "") -> list[str]:
    """The lines that a driver prints; the test fails where it ends with another exit status than 0 or says anything on stderr.

    Godot takes its arguments from the environment and prints lines of its own; a driver's begin with `> ` there.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".hex") as file:
        file.write(given)
        file.flush()
        if given:
            arguments = (*arguments, file.name)
        godot = is_godot(command)
        line = [*command] if godot else [*command, *arguments]
        done = subprocess.run(line, input=given, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False,
                              env=os.environ | ENGLISH | {"DRIVER": " ".join(arguments)})
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-2000:] or done.stdout[-2000:]
    lines = done.stdout.splitlines()
    return [line.removeprefix("> ") for line in lines if line.startswith("> ")] if godot else lines


def _javascript(folder: Path) -> list[str]:
    node = tool("node")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True, timeout=TIME_LIMIT_S).stdout
    flags = ["--experimental-websocket"] if version.startswith("v20.") else []  # without a flag from 22 on
    return [node, *flags, str(HERE / "javascript" / "driver.mjs")]


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


def godot_4() -> list[str]:
    """The command of a Godot 4 without a screen."""
    engine = tool("godot4", "godot")
    version = subprocess.run([engine, "--version"], capture_output=True, text=True, check=True, timeout=TIME_LIMIT_S).stdout
    if not version.startswith("4."):
        pytest.skip(f"{engine} is Godot {version.strip()}, not 4")
    return [engine, "--headless"]


def _godot_4(folder: Path) -> list[str]:
    write_project(folder, DRIVER)
    return [*godot_4(), "--path", str(folder)]


def lua(interpreter: str) -> list[str]:
    """The command of an interpreter that has LuaSocket."""
    command = tool(interpreter)
    if subprocess.run([command, "-e", "require 'socket'"], capture_output=True, check=False, timeout=TIME_LIMIT_S).returncode:
        pytest.skip(f"{interpreter} has no LuaSocket (Debian's lua-socket)")
    return [command]


def _lua(folder: Path, interpreter: str = "lua5.1") -> list[str]:
    return ["env", f"CERVELLO_LUA={CLIENTS / 'lua'}", *lua(interpreter), str(HERE / "lua" / "driver.lua")]


def _luajit(folder: Path) -> list[str]:
    return _lua(folder, "luajit")


def _love(folder: Path) -> list[str]:
    """LÖVE without a window, whose main.lua runs the same driver."""
    unused = "".join(f"  conf.modules.{each} = false\n" for each in ("audio", "graphics", "joystick", "window"))
    (folder / "conf.lua").write_text(f"function love.conf(conf)\n{unused}end\n")
    (folder / "main.lua").write_text('arg = love.arg.parseGameArguments(arg)\ndofile(os.getenv("DRIVER_LUA"))\nos.exit(0)\n')
    settings = {"CERVELLO_LUA": CLIENTS / "lua", "DRIVER_LUA": HERE / "lua" / "driver.lua", "SDL_VIDEODRIVER": "dummy",
                "XDG_RUNTIME_DIR": folder}  # SDL complains without
    return ["env", *(f"{name}={value}" for name, value in settings.items()), tool("love"), str(folder)]


def _compiled_csharp(folder: Path, *options: str) -> str:
    made = folder / "Driver.exe"
    sources = [str(CLIENTS / "csharp" / "Cervello.cs"), str(HERE / "csharp" / "Driver.cs")]
    subprocess.run([tool("mcs"), "-langversion:7", *options, f"-out:{made}", *sources], check=True, timeout=TIME_LIMIT_S)
    return str(made)


def _csharp(folder: Path) -> list[str]:
    return [tool("mono"), _compiled_csharp(folder, "-warnaserror")]


def _dotnet(folder: Path) -> list[str]:
    """.NET, the machine's or that of PyPI's package dotnetcore2. Mono's compiler makes the program, against .NET's libraries."""
    package = find_spec("dotnetcore2")
    runtime = tool("dotnet", *(str(Path(place) / "bin" / "dotnet") for place in (package and package.submodule_search_locations) or ()))
    listed = subprocess.run([runtime, "--list-runtimes"], capture_output=True, text=True, check=True, timeout=TIME_LIMIT_S).stdout
    _, version, place = re.findall(r"^(Microsoft\.NETCore\.App) (\S+) \[(.*?)\]", listed, re.M)[-1]
    settings = {"framework": {"name": "Microsoft.NETCore.App", "version": version},
                "configProperties": {"System.Globalization.Invariant": True}}  # no ICU
    (folder / "driver.json").write_text(json.dumps({"runtimeOptions": settings}))
    references = [f"-r:{Path(place) / version / name}.dll" for name in DOTNET_LIBRARIES]
    program = _compiled_csharp(folder, "-nostdlib", "-noconfig", "-sdk:none", "-nowarn:1702", *references)
    return [runtime, "exec", "--runtimeconfig", str(folder / "driver.json"), program]


LANGUAGES = {
    "javascript": Language(_javascript, schemes=("tcp", "ws")), "c": Language(_c_checked), "c++": Language(_cpp),
    "godot3": Language(_godot_3, schemes=("tcp", "ws")), "godot4": Language(_godot_4, schemes=("tcp", "ws")), "csharp": Language(_csharp),
    "dotnet": Language(_dotnet),
    "lua5.1": Language(_lua, strings_only=True, lists_only=True, schemes=("tcp", "unix")),
    "luajit": Language(_luajit, strings_only=True, lists_only=True, schemes=("tcp", "unix")),
    "love": Language(_love, strings_only=True, lists_only=True)}

__all__ = ["CLIENTS", "ENGLISH", "LANGUAGES", "Language", "godot_4", "is_godot", "lua", "run", "tool"]
