"""Small worlds of which the truth is known, and tables drawn or enumerated from them."""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np

from cervello.evaluation.table import Table


class Tabular:
    """A decision process of S states and A actions drawn at random, and two policies."""

    def __init__(self, seed: int, S: int = 3, A: int = 2, T: int = 4, gamma: float = 0.9):
        rng = np.random.default_rng(seed)
        self.S, self.A, self.T, self.gamma, self.rng = S, A, T, gamma, rng
        self.start = rng.dirichlet(np.ones(S))
        self.P = rng.dirichlet(np.ones(S), (S, A))
        self.r = rng.normal(size=(S, A))
        self.pi, self.b = rng.dirichlet(np.ones(A), S), rng.dirichlet(np.ones(A) * 2, S) * 0.8 + 0.2 / A

    def value(self) -> float:
        v = np.zeros(self.S)
        for _ in range(self.T):
            v = (self.pi * (self.r + self.gamma * self.P @ v)).sum(1)
        return float(self.start @ v)

    def enumerate(self, q=None) -> tuple[Table, np.ndarray]:
        """Every trajectory of T steps as an episode, and its probability."""
        states, actions, odds = [], [], []
        for s in itertools.product(range(self.S), repeat=self.T):
            for a in itertools.product(range(self.A), repeat=self.T):
                p = self.start[s[0]]
                for t in range(self.T):
                    p *= self.b[s[t], a[t]] * (self.P[s[t], a[t], s[t + 1]] if t + 1 < self.T else 1.0)
                states.append(s)
                actions.append(a)
                odds.append(p)
        return self.table(np.array(states), np.array(actions), q), np.array(odds)

    def draw(self, n: int, q=None) -> Table:
        """n episodes of T steps by the behaviour."""
        s = np.array([self.rng.choice(self.S, p=self.start) for _ in range(n)])
        states, actions = [], []
        for _ in range(self.T):
            a = np.array([self.rng.choice(self.A, p=self.b[each]) for each in s])
            states.append(s)
            actions.append(a)
            s = np.array([self.rng.choice(self.S, p=self.P[i, j]) for i, j in zip(s, a, strict=True)])
        return self.table(np.stack(states, 1), np.stack(actions, 1), q)

    def table(self, s: np.ndarray, a: np.ndarray, q=None) -> Table:
        values = {}
        if q is not None:  # [S, A], the same at every step
            v = (self.pi * q).sum(1)
            values = {"q": q[s, a], "v": np.concatenate([v[s], np.zeros((len(s), 1))], 1)}
        return Table(np.log(self.pi[s, a] / self.b[s, a]), self.r[s, a], np.full(len(s), self.T), self.gamma, **values)


def one_loop(n: int, rng: np.random.Generator, discount: float = 1.0) -> Table:
    """Sutton & Barto, example 5.5: π always goes left, which ends with 1 in one case of ten; b goes either way. The value is 1."""
    ratios, rewards = [], []
    for _ in range(n):
        ratio, reward = [], []
        while True:
            left = rng.random() < 0.5
            over = not left or rng.random() < 0.1
            ratio.append(np.log(2.0) if left else -np.inf)
            reward.append(1.0 if left and over else 0.0)
            if over:
                break
        ratios.append(ratio)
        rewards.append(reward)
    return Table.of(ratios, rewards, discount)


CARDS = [*range(1, 10), 10, 10, 10, 10]


def _drawn(total: int, soft: bool, card: int) -> tuple[int, bool]:
    """A hand after a card; a soft ace counts 11."""
    total, soft = (total + 11, True) if card == 1 and total + 11 <= 21 else (total + card, soft)
    return (total - 10, False) if total > 21 and soft else (total, soft)


@lru_cache
def dealer_odds() -> dict[int, float]:
    """Final sums of a dealer who shows a two: 17 to 21, and 22 for bust."""
    found: dict[int, float] = {}
    hands = {(2, False): 1.0}
    while hands:
        (total, soft), p = hands.popitem()
        for card in CARDS:
            hand = _drawn(total, soft, card)
            if hand[0] >= 17:
                key = min(hand[0], 22)
                found[key] = found.get(key, 0.0) + p / 13
            else:
                hands[hand] = hands.get(hand, 0.0) + p / 13
    return found


@lru_cache
def stick_value(total: int) -> float:
    return sum(p * (1.0 if d == 22 or d < total else -1.0 if d > total else 0.0) for d, p in dealer_odds().items())


@lru_cache
def blackjack_value(total: int = 13, soft: bool = True) -> float:
    """Of the state of Sutton & Barto, example 5.4, under the policy that sticks on 20 and 21 only."""
    if total > 21:
        return -1.0
    if total >= 20:
        return stick_value(total)
    return sum(blackjack_value(*_drawn(total, soft, card)) for card in CARDS) / 13


def blackjack(n: int, rng: np.random.Generator) -> Table:
    """n hands from that state, with a behaviour that hits and sticks equally often."""
    odds = dealer_odds()
    sums, chances = np.array(list(odds)), np.array(list(odds.values()))
    ratios, rewards = [], []
    for _ in range(n):
        total, soft, ratio, reward = 13, True, [], []
        while True:
            stick = rng.random() < 0.5
            ratio.append(np.log(2.0) if stick == (total >= 20) else -np.inf)
            if stick:
                d = rng.choice(sums, p=chances / chances.sum())
                reward.append(1.0 if d == 22 or d < total else -1.0 if d > total else 0.0)
                break
            total, soft = _drawn(total, soft, CARDS[rng.integers(13)])
            if total > 21:
                reward.append(-1.0)
                break
            reward.append(0.0)
        ratios.append(ratio)
        rewards.append(reward)
    return Table.of(ratios, rewards)
