"""The learner's masks of actions, as sb3-contrib asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cervello.spaces.masks import MaskLayout
from cervello.spec import Array


def masks_in(info: Any, observation: Any) -> list[Any]:
    """The masks in an agent's info and in its observation."""
    found = [place.get("action_mask") for place in (info, observation) if isinstance(place, Mapping)]
    return [mask for mask in found if mask is not None]


def allowed_actions(where: str, space: Any, masks: Sequence[Any]) -> Array | None:
    """[K] bool, the actions of a space that all masks allow; None without masks.

    A choice in which nothing is allowed counts as one without a mask.

    Raises:
      InputError: a mask that does not fit the space.
    """
    if not masks:
        return None
    layout = MaskLayout(where, space)
    allowed = layout.flat(masks[0], 1, single=True)
    for mask in masks[1:]:
        allowed = allowed & layout.flat(mask, 1, single=True)
    found: Array = layout.with_empty_allowed(allowed)[0] != 0
    return found
