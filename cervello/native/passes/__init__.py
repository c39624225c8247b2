"""Changes of a graph before it is lowered: decompositions, fusion, the batch axis."""
