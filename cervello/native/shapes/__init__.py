"""Shapes, types and constant values of every tensor."""
