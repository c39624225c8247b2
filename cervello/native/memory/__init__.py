"""Memory of a program: the arena plan, the shared weights, and the verifier that proves every access in bounds."""
