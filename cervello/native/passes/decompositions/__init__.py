"""Ops that are replaced by others, by family."""
