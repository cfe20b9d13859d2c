"""One size's shards while they fill: rows come in any order, a complete shard is written."""

import os
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.preparation.decoding import Decoded
from deepchest_cli.data.preparation.folder import Entries
from deepchest_cli.data.preparation.planning import Plan
from deepchest_cli.data.preparation.resuming import Kept, cut_shards
from deepchest_cli.data.radiograph import placement
from deepchest_cli.data.shards import NUMBER_COLUMNS, TEXT_COLUMNS, ShardContent, write_shard
from deepchest_cli.data.sources.base import BOX_SLACK
from deepchest_cli.data.tabular.cells import patient_numbers
from deepchest_cli.errors import UsageError
from deepchest_cli.files import sha256_of


class Scratch:
    """A file without a name, which ends with this process however that ends.

    Images that come in the order of their rows need room for a shard or two; the room of a
    finished shard is used again. Errors of writing, of a full disk for instance, name the folder.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  it lives as long as we do
        self._places: dict[int, int] = {}  # row to where its image lies in the file
        self._free: list[int] = []
        self._used = 0

    def put(self, row: int, pixels: NDArray[np.uint8]) -> None:
        """Keep the image (S, S) of a row."""
        if self._free:
            self._places[row] = self._free.pop()
        else:
            self._places[row] = self._used
            self._used += self.size**2
        place, view = self._places[row], memoryview(pixels.tobytes())
        try:
            while view:
                written = os.pwrite(self.file.fileno(), view, place)
                view, place = view[written:], place + written
        except OSError as error:
            where = f"{self.folder} (scratch file)"
            raise OSError(error.errno, error.strerror or str(error), where) from error

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the images of some rows (len(rows), S, S) and give their room back."""
        images = np.empty((len(rows), self.size, self.size), dtype=np.uint8)
        for position, row in enumerate(rows.tolist()):
            place = self._places.pop(row)
            os.preadv(self.file.fileno(), [memoryview(images[position]).cast("B")], place)
            self._free.append(place)
        return images


class StoredBoxes:
    """The boxes of a source on the images of one size."""

    def __init__(self, plan: Plan, size: int) -> None:
        self.plan, self.size = plan, size
        boxes = plan.source.boxes
        self.findings = boxes["finding"].to_numpy(dtype="S32")
        self.given = boxes[["x", "y", "width", "height"]].to_numpy(dtype=np.float64)
        named = plan.table["image_index"].isin(set(boxes["image_index"]))
        row_of = {plan.table["image_index"][row]: row for row in np.flatnonzero(named).tolist()}
        self.of_row: dict[int, list[int]] = defaultdict(list)  # their places in the table of boxes
        for place, name in enumerate(boxes["image_index"]):
            if name in row_of:
                self.of_row[row_of[name]].append(place)
        self.sizes = plan.table[["original_width", "original_height"]].to_numpy()

    def check(self, row: int, width: int, height: int) -> None:
        """Raise `UsageError` for a box that leaves its image, whose file has width × height."""
        across, down = self._frame(row, width, height)
        for place in self.of_row.get(row, ()):
            x, y, w, h = self.given[place].tolist()
            if x + w > across + BOX_SLACK or y + h > down + BOX_SLACK:
                source = self.plan.source
                table = source.box_file.name if source.box_file else "the table of boxes"
                raise UsageError(
                    f"{source.box_file or table}, row {source.boxes.index[place]}: the box of "
                    f"{self.findings[place].decode()} from ({x:g}, {y:g}) to ({x + w:g}, {y + h:g})"
                    f" leaves image {source.boxes['image_index'].iloc[place]}, which has "
                    f"{across:g} × {down:g} pixels.",
                    "The image is a resized copy, it seems. Give the original images, or their "
                    f"sizes in pixels: columns `width` and `height` in {table}.",
                )

    def of(
        self, rows: NDArray[np.int64], shapes: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.bytes_], NDArray[np.float32]]:
        """Return position within rows (B,), finding (B,) and box in stored pixels (B, 4).

        shapes: width and height of the files of all rows of the table (N, 2).
        """
        found = [
            (position, place, self._moved(place, row, *shapes[row].tolist()))
            for position, row in enumerate(rows.tolist())
            for place in self.of_row.get(row, ())
        ]
        positions = np.array([position for position, _, _ in found], dtype=np.int32)
        findings = self.findings[[place for _, place, _ in found]]
        return positions, findings, np.array([box for *_, box in found], np.float32).reshape(-1, 4)

    def _frame(self, row: int, width: int, height: int) -> tuple[float, float]:
        """Return width and height of what the boxes of a row are given on."""
        frame = self.plan.source.box_frame
        if frame is not None:
            return frame, frame
        known = self.sizes[row].tolist()
        return (known[0], known[1]) if min(known) > 0 else (width, height)

    def _moved(self, place: int, row: int, width: int, height: int) -> NDArray[np.float64]:
        """Return a box where the image lies in the stored square; nothing of it is outside."""
        lies = placement(width, height, self.size, self.plan.pad)
        frame = self._frame(row, width, height)
        across, down = lies.width / frame[0], lies.height / frame[1]
        x, y, w, h = self.given[place]
        w, h = min(w, frame[0] - x), min(h, frame[1] - y)  # by less than the slack
        return np.array([x * across + lies.left, y * down + lies.top, w * across, h * down])


class Filling:
    """The shards of one size, with those that stay from an earlier run; N rows in the table.

    scratch: folder for the file of images whose shards are not complete yet.
    save: records the shards that are done.
    """

    def __init__(
        self,
        plan: Plan,
        size: int,
        folder: Path,
        kept: Kept,
        scratch: Path,
        save: Callable[[Entries], None],
    ) -> None:
        self.plan, self.size, self.folder, self.done = plan, size, folder, kept.entries
        self.save = save
        self.most = plan.rows_per_shard(size)
        self.is_certain = plan.streamed.is_certain  # whether all candidates are there
        self.candidates = kept.candidates
        self.pending = kept.candidates.copy()  # (N,), rows that wait for their image
        self.unreadable: dict[int, str] = {}  # row to reason
        count = len(plan.table)
        self.near_constant: set[int] = set()
        self.pixel_hash = np.zeros(count, dtype="S32")
        self.length = np.zeros(count, dtype=np.int64)  # bytes of the file
        self.shape = np.zeros((count, 2), dtype=np.int32)  # width and height of the file
        self.study: dict[int, str] = {}  # row to what its file says
        self.boxes = StoredBoxes(plan, size)
        self.scratch = Scratch(scratch, size)
        self._shards = list(kept.shards.items())
        self._number = np.full(count, -1)  # (N,), of a row's shard in that list; -1: not known yet
        self._waiting = [len(rows) for _, rows in self._shards]
        for number, (name, rows) in enumerate(self._shards):
            self._number[rows] = number
            if name in self.done:
                self._take_over(name, rows)

    def _take_over(self, name: str, rows: NDArray[np.int64]) -> None:
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
            self.pixel_hash[row], self.length[row] = stored.pixel_hash, decoded.length
            self.shape[row] = decoded.width, decoded.height
            if decoded.study and not self.plan.source.has_studies:
                self.study[row] = decoded.study
            if stored.nearly_constant:
                self.near_constant.add(row)
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
        lost = [row for row in rows.tolist() if row in self.unreadable]
        if not len(kept):
            return
        path, names = self.folder / name, self.plan.table["image_index"]
        write_shard(path, self._content(kept, self.scratch.take(kept)))
        self.done[name] = {
            "file": name,
            "sha256": sha256_of(path),
            "bytes": path.stat().st_size,
            "images": len(kept),
            "excluded": [{"image": names[row], "reason": self.unreadable[row]} for row in lost],
            "near_constant": [names[row] for row in kept.tolist() if row in self.near_constant],
        }
        self.save(self.done)

    def _name_studies(self, table: pd.DataFrame, kept: NDArray[np.int64]) -> None:
        """Put in the studies that files name; one is of one patient, where none is known."""
        named = [place for place, row in enumerate(kept.tolist()) if row in self.study]
        uids = pd.Series([self.study[row] for row in kept[named].tolist()], dtype=str)
        told: dict[str, NDArray[Any]] = {"study": uids.to_numpy()}
        if not self.plan.source.has_patients:
            told["patient_id"] = patient_numbers(uids)
        for column, values in told.items():
            changed = table[column].to_numpy(copy=True)
            changed[named] = values
            table[column] = changed

    def _content(self, kept: NDArray[np.int64], images: NDArray[np.uint8]) -> ShardContent:
        plan = self.plan
        table = plan.table.iloc[kept].assign(split=plan.splits[kept], source=plan.source.kind)
        self._name_studies(table, kept)
        for column, side in (("original_width", 0), ("original_height", 1)):
            known = table[column].to_numpy()
            if plan.source.box_frame is None:  # a table without sizes: that of the file
                table[column] = np.where(known < 0, self.shape[kept, side], known)
        box_row, box_finding, box = self.boxes.of(kept, self.shape)
        return ShardContent(
            images=images,
            labels=plan.source.labels[kept],
            known=plan.source.known[kept],
            pixel_hash=self.pixel_hash[kept],
            file_bytes=self.length[kept],
            columns={name: table[name].to_numpy() for name in (*TEXT_COLUMNS, *NUMBER_COLUMNS)},
            box_row=box_row,
            box_finding=box_finding,
            box=box,
            findings=plan.source.findings,
        )
