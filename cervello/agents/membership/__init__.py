"""Which agents there are: ids, slots, streams, episodes, and the lock."""
