"""Where the images of a run are read from: their files, main memory or the device itself."""

import functools
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepchest_cli.data.augmentation import to_bytes, to_gray
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.memory import free_main_memory
from deepchest_cli.data.text import count_of, size_of
from deepchest_cli.data.transfer import empty_caches, to_device
from deepchest_cli.device_errors import is_out_of_memory
from deepchest_cli.errors import MemoryShortageError

Labels = tuple[NDArray[np.uint8], NDArray[np.uint8]]
Place = Literal["device", "host", "none"]
Cache = Literal["auto", "device", "host", "none"]
CHUNK = 128  # images that are read at a time, where all are kept
ELSEWHERE = "Use --cache host, or --cache none."
OTHERS = " nvidia-smi lists the processes that use the GPU."
IN_FILES = (
    "Use --cache none: images stay in their files, of which the system keeps in memory what has "
    "room. A batch system or a container ends a process that takes more than its job may."
)
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
        free = free_bytes(device)
        try:
            kept = torch.empty((len(rows), size, size), dtype=torch.uint8, device=device)
            for first in range(0, len(rows), CHUNK):
                kept[first : first + CHUNK] = self._read_files(rows[first : first + CHUNK])
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            images = f"{count_of(len(rows), 'image')} of {size} px"
            needed = size_of(bytes_of(len(rows), size))
            had = "" if free is None else f", which had {size_of(free)} free"
            raise MemoryShortageError(
                f"--cache {self.place}: {images} ({needed}) do not fit on {device}{had}.",
                _elsewhere(device),
            ) from error
        return kept

    def index(self, rows: NDArray[np.int64]) -> Tensor:
        """Return row numbers on the device, without waiting for what it is computing."""
        numbers = torch.from_numpy(rows)
        if self.device.type == "cuda":
            numbers = numbers.pin_memory()
        return to_device(numbers, self.device)

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
        return to_device(images, self.device)

    def _read_files(self, rows: NDArray[np.int64]) -> Tensor:
        """Return images from their files; the device brings those of other sizes to one."""
        dataset, size = self.dataset, self.dataset.size
        if dataset.is_of_one_size:
            images = self._empty(len(rows), size)
            dataset.copy_stored(rows, images.numpy())
            return to_device(images, self.device)
        images = torch.empty((len(rows), size, size), dtype=torch.uint8, device=self.device)
        for stored_size, places in dataset.stored_sizes(rows):
            stored = self._empty(len(places), stored_size)
            dataset.copy_stored(rows[places], stored.numpy())
            uploaded = to_device(stored, self.device)
            if stored_size != size:
                uploaded = to_bytes(to_gray(uploaded, size))
            images.index_copy_(0, self.index(places), uploaded)
        return images

    def _empty(self, images: int, size: int) -> Tensor:
        # copied from pinned memory without waiting for what the device is computing
        pinned = self.device.type == "cuda"
        return torch.empty((images, size, size), dtype=torch.uint8, pin_memory=pinned)


def open_reader(
    cache: Cache,
    dataset: RadiographDataset,
    device: torch.device,
    rows: NDArray[np.int64],
    labels: Labels | None = None,
    processes: int = 1,
) -> ImageReader:
    """Return a reader that keeps the images of `rows` where `cache` says.

    processes: how many of a run share this machine, each with images of its own in main memory.
    With `auto` they stay in their files where the device's memory is taken by others after all.
    Raises `MemoryShortageError` for images that do not fit where they were wanted.
    """
    place = resolve_place(cache, bytes_of(len(rows), dataset.size), device, processes)
    try:
        return ImageReader(dataset, device, place, rows, labels)
    except MemoryShortageError:
        if cache != "auto":
            raise
    empty_caches()  # of what was read before the rest did not fit
    return ImageReader(dataset, device, "none", rows, labels)


def bytes_of(images: int, size: int) -> int:
    """Return the bytes of stored images of `size` pixels a side."""
    return images * size * size


def resolve_place(name: Cache, needed: int, device: torch.device, processes: int = 1) -> Place:
    """Return where `needed` bytes should be kept; `auto`: on a GPU when they fit.

    processes: how many on this machine keep as much each. Raises `MemoryShortageError` for `device`
    and `host` where less than that is free.
    """
    if name in ("device", "host"):
        where = device if name == "device" else torch.device("cpu")
        free, copies = free_bytes(where), processes if where.type == "cpu" else 1
        if free is not None and needed * copies > free:
            each = f" by each of {copies} processes" if copies > 1 else ""
            raise MemoryShortageError(
                f"--cache {name}: {size_of(needed)} are needed{each}, and {where} has "
                f"{size_of(free)} free.",
                _elsewhere(where),
            )
    if name != "auto":
        return name
    return "device" if device.type == "cuda" and needed <= _room(device) else "none"


def _elsewhere(full: torch.device) -> str:
    """Return what to do where memory does not suffice."""
    if full.type == "cpu":
        return IN_FILES
    return ELSEWHERE + (OTHERS if full.type == "cuda" else "")


@functools.cache  # runs that follow one another are to be alike, whatever has changed on the device
def _room(device: torch.device) -> float:
    """Return the bytes that `auto` lets images take of a GPU, by what was free at first."""
    return SHARE * (free_bytes(device) or 0)


def free_bytes(device: torch.device) -> int | None:
    """Return how many bytes of a device this process can still take; None: nothing says it.

    What torch keeps of tensors that are gone is free: it gives that to new ones. Of main memory it
    is what the machine has and what the job or the container is allowed.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + kept)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return free_main_memory() if device.type == "cpu" else None
