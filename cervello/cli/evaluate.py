"""`cervello evaluate`: the value of policies from logged episodes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cervello.cli import compiling, options, pictures
from cervello.cli.formatting import plain, plural
from cervello.cli.terminal import Terminal
from cervello.errors import ConfigurationError, did_you_mean

if TYPE_CHECKING:
    from cervello.evaluation import Report
    from cervello.heads import Head

SUMMARY = "estimate the value of policies from logged episodes, with a verdict"
EXAMPLES: tuple[str, ...] = ("cervello evaluate play.log old.onnx new.onnx --report evaluation.html",
                              "cervello evaluate minari:D4RL/door/human-v2 new.onnx --behavior fit")
_HEADS = ("categorical:LOGITS, multidiscrete:LOGITS:SIZE,SIZE, bernoulli:LOGITS, gaussian:MEAN:LOG_STD, tanh:MEAN:LOG_STD, "
          "beta:ALPHA:BETA or deterministic:ACTION")
_STYLES = {"reliable": "green", "weak": "yellow", "unsupported": "red"}


class _Names(tuple[str, ...]):
    """Names of which several may be given: a list of them is a choice too."""

    def __contains__(self, given: object) -> bool:
        return set(given).issubset(self) if isinstance(given, list) else super().__contains__(given)


ESTIMATORS = _Names(("is", "pdis", "wis", "cwpdis", "fqe", "dm", "dr", "wdr", "magic", "mis", "kis", "agreement"))
"""`cervello.evaluation.ESTIMATORS`, which a help text must not import: argparse of Python 3.14 expands all help at once."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="DATASET", nargs="?", help="minari:ID, the folder of a Minari dataset, or a recording")
    parser.add_argument("policies", metavar="POLICY", nargs="*", help="ONNX files, or descriptions of them (.toml)")
    parser.add_argument("--head", metavar="KIND:OUTPUT", type=_head,
                        help=f"the distribution of actions: {_HEADS} (default: what the file's names say)")
    parser.add_argument("--behavior", metavar="WHAT", default="logged",
                        help="where propensities come from: logged, fit (logistic regression, by scikit-learn), or the file of the policy "
                             "that logged the data (default: logged)")
    parser.add_argument("--estimators", metavar="NAMES", type=_names, default=["pdis", "wis", "cwpdis"], choices=ESTIMATORS,
                        help="by comma, of %(choices)s (default: pdis,wis,cwpdis)")
    parser.add_argument("--gamma", type=options.fraction, default=1.0, help="discount (default: 1)")
    parser.add_argument("--horizon", metavar="STEPS", type=options.calls, help="cut episodes after so many steps (default: never)")
    parser.add_argument("--level", type=options.level, default=0.95, help="of intervals, between 0 and 1 (default: 0.95)")
    options.add_seed(parser, "of the resamples")
    parser.add_argument("--threads", metavar="N", type=options.calls, default=1, help="that the evaluation may use (default: 1)")
    parser.add_argument("--memory-bytes", metavar="SIZE", type=options.size_bytes, default=4 << 30,
                        help="what fits of value functions may take, in bytes or as 500MB or 2GiB; data that need more are refused "
                             "(default: 4GiB)")
    parser.add_argument("--report", metavar="FILE", type=options.new_file, help="write one HTML page")
    pictures.add(parser, "the estimates with their intervals")
    options.add_json(parser)
    parser.add_argument("--ray", metavar="WORKERS", type=options.calls,
                        help="run the policies by so many actors on Ray (default: in this process)")
    parser.add_argument("--until-damage", action="store_true", help="evaluate what a damaged recording holds before the damage")
    parser.add_argument("--skip-nonfinite", action="store_true",
                        help="leave out episodes with a NaN or an infinity, and say how many; values shift where they differ from others")
    parser.add_argument("--certify", action="store_true",
                        help="check the estimators on this machine: exact enumeration, and the coverage of intervals; no data needed")


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    from cervello import evaluation

    if arguments.certify:
        return _certify(arguments.json, terminal)
    dataset = _dataset(arguments)
    _check_outputs(arguments)
    with compiling.shown(terminal), terminal.bar("episodes") as bar:
        behavior: Any = arguments.behavior
        if behavior == "fit":
            behavior = evaluation.fit_behavior(dataset, _classifier())
        report = evaluation.evaluate(
            dataset, arguments.policies, head=arguments.head, behavior=behavior, estimators=arguments.estimators,
            gamma=arguments.gamma, horizon=arguments.horizon, level=arguments.level, seed=arguments.seed, ray=arguments.ray,
            progress=bar.show, memory_bytes=arguments.memory_bytes, threads=arguments.threads)
    if arguments.json:
        terminal.write(report.to_json(indent=2))
    else:
        _show(report, terminal)
    if arguments.until_damage and dataset.damage is not None:
        terminal.remark(f"note: only what is before the damage is evaluated: {plain(dataset.damage.partition(';')[0])}")
    if arguments.skip_nonfinite and dataset.n_left_out:
        terminal.remark(f"note: {plural(dataset.n_left_out, 'episode')} with numbers that are not finite left out; where they differ from "
                        "the others, values shift")
    if arguments.report is not None:
        report.to_html(arguments.report)
        terminal.remark(f"written to {arguments.report}")
    if arguments.picture is not None:
        pictures.write(report.to_svg(), arguments.picture, arguments)
        pictures.remark(arguments.picture, terminal)
    return 0


def _dataset(arguments: argparse.Namespace) -> Any:
    """The data set, opened where options are about its episodes.

    Raises:
      ConfigurationError: no data set or policy, a policy in the place of the data set, or a folder of logs.
    """
    from cervello import recording
    from cervello.evaluation.logged import open_dataset
    from cervello.recording.finite import FiniteEpisodes

    given: str | None = arguments.dataset
    if given is None:
        raise ConfigurationError("evaluate: expected DATASET and at least one POLICY, got none; see cervello evaluate --help")
    path = Path(given)
    if path.is_file() and path.suffix.lower() in (".onnx", ".crvo", ".toml"):
        raise ConfigurationError(f"evaluate, DATASET: expected a recording, got the policy {given!r}; the first argument is the log, "
                                 "policies come after it")
    is_minari = (path / "metadata.json").is_file() or (path / "data" / "metadata.json").is_file()
    logs = sorted(each.name for each in path.glob("*.log")) if path.is_dir() and not is_minari else []
    if logs:
        raise ConfigurationError(f"evaluate, DATASET: expected a recording, got the folder {given!r}; it holds {', '.join(logs)}: name one")
    if not arguments.policies:
        raise ConfigurationError(f"evaluate, POLICY: expected at least one policy after the data {given!r}, got none; name the ONNX files "
                                 "whose value is to be estimated")
    if arguments.until_damage and (given.startswith("minari:") or path.is_dir()):
        raise ConfigurationError(f"evaluate, --until-damage: expected a recording in one file, got {given!r}; leave it out")
    found: Any = recording.read(given, until_damage=True) if arguments.until_damage else given
    return FiniteEpisodes(open_dataset(found), arguments.horizon) if arguments.skip_nonfinite else found


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Raises ConfigurationError where a file to be written is one of those that are read, or the other one that is written."""
    given = [path for path in map(Path, (arguments.dataset, *arguments.policies, arguments.behavior)) if path.is_file()]
    for option, path in (("--report", arguments.report), ("--picture", arguments.picture)):
        if path is not None and path.exists() and any(path.samefile(each) for each in given):
            raise ConfigurationError(f"evaluate, {option}: expected a file of its own, got {str(path)!r}, which is read; name another one")
    if arguments.report is not None and arguments.picture is not None and arguments.report.resolve() == arguments.picture.resolve():
        raise ConfigurationError(f"evaluate, --picture: expected a file of its own, got {str(arguments.picture)!r}, which is the report; "
                                 "name another one")


def _show(report: Report, terminal: Terminal) -> None:
    from cervello.evaluation.text import notes, rows

    terminal.print(plain(report.headline), style=f"bold {_STYLES[report.verdict]}")
    terminal.print("")
    table = terminal.table(["~policy", "estimator", ">value", f"?>{report.options.level:.0%} interval", "verdict"])
    for name, estimator, value, bounds, verdict, _ in rows(report):
        table.add_row(plain(name), estimator, value, bounds, terminal.styled(verdict, _STYLES[verdict]))
    terminal.print(table)
    for note in notes(report):
        terminal.remark(f"note: {plain(note)}")


def _certify(as_json: bool, terminal: Terminal) -> int:
    """1 when a check failed."""
    from cervello.evaluation.certify import certify

    with terminal.bar("checks") as bar:
        checks = certify(progress=bar.show)
    failed = not all(check.passed for check in checks)
    if as_json:
        terminal.json({"passed": not failed, "checks": [
            {"name": check.name, "found": check.found, "wanted": check.wanted, "passed": check.passed} for check in checks]})
        return int(failed)
    table = terminal.table(["~check", ">found", ">wanted", ">"])
    for check in checks:
        result, style = ("ok", "green") if check.passed else ("FAILED", "red")
        table.add_row(check.name, check.found, check.wanted, terminal.styled(result, style))
    terminal.print(table)
    return int(failed)


def _classifier() -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ConfigurationError(f"evaluate, --behavior fit: expected the extra 'evaluation', got {error}; install the "
                                 "extra 'evaluation'") from error
    return LogisticRegression(max_iter=1000)


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in ESTIMATORS:
            raise argparse.ArgumentTypeError(f"expected names among {', '.join(ESTIMATORS)}, got {name!r}{did_you_mean(name, ESTIMATORS)}")
    return names


def _head(text: str) -> Head:
    """KIND:OUTPUT."""
    from cervello import heads

    kind, *names = text.split(":")
    one: Any = {"categorical": heads.Categorical, "bernoulli": heads.Bernoulli, "deterministic": heads.Deterministic}.get(kind)
    if one is not None and names and all(names):
        found: Head = one(":".join(names))  # outputs may have colons
        return found
    if len(names) == 2 and all(names):
        first, second = names
        if kind in ("gaussian", "tanh"):
            return (heads.Gaussian if kind == "gaussian" else heads.TanhGaussian)(first, log_std=second)
        if kind == "beta":
            return heads.Beta(first, second)
        sizes = second.split(",")
        if kind == "multidiscrete" and all(size.isdecimal() and int(size) for size in sizes):
            return heads.MultiDiscrete(first, [int(size) for size in sizes])
    raise argparse.ArgumentTypeError(f"expected {_HEADS}, got {text!r}")
