"""What a preparation will do, fixed before anything is decoded."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.images import Images, Place
from deepchest_cli.data.parquet import footer_hash, is_parquet
from deepchest_cli.data.preparation.decoding import MISSING
from deepchest_cli.data.shards import (
    FORMAT,
    FORMAT_VERSION,
    NUMBER_COLUMNS,
    TEXT_COLUMNS,
    rows_per_shard,
)
from deepchest_cli.data.sources.base import Source, keep_rows
from deepchest_cli.data.sources.recognize import find_source_images, read_source
from deepchest_cli.data.sources.splitting import SplitAssignment, assign_splits
from deepchest_cli.errors import UsageError
from deepchest_cli.files import sha256_of

SMALLEST, LARGEST = 28, 1024  # pixels
Say = Callable[[str], None]  # is told what people should know


@dataclass
class Streamed:
    """What archives hold that only reading them tells, as far as it is known."""

    rows: set[int]  # whose images may lie in one
    is_certain: bool = False  # whether they do
    reasons: dict[int, str] = field(default_factory=dict)  # why other rows have no image
    damaged: list[str] = field(default_factory=list)  # archives
    archives: dict[int, str] = field(default_factory=dict)  # that rows lie in; empty: not known


@dataclass(frozen=True)
class Plan:
    """What a preparation will do: N rows of the table, T findings, one data set for each size."""

    source: Source
    splits: NDArray[np.str_]  # (N,)
    images: Images
    sizes: tuple[int, ...]
    pad: bool
    identity_but_size: dict[str, Any]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    streamed: Streamed

    @cached_property
    def source_rows(self) -> NDArray[np.int64]:
        """Where the rows stand among all rows of the source (N,)."""
        return self.source.table["source_row"].to_numpy()

    def place(self, row: int) -> Place | None:
        """Return where the image of a row lies, if that is known."""
        return self.images.places.get(int(self.source_rows[row]))

    def candidates(self) -> NDArray[np.bool_]:
        """Return which rows (N,) have an image, or may have one in an archive that is not read."""
        rows = enumerate(self.source_rows.tolist())
        places, streamed = self.images.places, self.streamed.rows
        return np.array([r in places or n in streamed for n, r in rows], dtype=bool)

    def reason(self, row: int) -> str:
        """Return why a row has no image."""
        refused = self.images.refused.get(int(self.source_rows[row]), MISSING)
        return self.streamed.reasons.get(row, refused)

    @property
    def table(self) -> pd.DataFrame:
        """The rows."""
        return self.source.table

    def identity(self, size: int) -> dict[str, Any]:
        """Return source and settings of one size: what makes two preparations the same."""
        settings = {"size": size, "rows_per_shard": rows_per_shard(size)}
        settings |= self.identity_but_size["settings"]
        return {**self.identity_but_size, "settings": settings}

    def rows_per_shard(self, size: int) -> int:
        """Return how many images a shard of a size holds at most."""
        return int(self.identity(size)["settings"]["rows_per_shard"])

    def folder(self, data: Path, size: int) -> Path:
        """Return where the shards of a size go: the folder itself, or one in it for each size."""
        return data if len(self.sizes) == 1 else data / str(size)


def plan_preparation(config: PrepareConfig, folder: Path) -> Plan:
    """Read tables and lists, draw the split and find the images; nothing is written.

    Raises `UsageError` where the source or a setting is wrong.
    """
    sizes = parse_sizes(config.size)
    source = read_source(folder, config)
    assignment = assign_splits(source, config)
    source = keep_rows(source, assignment.splits != "", "")
    if source.table.empty:
        raise UsageError(
            f"No image of {source.title} is in a split.",
            "The split names images otherwise than the table, or not at all; compare the two.",
        )
    images = find_source_images(source)
    placeless = {n for n, r in enumerate(source.table["source_row"]) if r not in images.places}
    return Plan(
        source=source,
        splits=assignment.splits[assignment.splits != ""],
        images=images,
        sizes=sizes,
        pad=config.pad,
        identity_but_size=_identity(config, source, assignment),
        notes=(*source.notes, *assignment.notes, *images.notes),
        warnings=(*source.warnings, *assignment.warnings),
        streamed=Streamed(placeless if images.streams else set(), not images.streams),
    )


def parse_sizes(text: str | int) -> tuple[int, ...]:
    """Return the sizes in `224` or `128,224`, each once; raise `UsageError` for others."""
    try:
        sizes = tuple(dict.fromkeys(int(size) for size in str(text).split(",")))
    except ValueError as error:
        said = f"--size should be pixels such as 224 or 128,224. Found {text!r}."
        raise UsageError(said) from error
    wrong = [size for size in sizes if not SMALLEST <= size <= LARGEST]
    if wrong:
        raise UsageError(f"--size should be from {SMALLEST} to {LARGEST} pixels. Found {wrong[0]}.")
    return sizes


def _identity(config: PrepareConfig, source: Source, assignment: SplitAssignment) -> dict[str, Any]:
    drawn = assignment.scheme == "random"
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "findings": list(source.findings),
        "source": {
            "kind": source.kind,
            "label_version": source.label_version,
            "synthetic": source.synthetic,
            "patients": source.has_patients,
            "studies": source.has_studies,
            "label_policies": source.policies,
            "sha256": _hashes((*source.hashed, *assignment.hashed), source.images),
            "rows_sha256": _hash_of_rows(source, assignment),
        },
        "settings": {
            "aspect": "pad" if config.pad else "squash",
            "resampling": "bilinear, antialiased",
            "views": config.views,
            "split_scheme": assignment.scheme,
            "validation_fraction": config.validation_fraction,
            "test_fraction": config.test_fraction if drawn else None,
            "seed": config.seed,
        },
    }


def _hashes(paths: Iterable[Path], root: Path) -> dict[str, str]:
    """Return the SHA-256 of each file, of a Parquet file that of its footer, by names of files."""
    hashed: dict[str, str] = {}
    for path in paths:
        if is_parquet(path):
            inside = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
            hashed[f"{inside.as_posix()} (footer)"] = footer_hash(path)
        else:
            name = path.name.removesuffix(".gz")
            hashed[name if name not in hashed else f"split:{name}"] = sha256_of(path)
    return dict(sorted(hashed.items()))


def _hash_of_rows(source: Source, assignment: SplitAssignment) -> str:
    """Return a hash of all that shards hold besides pixels, whatever flags and files it is from."""
    table, digest = source.table, hashlib.sha256()
    for name in (*TEXT_COLUMNS, *NUMBER_COLUMNS):
        if name == "split":
            values = assignment.splits[assignment.splits != ""].astype("S10")
        elif name == "source":
            continue  # it stands in the manifest
        elif name in TEXT_COLUMNS:
            values = table[name].to_numpy(dtype=str).astype("S128")
        else:
            values = table[name].to_numpy().astype(NUMBER_COLUMNS[name])
        digest.update(values.tobytes())
    for array in (source.labels, source.known):
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(source.boxes.to_csv(index=False, lineterminator="\n").encode())
    return digest.hexdigest()
