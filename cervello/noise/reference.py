"""Definition of noise in plain Python: the compiled code must agree with this file.

A draw is one call of the block cipher Philox4x32-10: a 128-bit counter and a 64-bit key give four 32-bit words.

    key        word 0 of the agent's key
    counter 0  element // 4; the element picks one of the four words with element % 4
    counter 1  site: the graph node or wrapper that draws
    counter 2  step, low 32 bits
    counter 3  word 1 of the agent's key (32 bits) xor step, high 32 bits

The numbers therefore do not depend on batches, rows, widths or other agents, and no bit of a step is lost. The agent's key has
96 bits, a hash of (seed, stream, agent, episode): two agents share noise with a probability of 2**-96 per pair.

Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011; Random123 1.14.
"""

from __future__ import annotations

import hashlib
import math
import operator
from functools import lru_cache
from typing import Final

import numpy as np

from cervello.errors import AgentError, ConfigurationError

Words = tuple[int, int, int, int]

MULTIPLIERS: Final = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS: Final = (0x9E3779B9, 0xBB67AE85)  # golden ratio, sqrt(3) - 1
ROUNDS: Final = 10
CHAIN_START: Final[Words] = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)  # pi's fraction
STRING_ID: Final = 1 << 63  # set in the number of a string, never in that of an int

_LOW = 0xFFFFFFFF


def philox(counter: Words, key: int) -> Words:
    """Philox4x32-10: four words from four words (counter 0 first) under a 64-bit key (low half is key word 0)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key & _LOW, key >> 32
    for _ in range(ROUNDS):
        product0, product1 = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = product1 >> 32 ^ c1 ^ k0, product1 & _LOW, product0 >> 32 ^ c3 ^ k1, product0 & _LOW
        k0, k1 = k0 + KEY_STEPS[0] & _LOW, k1 + KEY_STEPS[1] & _LOW
    return c0, c1, c2, c3


def agent_key(seed: int, stream: int, agent: int, episode: int) -> tuple[int, int]:
    """The 96-bit key of one agent in one episode.

    A Davies-Meyer chain: the state starts at pi's digits; each number in turn is the key under which Philox encrypts
    the state, and the state before is xored in. Order matters, so the four numbers are not interchangeable.

    Args:
      seed, stream, agent, episode: 0 <= number < 2**64; an agent's number comes from `agent_number`.
    Returns:
      key: 64 bits, Philox's key.
      high: 32 bits, part of every counter.
    Raises:
      ConfigurationError: a number is out of range.
    """
    state = CHAIN_START
    for name, number in (("seed", seed), ("stream", stream), ("agent", agent), ("episode", episode)):
        if not 0 <= number < 1 << 64:
            raise ConfigurationError(f"noise {name}: expected 0 <= {name} < 2**64, got {number!r}")
        h0, h1, h2, h3 = philox(state, int(number))
        state = (state[0] ^ h0, state[1] ^ h1, state[2] ^ h2, state[3] ^ h3)
    return state[0] | state[1] << 32, state[2]


def agent_number(agent: int | str) -> int:
    """The 64-bit number of an agent id: an int is its own; a string's is a stable hash, at least 2**63.

    Raises:
      AgentError: neither an int 0 <= id < 2**63 nor a string.
    """
    if isinstance(agent, str):
        return _string_number(str.__str__(agent))  # a subclass may override comparison
    try:
        number = operator.index(agent)
    except TypeError:
        number = -1
    if isinstance(agent, bool) or not 0 <= number < STRING_ID:
        raise AgentError(f"agent id: expected an int 0 <= id < 2**63 or a string, got {agent!r}")
    return number


@lru_cache(maxsize=1 << 14)
def _string_number(agent: str) -> int:
    """Cached, since the same names begin with every episode."""
    digest = hashlib.blake2b(agent.encode("utf-8", "surrogatepass"), digest_size=8, person=b"cervello")
    return int.from_bytes(digest.digest(), "little") | STRING_ID


def words(key: int, high: int, step: int, site: int, quad: int) -> Words:
    """The four words behind elements 4 * quad to 4 * quad + 3."""
    return philox((quad & _LOW, site & _LOW, step & _LOW, high ^ (step >> 32 & _LOW)), key)


def uniform(key: int, high: int, step: int, site: int, element: int) -> float:
    """Element `element` of a uniform draw: the word's upper 24 bits, in [0, 1)."""
    return (words(key, high, step, site, element // 4)[element % 4] >> 8) * 2.0**-24


def normal(key: int, high: int, step: int, site: int, element: int) -> float:
    """Element `element` of a standard normal draw, in float64: Box-Muller on words 0, 1 (elements 0, 1) and 2, 3.

    The even word gives the radius: its upper 31 bits as a float32 in (0, 1], never 0, so a normal is at most 6.67.
    The odd word gives the angle in units of 2**-32 turns. Even elements take the cosine, odd ones the sine.
    """
    four = words(key, high, step, site, element // 4)
    for_radius, for_angle = four[0:2] if element % 4 < 2 else four[2:4]
    share = float(np.float32(float(np.float32(for_radius >> 1)) * 2.0**-31 + 2.0**-32))
    radius = math.sqrt(-2.0 * math.log(share))
    angle = 2.0 * math.pi * for_angle / 2.0**32
    return radius * (math.sin(angle) if element % 2 else math.cos(angle))


FAST_SCALE: Final = 1.0 / math.sqrt(16 * (256**2 - 1) / 12)  # 1 / standard deviation of a sum of 16 bytes


def fast_normal(key: int, high: int, step: int, site: int, element: int) -> float:
    """Element `element` of a fast normal draw, in float64.

    Each word's four bytes are summed, minus their mean 510. The four sums are then combined with the signs of a Hadamard
    matrix, so every element is a signed sum of all 16 bytes of one draw. Mean 0 and variance 1 exactly, skewness 0,
    excess kurtosis -0.075, never beyond 6.91, steps of 0.0034. The four elements of one draw are uncorrelated but
    not quite independent: their squares correlate by -0.039.
    """
    sums = [sum(word.to_bytes(4, "little")) - 510 for word in words(key, high, step, site, element // 4)]
    signs = ((1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1))[element % 4]
    return sum(sign * value for sign, value in zip(signs, sums, strict=True)) * FAST_SCALE
