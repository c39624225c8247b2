"""Arrays and the element types that passes, rules and kernels name."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
BOOL, U8, I32, I64 = np.dtype(bool), np.dtype(np.uint8), np.dtype(np.int32), np.dtype(np.int64)
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
