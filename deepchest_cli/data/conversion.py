"""One shard's worth of work: decode, shrink and write; done in a process of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.nih_layout import BOX_FRAME
from deepchest_cli.data.radiograph import UnreadableRadiographError, read_radiograph
from deepchest_cli.data.shards import NUMBER_COLUMNS, TEXT_COLUMNS, ShardContent, write_shard
from deepchest_cli.files import sha256_of


@dataclass(frozen=True)
class ShardJob:
    """Which candidate rows go into which file."""

    path: Path
    size: int
    table: pd.DataFrame  # metadata with `split` and `path` (empty: the image is missing)
    boxes: pd.DataFrame  # of these rows' images


def convert_shard(job: ShardJob, counter: Any = None) -> dict[str, Any]:
    """Write one shard and return its manifest entry: file, sha256, bytes, images, left_out.

    Images that cannot be read fall out and are listed with the reason. `counter` is a shared
    integer that grows with every image.
    """
    pixels: list[NDArray[np.uint8]] = []
    kept: list[int] = []
    left_out: list[dict[str, str]] = []
    for row, (name, path) in enumerate(
        zip(job.table["image_index"], job.table["path"], strict=True)
    ):
        try:
            if not path:
                raise UnreadableRadiographError("the file is missing")
            pixels.append(read_radiograph(Path(path), job.size))
            kept.append(row)
        except UnreadableRadiographError as error:
            left_out.append({"image": name, "reason": error.message})
        if counter is not None:
            with counter.get_lock():
                counter.value += 1
    write_shard(job.path, _content(job, pixels, kept))
    return {
        "file": job.path.name,
        "sha256": sha256_of(job.path),
        "bytes": job.path.stat().st_size,
        "images": len(kept),
        "left_out": left_out,
    }


def _content(job: ShardJob, pixels: list[NDArray[np.uint8]], kept: list[int]) -> ShardContent:
    table = job.table.iloc[kept]
    labels = table[list(FINDINGS)].to_numpy(dtype=np.uint8)
    position = {name: row for row, name in enumerate(table["image_index"])}
    boxes = job.boxes[job.boxes["image_index"].isin(list(position))]
    frame = boxes[["x", "y", "width", "height"]].to_numpy(dtype=np.float64)
    return ShardContent(
        images=np.stack(pixels) if pixels else np.empty((0, job.size, job.size), dtype=np.uint8),
        labels=labels,
        known=np.ones_like(labels),
        columns={name: table[name].to_numpy() for name in (*TEXT_COLUMNS, *NUMBER_COLUMNS)},
        box_row=np.array([position[name] for name in boxes["image_index"]], dtype=np.int32),
        box_finding=boxes["finding"].to_numpy(dtype="S32"),
        box=(frame * (job.size / BOX_FRAME)).astype(np.float32),
        findings=FINDINGS,
    )
