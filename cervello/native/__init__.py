"""ONNX to actions: graph, memory plan, program, executor.

    frontend, shapes    file ▶ graph with known shapes
    passes              graph ▶ graph: the batch axis, decompositions, fusion
    lowering            graph ▶ steps over tensors
    memory, program     steps ▶ offsets in the arena, and words
    kernels             what the words run
    execution, model    arrays in, arrays out
    fallback            slower tiers
    report              where the time of a run goes, what the machine allows, what calls keep
"""

from cervello.native.execution.io_binding import IOBinding
from cervello.native.model import Model
from cervello.native.program.memory_plan import MemoryPlan

__all__ = ["IOBinding", "MemoryPlan", "Model"]
