"""Small prepared data sets in memory, to put together."""

from pathlib import Path
from typing import Any

import numpy as np

from deepchest_cli.data.dataset import Boxes, Member, RadiographDataset
from deepchest_cli.data.shard_images import Shard

SPLITS = ("train", "train", "validation", "test")  # of the first patients, again and again


def made(
    name: str,
    findings: tuple[str, ...] = ("Effusion", "Mass"),
    kind: str = "csv",
    patients: tuple[int, ...] = (1, 2, 3, 4),
    splits: tuple[str, ...] | None = None,
    size: int = 8,
    source: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    **columns: Any,
) -> RadiographDataset:
    """Return a data set of one image for each of `patients`, whose pixels no other one has."""
    count = len(patients)
    chance = np.random.default_rng(sum(name.encode()))
    labels = chance.integers(0, 2, (count, len(findings))).astype(np.uint8)
    named = np.array([f"{name}-{number}.png" for number in range(count)])
    folder = Path("/data") / name
    manifest = {
        "source": {
            "kind": kind, "synthetic": False, "patients": True, "sha256": {"table.csv": name},
            "rows_sha256": name, "label_policies": {}, **(source or {}),
        },
        "settings": {"size": size, "validation_fraction": 0.5, **(settings or {})},
    }  # fmt: skip
    given = {
        "image_index": named,
        "patient_id": np.array(patients),
        "split": np.array(splits or [SPLITS[n % 4] for n in range(count)]),
        **columns,
    }
    images = chance.integers(0, 256, (count, size, size)).astype(np.uint8)
    return RadiographDataset(
        members=(Member(name, folder, manifest, f"manifest of {name}", findings),),
        member=np.zeros(count, dtype=np.int64),
        findings=findings,
        size=size,
        labels=labels,
        known=np.ones_like(labels),
        columns=given,
        pixel_hash=np.array([f"{name} {number}".encode() for number in range(count)], dtype="S32"),
        shards=(Shard(folder / "shard-00000.h5", images, 0),),
        starts=np.zeros(1, dtype=np.int64),
        boxes=Boxes(
            np.array([1]), np.array([findings[0]]), np.array([[2, 2, 4, 6]], dtype=np.float32)
        ),
    )
