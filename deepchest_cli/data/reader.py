"""Where the images of a run are read from: their files, main memory or the device itself."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepchest_cli.data.dataset import RadiographDataset

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
        self.place = place
        self.kept: Tensor | None = None  # (len(rows), S, S)
        if place != "none":
            chosen = np.arange(len(dataset.labels)) if rows is None else rows
            self.position = np.full(len(dataset.labels), -1)
            self.position[chosen] = np.arange(len(chosen))
            kept = torch.from_numpy(dataset.gather(chosen))
            self.kept = kept.to(device) if place == "device" else kept

    def read(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the images of `rows` (B,) as uint8 (B, S, S) on the device."""
        if self.kept is not None and self.place == "device":
            index = torch.from_numpy(self.position[rows])
            return self.kept.index_select(0, index.to(self.device))
        size = self.dataset.size
        # from pinned memory the upload goes on while the device computes
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
