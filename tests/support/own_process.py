"""Scripts about agents in a process of their own, in which a hang is an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cervello

_HEAD = """
import faulthandler, gc, signal, sys, threading, time
faulthandler.dump_traceback_later(100, exit=True)
sys.path.insert(0, sys.argv[1])
import numpy as np
import stacks
from cervello import AgentError, Batcher, ConfigurationError, Policy, PolicySpec, Recurrent, Runtime
from cervello.wrappers import Passive

lost = []
sys.unraisablehook = lambda info: lost.append(info.exc_value)

class Slow(Passive):
    '''Takes the long way, and makes garbage on every side of a decision.'''
    def attach(self, spec):
        return self, spec
    def begin(self, slots):
        junk()
    def end(self, slots):
        junk()
    def inward(self, view):
        junk()
    def outward(self, view):
        junk()
    def commit(self, view):
        junk()
    def get_state(self, slots):
        junk()
        return {}
    def set_state(self, slots, state):
        junk()

def junk():
    gc.collect(1)

class Unit:
    '''A game object in a cycle, so that only the garbage collector finds that it is gone.'''
    def __init__(self, end):
        self.end, self.me = end, self
    def __del__(self):
        self.end()

def columns(n):
    return {"obs": np.ones((n, 1), np.float32)}

def make(kind):
    return Policy(stacks.model("counter"), wrappers=[Slow(), Recurrent()] if kind == "long" else [Recurrent()])
"""


def run(script: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(Path(cervello.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _HEAD + script, str(Path(__file__).parent), *arguments],
                          timeout=120, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
