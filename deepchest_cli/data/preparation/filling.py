"""One size's shards while they fill: rows come in any order, a complete shard is written."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.preparation.decoding import Decoded
from deepchest_cli.data.preparation.planning import Plan
from deepchest_cli.data.preparation.scratch import Scratch
from deepchest_cli.data.preparation.shard_folder import Entries, save_progress
from deepchest_cli.data.radiograph import Placement, placement
from deepchest_cli.data.shards import (
    NUMBER_COLUMNS,
    TEXT_COLUMNS,
    ShardContent,
    shard_name,
    write_shard,
)
from deepchest_cli.files import sha256_of


class Filling:
    """The shards of one size; those in `done` are complete already."""

    def __init__(self, plan: Plan, size: int, folder: Path, done: Entries) -> None:
        self.plan, self.size, self.folder, self.done = plan, size, folder, done
        self.rows = int(plan.identity(size)["settings"]["rows_per_shard"])
        count = len(plan.table)
        self.left = {  # rows without an answer, of every shard that is not done
            shard: min(self.rows, count - shard * self.rows)
            for shard in range(-(-count // self.rows))
            if shard_name(shard) not in done
        }
        self.lost: dict[int, str] = {}  # row to reason
        self.dull: set[int] = set()
        self.digest = np.zeros(count, dtype="S32")
        self.length = np.zeros(count, dtype=np.int64)  # bytes of the file
        self.shape = np.zeros((count, 2), dtype=np.int32)  # width and height of the file
        self.scratch = Scratch(folder, self.rows, size)

    def wants(self, row: int) -> bool:
        """Whether a row belongs to a shard that is not complete."""
        return row // self.rows in self.left

    def add(self, row: int, decoded: Decoded) -> None:
        """Take an image, or the reason why there is none; write its shard when it is complete."""
        shard = row // self.rows
        if shard not in self.left:
            return
        if decoded.reason:
            self.lost[row] = decoded.reason
        else:
            stored = decoded.stored[self.size]
            self.scratch.put(shard, row % self.rows, stored.pixels)
            self.digest[row], self.length[row] = stored.digest, decoded.length
            self.shape[row] = decoded.width, decoded.height
            if stored.nearly_constant:
                self.dull.add(row)
        self.left[shard] -= 1
        if not self.left[shard]:
            del self.left[shard]
            self._finish(shard)

    def _finish(self, shard: int) -> None:
        first = shard * self.rows
        rows = np.arange(first, min(first + self.rows, len(self.plan.table)))
        kept = np.array([row for row in rows.tolist() if row not in self.lost], dtype=np.int64)
        path = self.folder / shard_name(shard)
        write_shard(path, self._content(kept, self.scratch.take(shard, kept - first)))
        names = self.plan.table["image_index"]
        self.done[path.name] = {
            "file": path.name,
            "sha256": sha256_of(path),
            "bytes": path.stat().st_size,
            "images": len(kept),
            "left_out": [
                {"image": names[row], "reason": self.lost[row]}
                for row in rows.tolist()
                if row in self.lost
            ],
            "near_constant": [names[row] for row in kept.tolist() if row in self.dull],
        }
        save_progress(self.folder, self.plan.identity(self.size), self.done)

    def _content(self, kept: NDArray[np.int64], images: NDArray[np.uint8]) -> ShardContent:
        plan = self.plan
        table = plan.table.iloc[kept].assign(split=plan.parts[kept])
        for column, side in (("original_width", 0), ("original_height", 1)):
            known = table[column].to_numpy()
            if plan.source.box_frame is None:  # a table without sizes: that of the file
                table[column] = np.where(known < 0, self.shape[kept, side], known)
        box_row, box_finding, box = self._boxes(kept)
        return ShardContent(
            images=images,
            labels=plan.source.labels[kept],
            known=plan.source.known[kept],
            digest=self.digest[kept],
            file_bytes=self.length[kept],
            columns={name: table[name].to_numpy() for name in (*TEXT_COLUMNS, *NUMBER_COLUMNS)},
            box_row=box_row,
            box_finding=box_finding,
            box=box,
            findings=plan.source.findings,
        )

    def _boxes(self, kept: NDArray[np.int64]) -> tuple[Any, Any, Any]:
        """Return row within the shard (B,), finding (B,) and box in stored pixels (B, 4)."""
        names = self.plan.table["image_index"].iloc[kept]
        position = {name: place for place, name in enumerate(names)}
        boxes = self.plan.source.boxes
        boxes = boxes[boxes["image_index"].isin(list(position))]
        rows = np.array([position[name] for name in boxes["image_index"]], dtype=np.int32)
        given = boxes[["x", "y", "width", "height"]].to_numpy(dtype=np.float64)
        stored = [self._moved(box, kept[row]) for box, row in zip(given, rows, strict=True)]
        found = np.array(stored, dtype=np.float32).reshape(len(boxes), 4)
        return rows, boxes["finding"].to_numpy(dtype="S32"), found

    def _moved(self, box: NDArray[np.float64], row: np.int64) -> NDArray[np.float64]:
        """Return a box where the picture lies in the stored square."""
        width, height = (int(side) for side in self.shape[row])
        place: Placement = placement(width, height, self.size, self.plan.pad)
        frame = self.plan.source.box_frame
        across, down = place.width / (frame or width), place.height / (frame or height)
        x, y, w, h = box
        return np.array([x * across + place.left, y * down + place.top, w * across, h * down])

    def close(self) -> None:
        """Give the scratch file up."""
        self.scratch.close()
