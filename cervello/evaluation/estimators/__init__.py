"""Estimators of a policy's value from `Table`s, one file each. They take arrays and know no policies."""

from cervello.evaluation.estimators.agreement import agreement
from cervello.evaluation.estimators.cwpdis import cwpdis
from cervello.evaluation.estimators.dm import dm
from cervello.evaluation.estimators.dr import dr
from cervello.evaluation.estimators.fqe import fqe
from cervello.evaluation.estimators.importance_sampling import importance_sampling
from cervello.evaluation.estimators.kis import bandwidths, check_kernel, kernel_ratios, kis
from cervello.evaluation.estimators.magic import magic
from cervello.evaluation.estimators.mis import Flow, check_ends, mis, mis_of_all, visit_ratios
from cervello.evaluation.estimators.pdis import pdis
from cervello.evaluation.estimators.wdr import wdr
from cervello.evaluation.estimators.wis import wis

__all__ = ["Flow", "agreement", "bandwidths", "check_ends", "check_kernel", "cwpdis", "dm", "dr", "fqe", "importance_sampling",
           "kernel_ratios", "kis", "magic", "mis", "mis_of_all", "pdis", "visit_ratios", "wdr", "wis"]
