"""The active agents of a policy: ids, slots, streams, episodes, and the lock."""
