"""Estimators of a policy's value from `Table`s, one file each. They take arrays and know no policies."""

from cervello.evaluation.estimators.agreement import agreement
from cervello.evaluation.estimators.cwpdis import cwpdis
from cervello.evaluation.estimators.dm import dm
from cervello.evaluation.estimators.dr import dr
from cervello.evaluation.estimators.importance_sampling import importance_sampling
from cervello.evaluation.estimators.kis import kis
from cervello.evaluation.estimators.magic import magic
from cervello.evaluation.estimators.mis import Flow, mis, visit_ratios
from cervello.evaluation.estimators.pdis import pdis
from cervello.evaluation.estimators.wdr import wdr
from cervello.evaluation.estimators.wis import wis

__all__ = ["Flow", "agreement", "cwpdis", "dm", "dr", "importance_sampling", "kis", "magic", "mis", "pdis", "visit_ratios", "wdr", "wis"]
