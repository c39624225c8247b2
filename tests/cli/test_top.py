"""`cervello top` at a server that runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import small_models
from serving import Running, served

import cervello as package


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with served({"npc": package.load(small_models.feed_forward())}, tmp_path) as running:
        yield running


def test_policies_are_listed(server: Running, cervello: Callable[..., Any]) -> None:
    said = cervello("top", server.address, "-n", 1)
    assert (said.status, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0] == f"{server.address}: 1 connections"
    assert lines[1].split()[:3] == ["policy", "version", "agents"]
    assert lines[-1].split()[:3] == ["npc", "1", "0"]


def test_json_is_an_object_a_line(server: Running, cervello: Callable[..., Any]) -> None:
    said = cervello("top", server.address, "-n", 2, "--interval", "0", "--json")
    looks = [json.loads(line) for line in said.out.splitlines()]
    assert len(looks) == 2
    assert list(looks[0]["policies"]) == ["npc"]
    assert looks[0]["policies"]["npc"]["agents"] == 0


def test_a_narrow_terminal_keeps_what_matters(server: Running, cervello: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = cervello("top", server.address, "-n", 1)
    assert max(map(len, said.out.splitlines())) <= 80
    assert {"policy", "agents", "p50", "p99", "errors"} <= set(said.out.split())
