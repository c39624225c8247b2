"""From an ONNX file to a checked graph."""
