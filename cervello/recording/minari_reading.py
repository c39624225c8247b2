"""Reads Minari datasets (0.5.4) in HDF5, and in Parquet and Arrow where pyarrow is installed.

Needs the extra `minari`, which is imported when a dataset is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from cervello.errors import FormatError, MissingFileError, RecordingError
from cervello.recording.episode import Episode
from cervello.recording.minari_columns import as_episode


class MinariRecording:
    """The episodes of a Minari dataset, in its order, one in memory at a time.

    Attributes:
      path: the dataset's folder. metadata: Minari's.
      observation_space, action_space: Gymnasium's.
    """

    def __init__(self, dataset: Any, path: Path):
        self._dataset = dataset
        self.path = path
        self.metadata: Mapping[str, Any] = dataset.storage.metadata
        self.observation_space: Any = dataset.observation_space
        self.action_space: Any = dataset.action_space

    @classmethod
    def of_id(cls, dataset_id: str) -> MinariRecording:
        """The local dataset of an id.

        Args:
          dataset_id: "namespace/name-v0", in MINARI_DATASETS_PATH or Minari's own folder.
        Raises:
          MissingFileError: no such dataset.
        """
        minari = minari_module()
        try:
            dataset = minari.load_dataset(dataset_id)
        except ImportError as error:
            raise _no_arrow(error) from error
        except FileNotFoundError as error:
            raise MissingFileError(f"recording, minari={dataset_id!r}: expected a local dataset, found none; minari.download_dataset gets "
                                   "published ones, MINARI_DATASETS_PATH says where others are") from error
        return cls(dataset, Path(dataset.spec.data_path).parent)

    @classmethod
    def of_folder(cls, path: Path) -> MinariRecording:
        """The dataset in a folder: the one with the dataset's name, or `data` in it.

        Args:
          path: of the folder.
        Raises:
          FormatError: no dataset there.
        """
        data = path / "data" if (path / "data").is_dir() else path
        if not (data / "metadata.json").is_file():
            raise FormatError(f"recording {str(path)!r}: expected a log or the folder of a Minari dataset, got a folder without "
                              "data/metadata.json")
        try:
            return cls(minari_module().MinariDataset(data), data.parent)
        except ImportError as error:
            raise _no_arrow(error) from error

    def __iter__(self) -> Iterator[Episode]:
        """The episodes.

        Raises:
          InputError: one whose columns do not have T or T + 1 rows. FormatError: one that Minari does not load.
        """
        found = self._dataset.iterate_episodes()
        for i, episode_metadata in enumerate(self._dataset.storage.get_episode_metadata(self._dataset.episode_indices)):
            try:
                episode = next(found)
            except (ValueError, KeyError, OSError, StopIteration) as error:
                raise FormatError(f"recording {str(self.path)!r}, episode {i}: expected an episode that Minari loads, got "
                                  f"{type(error).__name__}: {error}; it writes infos that are arrays of one dimension to Parquet and Arrow "
                                  "and does not load them: write lists of numbers, or HDF5") from error
            seed = episode_metadata.get("seed")
            yield as_episode(episode, seed=None if seed is None else int(seed))


def _no_arrow(error: ImportError) -> RecordingError:
    return RecordingError(f"recording: expected pyarrow for a Minari dataset in Parquet or Arrow, got {error}; pip install pyarrow")


def minari_module() -> ModuleType:
    """Imports the package `minari` and the packages of its HDF5 storage.

    Raises:
      RecordingError: a package is not installed.
    """
    try:
        import h5py  # noqa: F401
        import minari
    except ImportError as error:
        raise RecordingError(f"recording: expected the extra 'minari' for Minari datasets, got {error}; install the extra 'minari'"
                             ) from error
    return minari  # type: ignore[no-any-return]
