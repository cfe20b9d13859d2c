"""What a preparation will do, fixed before anything is decoded."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.demo import is_demo
from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.nih_folder import (
    find_images,
    find_metadata,
    read_boxes,
    read_split_lists,
)
from deepchest_cli.data.nih_layout import BOX_FILE, SPLIT_LISTS
from deepchest_cli.data.nih_metadata import read_metadata
from deepchest_cli.data.shards import FORMAT, FORMAT_VERSION, rows_per_shard
from deepchest_cli.data.splits import official_split, random_split
from deepchest_cli.files import sha256_of

SHOWN = 5  # names listed in a message before it says how many more there are


@dataclass(frozen=True)
class Plan:
    """What a preparation will do, fixed before anything is decoded."""

    table: pd.DataFrame  # one row per candidate image with `split` and `path`
    boxes: pd.DataFrame
    identity: dict[str, Any]  # source and settings: what makes two preparations the same
    notes: tuple[str, ...]


def plan_preparation(config: PrepareConfig, source: Path) -> Plan:
    """Read tables and lists, draw the split and find the images; nothing is written."""
    metadata_path = find_metadata(source)
    metadata = read_metadata(metadata_path)
    table = metadata.table
    labels = table[list(FINDINGS)].to_numpy(dtype=np.uint8)
    patients = table["patient_id"].to_numpy()
    notes = list(metadata.warnings)
    hashed = [metadata_path]
    if config.split_scheme == "official":
        lists = read_split_lists(source)
        hashed += [source / name for name in SPLIT_LISTS.values()]
        names = list(table["image_index"])
        table["split"] = official_split(
            names, patients, labels, lists, config.validation_fraction, config.seed
        )
        notes += _list_notes(lists, table)
        table = table[table["split"] != ""].reset_index(drop=True)
    else:
        fractions = (config.validation_fraction, config.test_fraction)
        table["split"] = random_split(patients, labels, *fractions, config.seed)
    images = find_images(source)
    table["path"] = [str(images.get(name, "")) for name in table["image_index"]]
    surplus = len(images.keys() - set(metadata.table["image_index"]))
    if surplus:
        notes.append(f"{surplus} images have no row in {metadata_path.name} and are not used.")
    if (source / BOX_FILE).is_file():
        hashed.append(source / BOX_FILE)
    identity = _identity(config, metadata.label_version, hashed, is_demo(source))
    return Plan(table, read_boxes(source), identity, tuple(notes))


def _list_notes(lists: dict[str, frozenset[str]], table: pd.DataFrame) -> Iterator[str]:
    unlisted = table.loc[table["split"] == "", "image_index"]
    if len(unlisted):
        yield f"{len(unlisted)} images, in neither split list, are left out: {few(unlisted)}."
    rowless = len((lists["train_val"] | lists["test"]) - set(table["image_index"]))
    if rowless:
        yield f"{rowless} names of the split lists have no row in the metadata."


def few(names: Any) -> str:
    """Return the first few of many names and how many more there are."""
    shown = ", ".join(list(names)[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"


def _identity(
    config: PrepareConfig, label_version: str, hashed: list[Path], synthetic: bool
) -> dict[str, Any]:
    official = config.split_scheme == "official"
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "findings": list(FINDINGS),
        "source": {
            "kind": "nih",
            "label_version": label_version,
            "synthetic": synthetic,
            "sha256": {path.name: sha256_of(path) for path in hashed},
        },
        "settings": {
            "size": config.size,
            "rows_per_shard": rows_per_shard(config.size),
            "aspect": "squash",
            "resampling": "bilinear, antialiased",
            "split_scheme": config.split_scheme,
            "validation_fraction": config.validation_fraction,
            "test_fraction": None if official else config.test_fraction,
            "seed": config.seed,
        },
    }
