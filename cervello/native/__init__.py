"""ONNX to actions: graph, memory plan, program, executor.

    importer, normalise, infer      file ▶ graph with known shapes
    lowering, ops                   graph ▶ steps over buffers
    memory, verifier, program       steps ▶ words
    kernels                         what the words run
    executor, model                 arrays in, arrays out
    host                            slower tiers
    profile, bench, limits, leaks   where the time of a run goes, what the machine allows, what calls keep
"""

from cervello.native.execution.io_binding import IOBinding
from cervello.native.model import Model
from cervello.native.program.memory_plan import MemoryPlan

__all__ = ["IOBinding", "MemoryPlan", "Model"]
