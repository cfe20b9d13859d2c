"""What a preparation will do, fixed before anything is decoded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.images import Images
from deepchest_cli.data.shards import FORMAT, FORMAT_VERSION, rows_per_shard
from deepchest_cli.data.sources.base import Source, keep_rows
from deepchest_cli.data.sources.recognise import find_source_images, read_source
from deepchest_cli.data.sources.splitting import Division, divide
from deepchest_cli.errors import UsageError
from deepchest_cli.files import sha256_of

SMALLEST, LARGEST = 28, 1024  # pixels


@dataclass(frozen=True)
class Plan:
    """What a preparation will do: N candidate rows, T findings, one data set for each size."""

    source: Source
    parts: NDArray[np.str_]  # (N,)
    images: Images
    keys: list[str]  # of the rows, (N,)
    sizes: tuple[int, ...]
    pad: bool
    identity_but_size: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def table(self) -> pd.DataFrame:
        """The candidate rows."""
        return self.source.table

    def identity(self, size: int) -> dict[str, Any]:
        """Return source and settings of one size: what makes two preparations the same."""
        settings = {"size": size, "rows_per_shard": rows_per_shard(size)}
        return {
            **self.identity_but_size,
            "settings": {**settings, **self.identity_but_size["settings"]},
        }

    def folder(self, data: Path, size: int) -> Path:
        """Return where the shards of a size go: the folder itself, or one in it for each size."""
        return data if len(self.sizes) == 1 else data / str(size)


def plan_preparation(config: PrepareConfig, folder: Path) -> Plan:
    """Read tables and lists, draw the split and find the images; nothing is written.

    Raises `UsageError` where the source or a setting is wrong.
    """
    sizes = parse_sizes(config.size)
    source = read_source(folder, config)
    division = divide(source, config)
    source = keep_rows(source, division.parts != "", "")
    if source.table.empty:
        raise UsageError(f"No image of {source.title} has a part in the split.")
    images = find_source_images(source)
    keys = [images.keys(path) for path in source.table["path"]]
    notes = [note for note in (*source.notes, *division.notes) if note]
    surplus = len(images.places.keys() - set(keys))
    if surplus:
        notes.append(f"{surplus:,} images have no row in the table and are not used.")
    if images.refused:
        notes.append(
            f"{images.refused} members of archives are links, devices, larger than 268 MB or lead "
            "outside; they are not used."
        )
    if images.twins:
        notes.append(f"{images.twins} files are there twice with the same bytes; one is used.")
    return Plan(
        source=source,
        parts=division.parts[division.parts != ""],
        images=images,
        keys=keys,
        sizes=sizes,
        pad=config.pad,
        identity_but_size=_identity(config, source, division),
        notes=tuple(notes),
    )


def parse_sizes(text: str | int) -> tuple[int, ...]:
    """Return the sizes in `224` or `128,224`, each once; raise `UsageError` for others."""
    try:
        sizes = tuple(dict.fromkeys(int(size) for size in str(text).split(",")))
    except ValueError as error:
        raise UsageError(
            f"--size should be pixels such as 224 or 128,224. Found {text!r}."
        ) from error
    wrong = [size for size in sizes if not SMALLEST <= size <= LARGEST]
    if wrong:
        raise UsageError(f"--size should be from {SMALLEST} to {LARGEST} pixels. Found {wrong[0]}.")
    return sizes


def _identity(config: PrepareConfig, source: Source, division: Division) -> dict[str, Any]:
    drawn = division.scheme == "random"
    hashed = {path.name.removesuffix(".gz"): path for path in (*source.hashed, *division.hashed)}
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "findings": list(source.findings),
        "source": {
            "kind": source.kind,
            "label_version": source.label_version,
            "synthetic": source.synthetic,
            "patients": source.has_patients,
            "label_policies": source.policies,
            "sha256": {name: sha256_of(path) for name, path in sorted(hashed.items())},
        },
        "settings": {
            "aspect": "pad" if config.pad else "squash",
            "resampling": "bilinear, antialiased",
            "views": config.views,
            "split_scheme": division.scheme,
            "validation_fraction": config.validation_fraction,
            "test_fraction": config.test_fraction if drawn else None,
            "seed": config.seed,
        },
    }
