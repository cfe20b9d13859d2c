"""One size's shards while they fill: rows come in any order, a complete shard is written."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.preparation.boxes import StoredBoxes
from deepchest_cli.data.preparation.cutting import cut_shards
from deepchest_cli.data.preparation.decoding import Decoded
from deepchest_cli.data.preparation.keeping import Kept
from deepchest_cli.data.preparation.planning import Plan
from deepchest_cli.data.preparation.scratch import Scratch
from deepchest_cli.data.preparation.shard_folder import save_progress
from deepchest_cli.data.shards import (
    NUMBER_COLUMNS,
    TEXT_COLUMNS,
    ShardContent,
    write_shard,
)
from deepchest_cli.files import sha256_of


class Filling:
    """The shards of one size, with those that stay from an earlier run; N rows in the table."""

    def __init__(self, plan: Plan, size: int, folder: Path, kept: Kept) -> None:
        self.plan, self.size, self.folder, self.done = plan, size, folder, kept.entries
        self.most = plan.rows_per_shard(size)
        self.is_certain = plan.streamed.is_certain  # whether all candidates are there
        self.candidates = kept.candidates
        self.pending = kept.candidates.copy()  # (N,), rows that wait for their image
        self.unreadable: dict[int, str] = {}  # row to reason
        count = len(plan.table)
        self.dull: set[int] = set()
        self.digest = np.zeros(count, dtype="S32")
        self.length = np.zeros(count, dtype=np.int64)  # bytes of the file
        self.shape = np.zeros((count, 2), dtype=np.int32)  # width and height of the file
        self.boxes = StoredBoxes(plan, size)
        self.scratch = Scratch(folder, size)
        self._shards = list(kept.shards.items())
        self._number = np.full(count, -1)  # (N,), of a row's shard in that list; -1: not known yet
        self._waiting = [len(rows) for _, rows in self._shards]
        for number, (name, rows) in enumerate(self._shards):
            self._number[rows] = number
            if name in self.done:
                self._take_over(name, rows)

    def _take_over(self, name: str, rows: NDArray[np.int64]) -> None:
        """Take note of a shard that stays."""
        self.pending[rows] = False
        row_of = {self.plan.table["image_index"][row]: row for row in rows.tolist()}
        for loss in self.done[name]["excluded"]:
            self.unreadable[row_of[loss["image"]]] = loss["reason"]

    def add(self, row: int, decoded: Decoded) -> None:
        """Take an image, or the reason why there is none; write its shard when it is complete.

        Raises `UsageError` where a box leaves the image.
        """
        if not self.pending[row]:
            return
        self.pending[row] = False
        if decoded.reason:
            self.unreadable[row] = decoded.reason
        else:
            self.boxes.check(row, decoded.width, decoded.height)
            stored = decoded.stored[self.size]
            self.scratch.put(row, stored.pixels)
            self.digest[row], self.length[row] = stored.digest, decoded.length
            self.shape[row] = decoded.width, decoded.height
            if stored.nearly_constant:
                self.dull.add(row)
        number = self._number[row]
        if number >= 0:
            self._waiting[number] -= 1
            if not self._waiting[number]:
                self._finish(*self._shards[number])

    def conclude(self) -> None:
        """Write the shards of what archives turned out to hold; rows that still wait have none."""
        lost = np.flatnonzero(self.pending)
        if self.is_certain:  # it was there before, and falls out of its shard
            for row in lost.tolist():
                self.add(row, Decoded({}, 0, 0, 0, self.plan.reason(row)))
            return
        self.candidates[lost] = self.pending[lost] = False
        for name, rows in cut_shards(self.candidates, self.most).items():
            if name not in self.done:
                self._finish(name, rows)

    def excluded(self) -> dict[str, str]:
        """Return image and reason of every row without an image, in the order of the table."""
        reasons = {row: self.plan.reason(row) for row in np.flatnonzero(~self.candidates).tolist()}
        names = self.plan.table["image_index"].to_numpy()
        return {names[row]: why for row, why in sorted((reasons | self.unreadable).items())}

    def stored(self) -> NDArray[np.bool_]:
        """Return which rows (N,) have their images in shards."""
        stored = self.candidates.copy()
        stored[list(self.unreadable)] = False
        return stored

    def _finish(self, name: str, rows: NDArray[np.int64]) -> None:
        """Write a shard, unless none of its images could be read."""
        kept = np.array([row for row in rows.tolist() if row not in self.unreadable], np.int64)
        if not len(kept):
            return
        path, names = self.folder / name, self.plan.table["image_index"]
        write_shard(path, self._content(kept, self.scratch.take(kept)))
        self.done[name] = {
            "file": name,
            "sha256": sha256_of(path),
            "bytes": path.stat().st_size,
            "images": len(kept),
            "excluded": [
                {"image": names[row], "reason": self.unreadable[row]}
                for row in rows.tolist()
                if row in self.unreadable
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
        box_row, box_finding, box = self.boxes.of(kept, self.shape)
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

    def close(self) -> None:
        """Give the scratch file up."""
        self.scratch.close()
