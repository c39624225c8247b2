"""Offline policy evaluation: the value of policies from logged episodes, with honest uncertainty.

    report = evaluation.evaluate("minari:arena/hunter-v0", {"a": "a.onnx", "b": policy}, head=heads.Categorical("logits"),
                                 estimators=["pdis", "wis", "dr"], gamma=0.99, horizon=400)
    print(report)                                    # the verdict first
    report["a"]["dr"].value, report["a"]["dr"].interval, report.difference("b", "a")
    policy.replace(report.best.path)                 # raises when nothing is supported

`evaluate` evaluates, `fit_behavior` estimates propensities that were not logged. `estimators` and `table` are the arithmetic, on arrays.
docs/evaluation.md says in plain words what each estimator and verdict means.
"""

from cervello.evaluation.behavior import Behavior, fit_behavior
from cervello.evaluation.diagnostics import Diagnostics
from cervello.evaluation.evaluate import ESTIMATORS, evaluate
from cervello.evaluation.report import Estimate, PolicyReport, Report
from cervello.evaluation.selection import Best, Difference, Regret
from cervello.evaluation.table import Table

__all__ = [
    "ESTIMATORS",
    "Behavior",
    "Best",
    "Diagnostics",
    "Difference",
    "Estimate",
    "PolicyReport",
    "Regret",
    "Report",
    "Table",
    "evaluate",
    "fit_behavior",
]
