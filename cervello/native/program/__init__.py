"""Steps as words that the compiled loop reads."""
