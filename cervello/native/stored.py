"""Arrays as a policy file stores them: in the file, or in files beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from cervello.errors import FormatError, ModelError, UnsupportedError


def read_array(tensor: onnx.TensorProto, folder: Path | None, where: str) -> np.ndarray[Any, Any]:
    """A tensor's data.

    Args:
      folder: of the model; None when it was not loaded by path.
      where: what the tensor is, for errors.
    """
    try:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            return _external(tensor, folder, where)
        array = np.asarray(numpy_helper.to_array(tensor))
        if array.dtype.kind == "O":
            raise UnsupportedError(f"{where}: expected numbers, got strings")
        return array
    except ModelError:
        raise
    except Exception as error:  # numpy_helper raises whatever its inputs provoke
        raise FormatError(f"{where}: expected {list(tensor.dims)} elements of type {tensor.data_type}, got unreadable data "
                          f"({error})") from error


def _external(tensor: onnx.TensorProto, folder: Path | None, where: str) -> np.ndarray[Any, Any]:
    """Reads weights kept beside the model: never outside the model's own folder."""
    facts = {entry.key: entry.value for entry in tensor.external_data}
    location = facts.get("location", "")
    if folder is None:
        raise FormatError(f"{where}: expected its data in the model, got external file {location!r}; load the model by path")
    path = (folder / location).resolve()
    if not location or Path(location).is_absolute() or not path.is_relative_to(folder) or not path.is_file():
        raise FormatError(f"{where}: expected a file inside the model's folder, got {location!r}")
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    count = 1
    for dim in tensor.dims:
        count *= dim
    offset, n_bytes = int(facts.get("offset", 0)), count * dtype.itemsize
    available = path.stat().st_size
    if offset < 0 or count < 0 or offset + n_bytes > available or int(facts.get("length", n_bytes)) != n_bytes:
        raise FormatError(f"{where}: expected {n_bytes} bytes at {offset} of {location!r}, got a file of {available} bytes")
    return np.fromfile(path, dtype, count, offset=offset).reshape(tuple(tensor.dims))
