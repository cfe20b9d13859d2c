"""Where the images of a run are read from: their files, main memory or the device itself."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepchest_cli.data.augmentation import to_bytes, to_gray
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError

Labels = tuple[NDArray[np.uint8], NDArray[np.uint8]]
Place = Literal["device", "host", "none"]
CHUNK = 128  # images that are read at a time, where all are kept
SHARE = 0.5  # of a GPU's free memory that `auto` lets images take; the model needs the rest


class ImageReader:
    """Brings images of a data set onto a device, as bytes, and keeps those of `rows` at `place`.

    place: device (a copy in its memory), host (a copy in main memory) or none (the mapped files,
    which the system keeps in memory as long as there is room).
    """

    def __init__(
        self,
        dataset: RadiographDataset,
        device: torch.device,
        place: Place = "none",
        rows: NDArray[np.int64] | None = None,
        labels: Labels | None = None,
    ) -> None:
        """labels: labels and label mask of the tasks (N, K), where these are not the findings."""
        self.dataset = dataset
        self.device = device
        # small, and then at hand without another upload
        label, known = labels or (dataset.labels, dataset.known)
        self.known_on_host = known
        self.labels = torch.from_numpy(label).to(device, torch.float32)  # (N, K)
        self.known = torch.from_numpy(known).to(device, torch.bool)  # (N, K)
        self.place = place
        self.kept: Tensor | None = None  # (len(rows), S, S)
        if place != "none":
            chosen = np.arange(len(dataset.labels)) if rows is None else rows
            self.position = np.full(len(dataset.labels), -1)
            self.position[chosen] = np.arange(len(chosen))
            self.kept = self._from_files(chosen)

    def _from_files(self, rows: NDArray[np.int64]) -> Tensor:
        """Return all images that are kept, where they are kept."""
        size = self.dataset.size
        device = self.device if self.place == "device" else torch.device("cpu")
        try:
            kept = torch.empty((len(rows), size, size), dtype=torch.uint8, device=device)
            for first in range(0, len(rows), CHUNK):
                kept[first : first + CHUNK] = self._read_files(rows[first : first + CHUNK])
        except torch.OutOfMemoryError as error:
            raise UsageError(
                f"--cache device: {count_of(len(rows), 'image')} of {size} px do not fit on "
                f"{self.device}.",
                "Use --cache host, or --cache none.",
            ) from error
        return kept

    def index(self, rows: NDArray[np.int64]) -> Tensor:
        """Return row numbers on the device, without waiting for what it is computing."""
        numbers = torch.from_numpy(rows)
        if self.device.type == "cuda":
            numbers = numbers.pin_memory()
        return numbers.to(self.device, non_blocking=True)

    def present(self, rows: NDArray[np.int64]) -> tuple[int, ...]:
        """Return the numbers of the tasks with a known label in `rows` (B,)."""
        return tuple(np.flatnonzero(self.known_on_host[rows].any(axis=0)).tolist())

    def read(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the images of `rows` (B,) as uint8 (B, S, S) on the device."""
        if self.kept is not None and self.place == "device":
            return self.kept.index_select(0, self.index(self.position[rows]))
        if self.kept is None:
            return self._read_files(rows)
        images = self._empty(len(rows), self.dataset.size)
        np.take(self.kept.numpy(), self.position[rows], axis=0, out=images.numpy())
        return images.to(self.device, non_blocking=True)

    def _read_files(self, rows: NDArray[np.int64]) -> Tensor:
        """Return images from their files; the device brings those of other sizes to one."""
        dataset, size = self.dataset, self.dataset.size
        if dataset.is_of_one_size:
            images = self._empty(len(rows), size)
            dataset.copy_stored(rows, images.numpy())
            return images.to(self.device, non_blocking=True)
        images = torch.empty((len(rows), size, size), dtype=torch.uint8, device=self.device)
        for stored_size, places in dataset.stored_sizes(rows):
            stored = self._empty(len(places), stored_size)
            dataset.copy_stored(rows[places], stored.numpy())
            uploaded = stored.to(self.device, non_blocking=True)
            if stored_size != size:
                uploaded = to_bytes(to_gray(uploaded, size))
            images.index_copy_(0, self.index(places), uploaded)
        return images

    def _empty(self, images: int, size: int) -> Tensor:
        # copied from pinned memory without waiting for what the device is computing
        pinned = self.device.type == "cuda"
        return torch.empty((images, size, size), dtype=torch.uint8, pin_memory=pinned)


def resolve_place(
    name: Literal["auto", "device", "host", "none"], images: int, size: int, device: torch.device
) -> Place:
    """Return where `images` of `size` pixels should be kept; `auto`: on a GPU when they fit."""
    if name != "auto":
        return name
    if device.type != "cuda":
        return "none"
    free, _ = torch.cuda.mem_get_info(device)
    return "device" if images * size * size <= SHARE * free else "none"
