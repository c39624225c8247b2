"""Decompositions of ops, one family per file."""
