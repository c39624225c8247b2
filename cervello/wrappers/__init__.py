"""What flows between agents and inferer, and the state that flows along: one mechanism.

    Recurrent        feeds an output back as the next input of the same agent
    Epsilon          fills a noise input
    Fill             fills an input that is no observation with a value
    EpisodeStart     tells the policy that an agent's episode begins
    PreviousAction   feeds the last action back
    Sample           draws actions from a distribution, with their probabilities
    Normalize        observations in units of their standard deviation
    FrameStack       observations of several steps at once
    Image            pictures as games have them
    Clip             bounds
    Guard            numbers that must not reach the game

A stack is a list, outermost first. For wrappers of your own there are `Passive` (hooks that do nothing), `take_input`, `take_output` and
`without` (for `attach`), and a suite of tests in `cervello.wrappers.testing`.
"""

from cervello.wrappers.base import Passive, take_input, take_output, without
from cervello.wrappers.clip import Clip
from cervello.wrappers.constant import EpisodeStart, Fill
from cervello.wrappers.epsilon import Epsilon
from cervello.wrappers.frame_stack import FrameStack
from cervello.wrappers.guard import Guard
from cervello.wrappers.image import Image
from cervello.wrappers.normalize import Normalize
from cervello.wrappers.recurrent import PreviousAction, Recurrent
from cervello.wrappers.sample import Sample
from cervello.wrappers.slab import Slab
from cervello.wrappers.stack import Stack
from cervello.wrappers.suggest import suggest_wrappers

__all__ = ["Clip", "EpisodeStart", "Epsilon", "Fill", "FrameStack", "Guard", "Image", "Normalize", "Passive", "PreviousAction",
           "Recurrent", "Sample", "Slab", "Stack", "suggest_wrappers", "take_input", "take_output", "without"]
