"""Whether nodes have the operands and results that ONNX gives their ops."""

from __future__ import annotations

import onnx

from cervello.errors import GraphError
from cervello.native.graph import Node

_Option = onnx.defs.OpSchema.FormalParameterOption


def check_signature(where: str, node: Node) -> None:
    """Ops that ONNX does not know are left to whoever runs them.

    Raises:
      GraphError: a required operand is missing, or there are too many operands or results.
    """
    try:
        schema = onnx.defs.get_schema(node.op, node.opset, node.domain)
    except onnx.defs.SchemaError:
        return
    place = f"{where}, node {node}"
    if len(node.inputs) > schema.max_input or len(node.outputs) > schema.max_output:
        raise GraphError(f"{place}: expected at most {schema.max_input} operands and {schema.max_output} results, got "
                         f"{len(node.inputs)} and {len(node.outputs)}")
    for index in range(max(schema.min_input, len(node.inputs))):
        formal = schema.inputs[min(index, len(schema.inputs) - 1)]
        if formal.option != _Option.Optional and (index >= len(node.inputs) or not node.inputs[index]):
            raise GraphError(f"{place}: expected operand {index} ({formal.name}), got none; export the policy again")
