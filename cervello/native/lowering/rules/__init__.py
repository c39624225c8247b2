"""What each ONNX op means: its result shape (`shapes`) and its planned steps (one file per family)."""
