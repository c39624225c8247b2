"""Runs: contexts, arguments, bound calls, threads."""
