"""The demo room: an arena of three species with frequent births and deaths, and one trained policy for each.

Rules and senses (`arena`, `species`, `senses`, `terrain`, `herd`), a match (`play`), the random baseline (`baseline`),
pictures (`drawing`) and the training of the three shipped policies (`train`, which alone needs onnx).

The function `play` is imported from its module, `from cervello.demo.play import play`: here it would hide the module.
"""

from __future__ import annotations

from pathlib import Path

from cervello.demo.arena import Arena, Outcome
from cervello.demo.baseline import RandomPolicy, mean_with_interval
from cervello.demo.herd import Life
from cervello.demo.play import MatchReport, PolicyLike, SpeciesReport, Tick
from cervello.demo.species import GRAZER, HUNTER, SCOUT, SPECIES, Species

__all__ = [
    "GRAZER",
    "HUNTER",
    "SCOUT",
    "SPECIES",
    "Arena",
    "Life",
    "MatchReport",
    "Outcome",
    "PolicyLike",
    "RandomPolicy",
    "Species",
    "SpeciesReport",
    "Tick",
    "mean_with_interval",
    "policy_path",
]


def policy_path(name: str) -> Path:
    """Returns the ONNX file of the trained policy of a species.

    Raises:
      ValueError: there is no such species.
    """
    known = [species.name for species in SPECIES]
    if name not in known:
        raise ValueError(f"species: expected one of {known}, got {name!r}")
    return Path(__file__).parent / "policies" / f"{name}.onnx"
