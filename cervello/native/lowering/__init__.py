"""From a graph to steps, each a call of one kernel."""
