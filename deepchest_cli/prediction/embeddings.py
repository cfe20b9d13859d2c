"""The features of images in a file for other programs: NumPy's .npz, or Parquet."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from deepchest_cli.errors import UsageError
from deepchest_cli.files import PARQUET, atomic_write, new_file, refuse_unwritable
from deepchest_cli.prediction.image_prediction import ImagePrediction
from deepchest_cli.prediction.predictor import Predictor

NPZ = ".npz"
ROW_GROUP = 1024  # images whose features wait for Parquet
Keep = Callable[[ImagePrediction], None]


class _NothingKept(Exception):  # noqa: N818  (no error: what was begun is undone)
    """There was no image."""


class _Columns:
    """What is kept of images; a model's values are the same in every row."""

    def __init__(self, model: dict[str, Any]) -> None:
        self.model = model
        self.clear()

    def clear(self) -> None:
        self.path: list[str] = []
        self.sha256: list[str] = []
        self.features: list[Any] = []  # (D,) each

    def add(self, one: ImagePrediction) -> None:
        # a file's name may have bytes that are no text, which Parquet does not take
        self.path.append(one.path.encode("utf-8", "backslashreplace").decode())
        self.sha256.append(one.sha256)
        self.features.append(one.features)


def embeddings_file(path: Path, predictor: Predictor, force: bool) -> AbstractContextManager[Keep]:
    """Return a context that gives a function to keep images' features by.

    The file has the features (N, D), float32, the path and SHA-256 of each image, and the model's
    SHA-256, backbone and image size in pixels. Parquet has a row for each image and is written in
    groups of 1,024 rows; the arrays of .npz wait in memory for the end. The file stands whole when
    the block succeeds, else not at all; nor does it without an image. Raises `UsageError` for a
    file that cannot be written, and for several models.
    """
    refuse_ensemble(predictor)
    refuse_unwritable(path, "--embeddings", (NPZ, PARQUET), force)
    identity = predictor.networks[0].metadata.identity
    names = {"model_sha256": "sha256", "backbone": "backbone", "image_size": "image_size"}
    columns = _Columns({name: identity[key] for name, key in names.items()})
    return _written(path, columns, _parquet if path.suffix.lower() == PARQUET else _npz)


def refuse_ensemble(predictor: Predictor) -> None:
    """Raise `UsageError` for several models."""
    count = len(predictor.networks)
    if count > 1:
        raise UsageError(
            f"{count} models have no common feature space.",
            "Name one model, and take the features of each in turn.",
        )


@contextmanager
def _written(
    path: Path,
    columns: _Columns,
    writer: Callable[[Path, _Columns], AbstractContextManager[Keep]],
) -> Iterator[Keep]:
    with suppress(_NothingKept), new_file(path), atomic_write(path) as temporary:
        with writer(temporary, columns) as keep:
            yield keep
        if not temporary.exists():
            raise _NothingKept


@contextmanager
def _npz(path: Path, columns: _Columns) -> Iterator[Keep]:
    yield columns.add
    if columns.path:
        with path.open("wb") as file:  # a name without .npz would get it
            values: dict[str, Any] = {"features": np.stack(columns.features), **columns.model}
            np.savez(file, path=np.array(columns.path), sha256=np.array(columns.sha256), **values)


@contextmanager
def _parquet(path: Path, columns: _Columns) -> Iterator[Keep]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer: Any = None

    def write() -> None:
        nonlocal writer
        features = np.stack(columns.features)
        count, width = features.shape
        table = pa.table(
            {
                "path": columns.path,
                "sha256": columns.sha256,
                "features": pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), width),
                **{name: [value] * count for name, value in columns.model.items()},
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
        columns.clear()

    def keep(one: ImagePrediction) -> None:
        columns.add(one)
        if len(columns.path) == ROW_GROUP:
            write()

    try:
        yield keep
        if columns.path:
            write()
    finally:
        if writer is not None:
            writer.close()
