"""Games of several agents: a policy for each agent, and one batch per policy.

A match yields what its policies are asked and is sent what they answer, so that many matches may ask at once.
"""
