"""Maps Gymnasium spaces to a policy's inputs and outputs.

`Spaces` describes a game; `SpaceBinding` joins one to a policy: observations to columns, masks to one tensor, outputs to actions.
gymnasium itself is imported only when a space is given.
"""

from cervello.spaces.binding import MASK_KEY, DrawnOutputs, SpaceBinding
from cervello.spaces.description import Spaces

__all__ = ["MASK_KEY", "DrawnOutputs", "SpaceBinding", "Spaces"]
