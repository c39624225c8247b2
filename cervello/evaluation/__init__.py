"""Offline policy evaluation: the value of policies from logged episodes, with honest uncertainty."""
