"""One policy: decisions for its agents, loading, replacement, snapshots."""
