"""`cervello evaluate`."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import offline_logs as logs
import pytest

from cervello import evaluation, recording
from cervello.cli.evaluate import ESTIMATORS


@pytest.fixture
def played(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A log, the policy that played, and another one."""
    log = tmp_path / "play.log"
    with recording.Writer(log) as writer:
        for e in logs.walks(30):
            handle = writer.begin(observation=e.observations[:1])
            for t in range(len(e)):
                writer.step(handle, e.observations[t + 1:t + 2], e.actions[t:t + 1], e.rewards[t:t + 1], terminated=e.terminations[t:t + 1],
                            log_prob=e.log_prob[t:t + 1])
    files = []
    for name, scale in (("old", 0.3), ("new", 0.5)):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(logs.logits_policy(logs.behaviour_weights(scale=scale), np.zeros(3)))
        files.append(path)
    return log, files[0], files[1]


def test_the_verdict_comes_first_and_every_estimate_has_an_interval(played: tuple[Path, ...], cervello: Callable[..., Any]) -> None:
    log, old, new = played
    said = cervello("evaluate", log, old, new, "--head", "categorical:logits", "--estimators", "wis,dr")
    assert said.status == 0
    assert said.out.split(":")[0] in ("reliable", "weak", "unsupported")
    assert sum("…" in line for line in said.out.splitlines()) == 4
    assert "note:" in said.err
    assert cervello("evaluate", log, old, "-q").err == ""  # logits are found by their name


def test_its_estimators_are_those_of_the_package() -> None:
    assert (*ESTIMATORS,) == (*evaluation.ESTIMATORS,)


def test_json_and_a_page(played: tuple[Path, ...], cervello: Callable[..., Any], tmp_path: Path) -> None:
    log, old, new = played
    page = tmp_path / "report.html"
    said = cervello("evaluate", log, old, new, "--gamma", 0.9, "--horizon", 4, "--json", "--report", page)
    found = json.loads(said.out)
    assert set(found["policies"]) == {str(old), str(new)}
    assert (found["gamma"], found["horizon"]) == (0.9, 4)
    assert found["policies"][str(old)]["estimates"]["wis"]["interval"][0] < found["policies"][str(old)]["estimates"]["wis"]["value"]
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(("text", "head"), [
    ("categorical:a:b", "Categorical('a:b')"), ("multidiscrete:logits:2,3", "MultiDiscrete('logits', [2, 3])"),
    ("bernoulli:logits", "Bernoulli('logits')"), ("gaussian:mean:log_std", "Gaussian('mean', log_std='log_std')"),
    ("tanh:mean:log_std", "TanhGaussian('mean', log_std='log_std')"), ("beta:a:b", "Beta('a', 'b')"),
    ("deterministic:action", "Deterministic('action')"),
])
def test_heads_are_described_in_a_word(text: str, head: str) -> None:
    from cervello.cli.evaluate import _head

    assert repr(_head(text)).startswith(head.removesuffix(")"))
    for wrong in ("beta:a", "multidiscrete:logits:2,x", "multidiscrete:logits:0", "gaussian::x", "categorical:"):
        with pytest.raises(argparse.ArgumentTypeError, match=re.escape(repr(wrong))):
            _head(wrong)


def test_propensities_that_nobody_logged_are_fitted(played: tuple[Path, ...], cervello: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    _, old, new = played
    silent = tmp_path / "silent.log"
    with recording.Writer(silent) as writer:
        for e in logs.walks(30):
            handle = writer.begin(observation=e.observations[:1])
            for t in range(len(e)):
                writer.step(handle, e.observations[t + 1:t + 2], e.actions[t:t + 1], e.rewards[t:t + 1], terminated=e.terminations[t:t + 1])
    said = cervello("evaluate", silent, old)
    assert (said.status, "fit_behavior" in said.err, "--behavior fit" in said.err) == (2, True, True)
    found = json.loads(cervello("evaluate", silent, old, new, "--behavior", "fit", "--json").out)
    assert found["propensities"] == "fitted"
    assert {each["verdict"] for policy in found["policies"].values() for each in policy["estimates"].values()} <= {"weak", "unsupported"}


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_workers_of_ray_give_the_same_numbers(played: tuple[Path, ...], cervello: Callable[..., Any]) -> None:
    ray = pytest.importorskip("ray")
    log, old, new = played
    here = json.loads(cervello("evaluate", log, old, new, "--json").out)
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        there = cervello("evaluate", log, old, new, "--json", "--ray", 1).out
    finally:
        ray.shutdown()
    assert json.loads(there[there.index("{"):]) == here


def test_episodes_are_a_bar_on_a_terminal(played: tuple[Path, ...], capfd: pytest.CaptureFixture[str],
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    from cervello.cli import main
    from cervello.evaluation import scoring

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(scoring, "_ROWS", 1)
    log, old, _ = played
    assert main(["evaluate", str(log), str(old), "--json"]) == 0
    said = capfd.readouterr()
    assert "episodes" in said.err
    assert json.loads(said.out)["n_episodes"] == 30


def test_the_policy_that_logged_may_be_named(played: tuple[Path, ...], cervello: Callable[..., Any]) -> None:
    log, old, _ = played
    found = json.loads(cervello("evaluate", log, old, "--behavior", old, "--json").out)
    assert found["policies"][str(old)]["diagnostics"]["mean_weight"][-1] == 1


@pytest.mark.parametrize(("arguments", "words"), [
    ((), "expected DATASET"), (("play.log",), "POLICY"), (("none.log", "OLD"), "none.log"),
    (("LOG", "OLD", "--estimators", "ips"), "'ips'"),
    (("LOG", "OLD", "--head", "normal:mean"), "categorical:LOGITS"), (("LOG", "OLD", "--level", 95), "level"),
])
def test_what_makes_no_sense_is_refused_in_one_line(played: tuple[Path, ...], cervello: Callable[..., Any], arguments: tuple[Any, ...],
                                                   words: str) -> None:
    log, old, _ = played
    said = cervello("evaluate", *({"LOG": log, "OLD": old}.get(each, each) for each in arguments))
    assert said.status == 2
    assert words in said.err
    assert said.err.count("\n") == 1


def test_what_is_in_the_wrong_place_is_named(played: tuple[Path, ...], cervello: Callable[..., Any], tmp_path: Path) -> None:
    log, old, _ = played
    (tmp_path / "recur.log").write_bytes(log.read_bytes())
    for arguments, words in (
            ((old, log), f"expected a recording, got the policy {str(old)!r}; the first argument is the log, policies come after it"),
            ((tmp_path, old), f"got the folder {str(tmp_path)!r}; it holds play.log, recur.log: name one"),
            ((tmp_path,), "it holds play.log"),
            ((log,), f"evaluate, POLICY: expected at least one policy after the data {str(log)!r}, got none; name the ONNX files"),
            ((log, old, "--gamma", "abc"), "argument --gamma: expected a number from 0 to 1, got 'abc'; see cervello evaluate --help"),
            ((log, old, "--gamma", "1.5"), "argument --gamma: expected a number from 0 to 1, got '1.5'"),
            ((log, old, "--level", "1"), "argument --level: expected a number between 0 and 1, such as 0.95, got '1'"),
            ((log, old, "--estimators", "wsi"), "got 'wsi'; did you mean 'wis'?"),
            (("minari:a/b-v0", old, "--until-damage"), "--until-damage: expected a recording in one file, got 'minari:a/b-v0'")):
        said = cervello("evaluate", *arguments)
        assert (said.status, said.out, said.err.count("\n")) == (2, "", 1)
        assert words in said.err


def test_a_description_may_stand_for_its_policy(played: tuple[Path, ...], cervello: Callable[..., Any]) -> None:
    log, old, _ = played
    described = old.with_suffix(".toml")
    described.write_text('wrappers = [{ kind = "Sample", head = { kind = "Categorical", logits = "logits" } }]\n', encoding="utf-8")
    by_file, by_description = (json.loads(cervello("evaluate", log, each, "--json").out) for each in (old, described))
    assert by_description["policies"][str(described)]["estimates"] == by_file["policies"][str(old)]["estimates"]
    for arguments in (("api", described), ("run", described), ("describe", described), ("package", described, "out.crvo")):
        said = cervello(*arguments)
        assert said.status == 2
        assert f"model {str(described)!r}: expected an ONNX file, got a description; name {str(old)!r}" in said.err


def test_a_damaged_log_is_evaluated_up_to_the_damage_where_asked(played: tuple[Path, ...], cervello: Callable[..., Any]) -> None:
    log, old, _ = played
    data = bytearray(log.read_bytes())
    data[len(data) * 2 // 3] ^= 255
    log.write_bytes(data)
    said = cervello("evaluate", log, old)
    assert (said.status, said.err.count("\n")) == (2, 1)
    assert "read what is before it with until_damage=True (cervello evaluate --until-damage)" in said.err
    for skip in ((), ("--skip-nonfinite",)):
        said = cervello("evaluate", log, old, "--until-damage", "--json", *skip)
        assert (said.status, 10 < json.loads(said.out)["n_episodes"] < 30) == (0, True)
        assert "note: only what is before the damage is evaluated: recording" in said.err


def test_episodes_that_are_not_finite_are_left_out_where_that_is_asked_for(cervello: Callable[..., Any], played: tuple[Path, ...]) -> None:
    log, old, _ = played
    with recording.Writer(log) as writer:
        for at in (1, 3):
            handle = writer.begin(observation=np.zeros((1, 3), np.float32))
            for t in range(4):
                seen = np.full((1, 3), np.nan if t + 1 == at else 0.5, np.float32)
                writer.step(handle, seen, np.array([1]), np.array([1.0]), terminated=t == 3, log_prob=np.array([-1.0], np.float32))
    said = cervello("evaluate", log, old)
    assert said.status == 2
    assert "episode 30, step 1, observations: expected finite numbers" in said.err
    assert "mend or leave out the episode (--skip-nonfinite on the command line)" in said.err
    said = cervello("evaluate", log, old, "--skip-nonfinite", "--json")
    assert (said.status, json.loads(said.out)["n_episodes"]) == (0, 30)
    assert "note: 2 episodes with numbers that are not finite left out" in said.err
    said = cervello("evaluate", log, old, "--skip-nonfinite", "--horizon", 1, "--json")
    assert json.loads(said.out)["n_episodes"] == 31  # what is after the horizon does not count
    assert "note: 1 episode with" in said.err


def test_an_action_in_the_place_of_logits_is_explained(cervello: Callable[..., Any], played: tuple[Path, ...]) -> None:
    deciding = Path(__file__).parents[2] / "examples" / "cartpole.onnx"
    said = cervello("evaluate", played[0], deciding, "--head", "categorical:action")
    assert said.status == 2
    assert "an output of integers is the action itself: name the logits" in said.err


def test_a_guessed_behaviour_and_a_horizon_to_try_are_explained_in_words_of_the_command_line(
        played: tuple[Path, ...], cervello: Callable[..., Any], tmp_path: Path) -> None:
    log, old, _ = played
    said = cervello("evaluate", log, old, "--behavior", "guess")
    assert (said.status, said.err.count("\n")) == (2, 1)
    assert "'guess'; propensities are never guessed" in said.err
    assert "--behavior fit" in said.err
    never = tmp_path / "never.onnx"
    never.write_bytes(logs.logits_policy(np.zeros((3, 3)), [0.0, -np.inf, -np.inf]))
    said = cervello("evaluate", log, never, "--estimators", "cwpdis,wis")
    assert said.status == 0
    horizon = re.search(r"try horizon=(\d+) \(--horizon (\d+) on the command line\)", said.err)
    assert horizon
    assert horizon[1] == horizon[2]
    said = cervello("evaluate", log, never, "--estimators", "cwpdis", "--horizon", horizon[1])
    assert (said.status, "no weight from" in said.err) == (0, False)


@pytest.mark.parametrize(("head", "option"), [
    ((), "--head categorical:logits"), ((), "--head deterministic:action"), (("--head", "categorical:scores"), "--head"),
])
def test_a_head_that_is_missing_or_wrong_is_explained_in_words_of_the_command_line(
        played: tuple[Path, ...], cervello: Callable[..., Any], tmp_path: Path, head: tuple[str, ...], option: str) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(logs.logits_policy(logs.behaviour_weights(), np.zeros(3), "values"))
    said = cervello("evaluate", played[0], other, *head)
    assert said.status == 2
    assert option in said.err


def test_certification_prints_its_table(cervello: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from cervello.evaluation import certify

    real = certify.certify
    monkeypatch.setattr(certify, "certify", lambda progress: [c for c in real(progress, worlds=1, runs=10) if "bias" in c.name])
    monkeypatch.setattr(certify, "FAMILIES", {})
    monkeypatch.setattr(certify, "HEAVY", {})
    said = cervello("evaluate", "--certify")
    assert said.status == 0
    assert said.out.count("ok") == 3


def test_value_functions_that_need_more_memory_than_allowed_are_refused(played: tuple[Path, ...], cervello: Callable[..., Any]) -> None:
    log, old, _ = played
    said = cervello("evaluate", log, old, "--estimators", "fqe", "--memory-bytes", "10kB")
    assert (said.status, said.out) == (2, "")
    assert re.search(r"memory_bytes: expected data whose value functions take at most 10,000 bytes, got about [\d,]+ after", said.err)
    assert cervello("evaluate", log, old, "--estimators", "fqe", "--memory-bytes", "0.5 GiB").status == 0


def test_threads_change_no_number(played: tuple[Path, ...], cervello: Callable[..., Any]) -> None:
    log, old, new = played
    one = cervello("evaluate", log, old, new, "--json").out
    assert cervello("evaluate", log, old, new, "--json", "--threads", 2).out == one
    assert "--threads" in cervello("evaluate", log, old, "--threads", 0).err


@pytest.mark.parametrize(("text", "expected"), [
    ("1", 1), ("5000000000", 5_000_000_000), ("500MB", 500_000_000), ("2GiB", 2 << 30), ("1.5gib", 3 << 29), ("64 kib", 65536), ("7B", 7)])
def test_sizes_have_units(text: str, expected: int) -> None:
    from cervello.cli.options import size_bytes

    assert size_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "GiB", "2 gigs", "1e9", "0.0001kB", "2GiB of it", "nan", "²GB", "9999999TiB"])
def test_a_size_that_is_none_is_refused(text: str, played: tuple[Path, ...], cervello: Callable[..., Any]) -> None:
    log, old, _ = played
    said = cervello("evaluate", log, old, f"--memory-bytes={text}")
    assert said.status == 2
    assert f"--memory-bytes: expected a number of bytes from 1, such as 500000000, 500MB or 2GiB, got {text!r}" in said.err


def test_checks_that_fail_are_an_answer_of_no(cervello: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from cervello.evaluation.certify import Check

    checks = [Check("exact", "1.0", "1.0", True), Check("coverage", "0.5", "0.95", False)]
    monkeypatch.setattr("cervello.evaluation.certify.certify", lambda progress: checks)
    said = cervello("evaluate", "--certify")
    assert said.status == 1
    assert "FAILED" in said.out
    assert json.loads(cervello("evaluate", "--certify", "--json").out)["passed"] is False


@pytest.mark.parametrize("option", ["--report", "--picture"])
def test_no_file_that_is_read_is_written(option: str, played: tuple[Path, ...], cervello: Callable[..., Any]) -> None:
    log, old, _ = played
    for path in (log, old):
        if option == "--picture":
            path = path.rename(path.with_name(f"{path.stem}.svg"))
        before = path.read_bytes()
        files = (path, old) if path.stem == log.stem else (log if log.exists() else log.with_name("play.svg"), path)
        said = cervello("evaluate", *files, "--head", "categorical:logits", option, path)
        assert said.status == 2
        assert f"evaluate, {option}: expected a file of its own" in said.err
        assert path.read_bytes() == before


def test_the_picture_is_not_written_over_the_report(played: tuple[Path, ...], cervello: Callable[..., Any], tmp_path: Path) -> None:
    log, old, _ = played
    out = tmp_path / "out.svg"
    said = cervello("evaluate", log, old, "--head", "categorical:logits", "--report", out, "--picture", tmp_path / "." / "out.svg")
    assert said.status == 2
    assert f"evaluate, --picture: expected a file of its own, got {str(out)!r}, which is the report" in said.err
    assert not out.exists()
