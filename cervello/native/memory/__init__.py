"""Where tensors lie: the arena plan, the shared weights, and the proof that no step touches anything else."""
