"""Many policies under one frame budget."""
