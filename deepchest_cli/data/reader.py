"""Where the images of a run are read from: their files, main memory or the device itself."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError

Place = Literal["device", "host", "none"]
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
    ) -> None:
        self.dataset = dataset
        self.device = device
        # small, and then at hand without another upload
        self.labels = torch.from_numpy(dataset.labels).to(device, torch.float32)  # (N, T)
        self.known = torch.from_numpy(dataset.known).to(device, torch.bool)  # (N, T)
        self.place = place
        self.kept: Tensor | None = None  # (len(rows), S, S)
        if place != "none":
            chosen = np.arange(len(dataset.labels)) if rows is None else rows
            self.position = np.full(len(dataset.labels), -1)
            self.position[chosen] = np.arange(len(chosen))
            kept = torch.from_numpy(dataset.gather(chosen))
            self.kept = self._upload(kept) if place == "device" else kept

    def _upload(self, kept: Tensor) -> Tensor:
        try:
            return kept.to(self.device)
        except torch.OutOfMemoryError as error:
            raise UsageError(
                f"--cache device: {count_of(len(kept), 'image')} of {self.dataset.size} px do not "
                f"fit on {self.device}.",
                "Use --cache host, or --cache none.",
            ) from error

    def index(self, rows: NDArray[np.int64]) -> Tensor:
        """Return row numbers on the device, without waiting for what it is computing."""
        numbers = torch.from_numpy(rows)
        if self.device.type == "cuda":
            numbers = numbers.pin_memory()
        return numbers.to(self.device, non_blocking=True)

    def read(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the images of `rows` (B,) as uint8 (B, S, S) on the device."""
        if self.kept is not None and self.place == "device":
            return self.kept.index_select(0, self.index(self.position[rows]))
        size = self.dataset.size
        # from pinned memory, so that nobody waits here for what the device is computing
        pinned = self.device.type == "cuda"
        images = torch.empty((len(rows), size, size), dtype=torch.uint8, pin_memory=pinned)
        if self.kept is not None:
            np.take(self.kept.numpy(), self.position[rows], axis=0, out=images.numpy())
        else:
            self.dataset.gather(rows, images.numpy())
        return images.to(self.device, non_blocking=True)


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
