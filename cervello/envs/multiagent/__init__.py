"""Games of several agents: a policy for each agent, and one batch per policy.

A match is a coroutine that yields inference requests and is sent the responses, so that one batch serves many matches.
"""
