"""Wrappers: conversion of columns between agents and inferer, with state by agent.

    Recurrent        feeds an output back as the next input of the same agent
    Epsilon          fills a noise input
    Fill             fills an input that is no observation with a value
    EpisodeStart     1 at an agent's first decision of an episode, else 0
    PreviousAction   feeds the last action back
    Sample           draws actions from a distribution, with their probabilities
    Normalize        observations in units of their standard deviation
    FrameStack       observations of several steps at once
    Image            images in the caller's layout and type
    Clip             bounds
    Guard            replaces non-finite outputs

A stack is a list, outermost first. For custom wrappers there are `Passive` (hooks without effect), `take_input`, `take_output` and
`without` (for `attach`), and a test suite in `cervello.wrappers.testing`.
"""

from cervello.wrappers.base import Passive, take_input, take_output, without
from cervello.wrappers.clip import Clip
from cervello.wrappers.episode_start import EpisodeStart
from cervello.wrappers.epsilon import Epsilon
from cervello.wrappers.fill import Fill
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
