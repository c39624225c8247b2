"""What refusals and objects of the bridge say to a person."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_models
from serving import served

import cervello
from cervello import bridge
from cervello.cli import main


def brain() -> cervello.Policy:
    return cervello.load(small_models.counter(), wrappers="auto")


def test_an_ended_agent_is_not_asked_to_begin_when_it_ends_again(tmp_path: Path) -> None:
    with served({"sum": brain()}, tmp_path) as running, bridge.Client(running.address) as client:
        policy = client.policy("sum")
        policy.begin([1])
        policy.end([1], wait=True)
        with pytest.raises(cervello.RefusedError, match="1 first; they have ended already, or never begun; leave them out"):
            policy.end([1], wait=True)
        with pytest.raises(cervello.RefusedError, match="1 first; begin them"):
            policy.infer([1], {"obs": [[1.0]]}).result()
        with pytest.raises(cervello.RefusedError, match="expected distinct ids, got one twice; name each agent once"):
            policy.begin([2, 2])


def test_the_columns_of_a_remote_policy_are_printed(tmp_path: Path) -> None:
    with served({"sum": brain()}, tmp_path) as running, bridge.Client(running.address) as client:
        assert repr(client.policy("sum").columns) == ("Columns('sum', inputs={obs: (1,) float32}, outputs={action: (1,) float32}, "
                                                      "constants=[])")


def test_top_counts_one_connection_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served({"sum": brain()}, tmp_path) as running:
        assert main(["top", running.address, "-n", "1"]) == 0
        assert f"{running.address}: 1 connection\n" in capsys.readouterr().out


def test_a_client_with_a_long_name_is_told_its_length(tmp_path: Path) -> None:
    with served({"sum": brain()}, tmp_path) as running:
        with pytest.raises(cervello.RefusedError, match="client: expected a name of 1 to 256 bytes, got 258 bytes"):
            bridge.Client(running.address, name="é" * 129)
        with pytest.raises(cervello.RefusedError, match="client: expected a name of 1 to 256 bytes, got 0 bytes"):
            bridge.Client(running.address, name="")
