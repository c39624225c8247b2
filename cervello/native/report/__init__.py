"""Reports on a model: memory plan, profile, limits of the machine, leaks."""
