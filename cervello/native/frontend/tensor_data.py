"""Arrays as a policy file stores them: in the file, or in files beside it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from cervello.errors import FormatError, MissingFileError, ModelError, UnsupportedError
from cervello.native.graph.dtypes import Array


def data_folders(path: Path) -> tuple[Path, ...]:
    """Folders that may hold a model's external data: the folder of its path, and the folder of the file that a link points to.

    Hugging Face's cache uses links: `snapshots/<revision>/policy.onnx` points to `blobs/<hash>`, and so does the data.
    """
    return tuple(dict.fromkeys((path.parent.resolve(), path.resolve().parent)))


def read_array(tensor: onnx.TensorProto, folders: tuple[Path, ...], where: str) -> Array:
    """A tensor's data.

    Args:
      folders: see `data_folders`; none when the model was not loaded by path.
      where: what the tensor is, for errors.
    Raises:
      MissingFileError: its external file is in none of the folders.
      FormatError: its data cannot be read, or lie outside the folders.
    """
    try:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            return _external(tensor, folders, where)
        array = np.asarray(numpy_helper.to_array(tensor))
        if array.dtype.kind == "O":
            raise UnsupportedError(f"{where}: expected numbers, got strings")
        return array
    except ModelError:
        raise
    except Exception as error:  # numpy_helper raises whatever its inputs provoke
        raise FormatError(f"{where}: expected {list(tensor.dims)} elements of type {tensor.data_type}, got unreadable data "
                          f"({error})") from error


def _external(tensor: onnx.TensorProto, folders: tuple[Path, ...], where: str) -> Array:
    """Reads an external data file, only inside the model's folders."""
    facts = {entry.key: entry.value for entry in tensor.external_data}
    location = facts.get("location", "")
    if not folders:
        raise FormatError(f"{where}: expected its data in the model, got external file {location!r}; load the model by path")
    path = _resolved_path(location, folders, where)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    count = 1
    for dim in tensor.dims:
        count *= dim
    offset, n_bytes = int(facts.get("offset", 0)), count * dtype.itemsize
    available = path.stat().st_size
    if offset < 0 or count < 0 or offset + n_bytes > available or int(facts.get("length", n_bytes)) != n_bytes:
        raise FormatError(f"{where}: expected {n_bytes} bytes at {offset} of {location!r}, got a file of {available} bytes")
    return np.fromfile(path, dtype, count, offset=offset).reshape(tuple(tensor.dims))


def _resolved_path(location: str, folders: tuple[Path, ...], where: str) -> Path:
    """The file of external data, links resolved."""
    given = Path(os.path.normpath(location))
    if location and not given.anchor and given.parts[:1] != ("..",):
        paths = [(folder / location).resolve() for folder in folders]
        for path in paths:
            if path.is_file() and any(path.is_relative_to(folder) for folder in folders):
                return path
        if not any(path.exists() for path in paths):
            places = " and ".join(repr(str(folder)) for folder in folders)
            raise MissingFileError(f"{where}: expected its data in the file {location!r}, found no such file in {places}; put it there, or "
                                   "export the model with its weights inside")
    raise FormatError(f"{where}: expected a file inside the model's folder, got {location!r}")
