"""Action distributions that a policy's tensors describe: sample, log_prob, entropy, mode.

    Categorical      one action of K, from logits and an optional mask
    MultiDiscrete    several such choices, with concatenated logits
    Gaussian         normal actions
    TanhGaussian     normal actions squashed to (-1, 1)
    Bernoulli        several elements that are 0 or 1
    Beta             actions between 0 and 1
    EpsilonGreedy    the best of K values, or with probability ε a random action
    Deterministic    a tensor is the action

They are pure: noise is an argument, and a row's results are the same bit for bit in every batch. `cervello.Sample` draws with them.
"""

from cervello.heads.base import Head
from cervello.heads.bernoulli import Bernoulli
from cervello.heads.beta import Beta
from cervello.heads.categorical import Categorical, MultiDiscrete
from cervello.heads.deterministic import Deterministic
from cervello.heads.epsilon_greedy import EpsilonGreedy
from cervello.heads.gaussian import Gaussian, TanhGaussian

__all__ = ["Bernoulli", "Beta", "Categorical", "Deterministic", "EpsilonGreedy", "Gaussian", "Head", "MultiDiscrete", "TanhGaussian"]
