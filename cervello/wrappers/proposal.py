"""What `wrappers="auto"` chooses, and `cervello api` shows."""

from __future__ import annotations

import re

import numpy as np

from cervello.spec import PolicySpec, Wrapper
from cervello.wrappers.constant import EpisodeStart, Fill
from cervello.wrappers.epsilon import Epsilon
from cervello.wrappers.pairs import recurrent_pairs
from cervello.wrappers.recurrent import Recurrent

_NOISE = re.compile(r"(^|[/_.:])(epsilon|eps|noise)($|[/_.:\d])", re.IGNORECASE)
_MASK = re.compile(r"(action_?masks?|^mask$)", re.IGNORECASE)
_LENGTHS = re.compile(r"^seq_?lens?$", re.IGNORECASE)
_STARTS = re.compile(r"^(episode_?starts?|dones?_in|reset)$", re.IGNORECASE)


def propose(spec: PolicySpec) -> list[Wrapper]:
    """Wrappers for the inputs that are no observation, outermost first.

    Noise inputs get `Epsilon`, state that an output feeds gets `Recurrent`, action masks allow everything, sequence lengths are 1,
    episode starts are told. A mask that the game knows should be given by the game: leave the Fill out of your own list.
    """
    found: list[Wrapper] = []
    pairs = recurrent_pairs(spec)
    for item in spec.inputs.values():
        if item.name in pairs:
            continue
        size = int(np.prod(item.shape, dtype=np.int64))
        if _NOISE.search(item.name) and item.dtype == np.float32 and item.batch_axis == 0:
            found.append(Epsilon(item.name))
        elif _MASK.search(item.name) and len(spec.inputs) > 1:
            found.append(Fill(item.name, True if item.dtype == np.bool_ else 1.0))
        elif _LENGTHS.match(item.name) and size == 1:
            found.append(Fill(item.name, 1.0))
        elif _STARTS.match(item.name) and size == 1 and item.batch_axis is not None:
            found.append(EpisodeStart(item.name))
    if pairs:
        found.append(Recurrent(pairs))
    return found
