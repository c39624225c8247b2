"""Statistics of returns and importance weights: arrays in, numbers out.

    low, high = statistics.bca(returns)                               # of the mean; of another statistic: bca(returns, interquartile_mean)
    statistics.paired_difference(returns_a, returns_b).interval       # the same seeds played by both
    statistics.bootstrap(lambda indices: (w[indices] * g[indices]).sum(-1) / w[indices].sum(-1), len(g))   # a weighted estimator

Intervals are (low, high), the point twice where all values are equal, and None for fewer than 3 values; never NaN. scipy is imported
when a quantile is needed.
"""

from cervello.statistics.bootstrap import bca, bootstrap, calibrated, percentile
from cervello.statistics.concentration import empirical_bernstein, hoeffding
from cervello.statistics.effective_sample_size import effective_sample_size
from cervello.statistics.improvement import PairedDifference, paired_difference, probability_of_improvement
from cervello.statistics.interquartile_mean import interquartile_mean
from cervello.statistics.student_t import student_t
from cervello.statistics.tail_index import pareto_tail_index

__all__ = [
    "PairedDifference",
    "bca",
    "bootstrap",
    "calibrated",
    "effective_sample_size",
    "empirical_bernstein",
    "hoeffding",
    "interquartile_mean",
    "paired_difference",
    "pareto_tail_index",
    "percentile",
    "probability_of_improvement",
    "student_t",
]
