"""Games of several agents: who plays whom, and one batch per policy for all of them.

A match yields what its policies are asked and is sent what they answer, so that many matches may ask at once.
"""
