"""ChestMNIST (Yang et al., Scientific Data 2023): arrays in an npz file, at 28 to 224 px."""

import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.images import Stream
from deepchest_cli.data.sources.base import OwnSplits, Source, blank_table
from deepchest_cli.errors import DeepChestError, UsageError

SPLITS = {"train": "train", "val": "validation", "test": "test"}
HINT = "Download chestmnist.npz, or one of its larger sizes, again: https://medmnist.com"


def find_npz(source: Path) -> Path | None:
    """Return ChestMNIST's file: the source itself, or the only one in it."""
    if source.suffix.lower() == ".npz":
        return source
    found = sorted(source.glob("chestmnist*.npz"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UsageError(f"{source} holds {names}.", f"Name one: --source {found[-1]}")
    return found[0] if found else None


def read_chestmnist(path: Path) -> Source:
    """Return the rows of a ChestMNIST file: its own split, fourteen labels, no patients."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            labels = {split: arrays[f"{split}_labels"] for split in SPLITS}
    except FileNotFoundError as error:
        raise UsageError(f"There is no file {path}.", HINT) from error
    except Exception as error:  # numpy, zipfile and zlib each have their own
        raise UsageError(f"{path} is no file of ChestMNIST: {error}.", HINT) from error
    for split, array in labels.items():
        if array.ndim != 2 or array.shape[1] != len(FINDINGS) or not np.isin(array, (0, 1)).all():
            raise UsageError(
                f"{path}: {split}_labels should be 0 and 1 for {len(FINDINGS)} findings. Found "
                f"shape {array.shape}.",
                HINT,
            )
    names = [f"{split}_{row:06d}" for split in SPLITS for row in range(len(labels[split]))]
    order = np.argsort(names, kind="stable")
    splits = np.array([SPLITS[name.split("_")[0]] for name in names], dtype="<U10")[order]
    table = blank_table(pd.Series(names).iloc[order])
    table["patient_id"] = np.arange(len(names))
    together = np.concatenate([labels[split] for split in SPLITS]).astype(np.uint8)[order]
    return Source(
        "chestmnist", "ChestMNIST", table, FINDINGS, together, np.ones_like(together),
        images=path, hashed=(path,), own_scheme="chestmnist",
        streams=(Stream(path, partial(stream_arrays, path)),),
        own_splits=partial(OwnSplits, splits), has_patients=False,
    )  # fmt: skip


def stream_arrays(
    path: Path, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, NDArray[np.uint8] | None, bool]]:
    """Yield name, pixels (None where not wanted) and acceptance of each image of a ChestMNIST file.

    Row after row: at 224 px all take 5.6 GB unpacked.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for split in SPLITS:
                with archive.open(f"{split}_images.npy") as file:
                    for row, pixels in enumerate(_rows(file)):
                        name = f"{split}_{row:06d}"
                        yield name, pixels if wanted(name) else None, True
    except Exception as error:  # as above
        raise DeepChestError(f"{path} is damaged: {error}.", HINT) from error


def _rows(file: IO[bytes]) -> Iterator[NDArray[np.uint8]]:
    is_first = np.lib.format.read_magic(file) == (1, 0)
    read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype != np.uint8 or len(shape) != 3 or fortran:
        raise ValueError(f"images of type {dtype} and shape {shape}, not gray bytes (N, S, S)")
    length = int(np.prod(shape[1:]))
    for _ in range(shape[0]):
        data = file.read(length)
        if len(data) < length:
            raise EOFError("it ends too early")
        yield np.frombuffer(data, dtype=np.uint8).reshape(shape[1:])
