"""Ops that are spelled in others, by family."""
