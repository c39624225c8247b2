"""Graph passes before lowering: decompositions, fusion, the batch axis."""
