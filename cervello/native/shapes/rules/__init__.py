"""Shape rules, a family of ops per file."""
