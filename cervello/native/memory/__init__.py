"""Memory of a program: the arena plan, the shared weights, and the verifier, which proves that every access is in bounds."""
