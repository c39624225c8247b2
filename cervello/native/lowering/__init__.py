"""Lowers a graph to steps; each step is a call of one kernel."""
