"""The compiled loop itself: it resolves sizes, places tensors and calls kernels."""
