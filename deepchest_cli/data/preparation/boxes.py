"""Boxes of findings, from the pixels that they are given in to those that are stored."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.preparation.planning import Plan
from deepchest_cli.data.radiograph import placement
from deepchest_cli.data.sources.base import BOX_SLACK
from deepchest_cli.errors import UsageError


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
        """Return a box where the picture lies in the stored square; nothing of it is outside."""
        lies = placement(width, height, self.size, self.plan.pad)
        frame = self._frame(row, width, height)
        across, down = lies.width / frame[0], lies.height / frame[1]
        x, y, w, h = self.given[place]
        w, h = min(w, frame[0] - x), min(h, frame[1] - y)  # by less than the slack
        return np.array([x * across + lies.left, y * down + lies.top, w * across, h * down])
