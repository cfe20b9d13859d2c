"""The features of a trunk for many radiographs: computed once, and kept in files.

A folder belongs to one trunk and one set of images. Each of its files has the features of a block
of rows and is written whole, so that an interrupted computation goes on after the last of them.
"""

import hashlib
import json
import shutil
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from deepchest_cli.data.batches import batches, prefetch
from deepchest_cli.data.reader import ImageReader
from deepchest_cli.data.text import count_of, size_of
from deepchest_cli.errors import DeepChestError
from deepchest_cli.files import atomic_write, sweep, write_json
from deepchest_cli.model.classifier import Classifier, outputs_of
from deepchest_cli.model.weights import fingerprint
from deepchest_cli.training.forward import DTYPES
from deepchest_cli.training.precision import Precision

VERSION = 1  # of the key and of the files; another one never reads these
BLOCK = 256  # rows of a file
DESCRIPTION = "key.json"
ELSEWHERE = "Free space, or set XDG_CACHE_HOME to a folder with more; what is complete is kept."
Features = NDArray[np.float32]


@dataclass(frozen=True)
class FeatureCache:
    """Computes and keeps the features (N, D) of `rows` (N,) of the reader's data set."""

    root: Path  # of all such folders
    classifier: Classifier
    reader: ImageReader
    rows: NDArray[np.int64]
    width: int  # D
    precision: Precision
    batch_size: int  # radiographs that the trunk takes at a time

    @property
    def key(self) -> dict[str, Any]:
        """What the features depend on, in plain values."""
        architecture = self.classifier.architecture.to_plain()
        pixels = self.reader.dataset.pixel_hash[self.rows]
        return {
            "version": VERSION,
            "pixels_sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
            "trunk_sha256": fingerprint(self.classifier.trunk.state_dict()),
            "architecture": {
                name: value
                for name, value in architecture.items()
                if name not in ("head", "findings")
            },
            "precision": self.precision,
        }

    def load(self, note: Callable[[str], None], progress: Callable[[int, int], None]) -> Features:
        """Return the features (N, D), computing those that are not in the files.

        `progress` receives how many are computed, and of how many; what it raises ends the
        computation. Raises `DeepChestError` where there is no room for the files, or features are
        not finite.
        """
        key = self.key
        folder = self.root / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        features = np.empty((len(self.rows), self.width), np.float32)
        missing = [first for first in self._blocks if not self._read(folder, first, features, note)]
        where = f"{folder} ({size_of(features.nbytes)})"
        if not missing:
            note(f"Features of {_radiographs(len(self.rows))}: taken from {where}.")
            return features
        total = sum(len(self._of_block(first)) for first in missing)
        there = f"; {len(self.rows) - total:,} are there already" if total < len(self.rows) else ""
        note(
            f"Features of {_radiographs(len(self.rows))}: computed once, without augmentation, and "
            f"kept in {where}{there}."
        )
        _make(folder, features.nbytes * total // len(self.rows), key)
        self._compute(folder, missing, features, lambda done: progress(done, total))
        return features

    @property
    def _blocks(self) -> range:
        """The position of the first row of each block."""
        return range(0, len(self.rows), BLOCK)

    def _of_block(self, first: int) -> NDArray[np.int64]:
        return self.rows[first : first + BLOCK]

    def _read(
        self, folder: Path, first: int, features: Features, note: Callable[[str], None]
    ) -> bool:
        """Fill in a block from its file; False where there is none, or a damaged one."""
        path, target = _file(folder, first), features[first : first + BLOCK]
        if not path.exists():
            return False
        try:
            # verifies the checksum of the archive
            with path.open("rb") as file, np.load(file) as content:
                stored = content["features"]
            if stored.shape != target.shape or stored.dtype != target.dtype:
                raise ValueError(f"its shape is {stored.shape}")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            note(f"{path} is damaged ({error}): its features are computed again.")
            return False
        target[:] = stored
        return True

    def _compute(
        self,
        folder: Path,
        missing: list[int],
        features: Features,
        progress: Callable[[int], None],
    ) -> None:
        """Compute blocks, fill them in and write each into its file."""
        head, self.classifier.head = self.classifier.head, nn.Identity()  # features are the trunk's
        done = 0
        try:
            for first in missing:
                block = features[first : first + BLOCK]
                place = 0
                for batch in prefetch(batches(self.reader, self._of_block(first), self.batch_size)):
                    found = self._trunk(batch.images)
                    block[place : place + len(found)] = found
                    place += len(found)
                    progress(done + place)
                done += len(block)
                self._refuse_not_finite(block)
                with atomic_write(_file(folder, first)) as temporary, temporary.open("wb") as file:
                    np.savez(file, features=block)
        finally:
            self.classifier.head = head

    def _trunk(self, images: torch.Tensor) -> Features:
        """Return the features (B, D) of stored images (B, S, S)."""
        device = self.reader.device
        low = self.precision != "fp32"
        with torch.autocast(device.type, DTYPES[self.precision], enabled=low):
            features, _ = outputs_of(self.classifier, images, self.batch_size, device)
        return np.asarray(features.float().cpu())

    def _refuse_not_finite(self, block: Features) -> None:
        broken = int((~np.isfinite(block)).any(axis=1).sum())
        if broken:
            raise DeepChestError(
                f"The features of {_radiographs(broken)} are not finite in {self.precision}.",
                "Check --weights."
                if self.precision == "fp32"
                else "Use --precision fp32, or check --weights.",
            )


def _radiographs(number: int) -> str:
    return count_of(number, "radiograph")


def _file(folder: Path, first: int) -> Path:
    return folder / f"{first:08d}.npz"


def _make(folder: Path, needed: int, key: dict[str, Any]) -> None:
    """Make a folder and describe it; raises `DeepChestError` where `needed` bytes do not fit."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        write_json(folder / DESCRIPTION, key)
    except OSError as error:
        raise DeepChestError(
            f"The features cannot be kept in {folder}: {error.strerror}.", ELSEWHERE
        ) from error
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DeepChestError(
            f"The features take {size_of(needed)}, and {folder} has {size_of(free)} free.",
            ELSEWHERE,
        )
