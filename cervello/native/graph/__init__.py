"""What a graph is: nodes, sizes, values, tensors. No ONNX, no kernels."""
