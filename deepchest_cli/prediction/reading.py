"""One image file to what networks take, in threads ahead of the model."""

import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.radiograph import fit, open_image
from deepchest_cli.errors import UnreadableRadiographError
from deepchest_cli.prediction.inputs import Found
from deepchest_cli.prediction.oddities import Oddity, oddities_of

LARGEST_FILE = 1 << 30  # bytes
AHEAD = 2  # files that wait for the model, for each thread


@dataclass(frozen=True)
class Frame:
    """How a picture is brought to the pixels that a model was trained on."""

    size: int  # pixels
    pad: bool


@dataclass(frozen=True)
class FileRead:
    """A file's pixels in every wanted frame, or why there are none."""

    path: Path
    problem: str = ""
    sha256: str = ""
    width: int = 0
    height: int = 0
    pixels: dict[Frame, NDArray[np.uint8]] = field(default_factory=dict)  # (S, S) each
    oddities: tuple[Oddity, ...] = ()


def read_file(found: Found, frames: tuple[Frame, ...], seen_size: int) -> FileRead:
    """Return a file's pixels; never raises for what is wrong with the file."""
    if found.problem:
        return FileRead(found.path, found.problem)
    try:
        data = read_bytes(found.path)
        opened = open_image(data)
        pixels = {frame: fit(opened.image, frame.size, frame.pad) for frame in frames}
    except UnreadableRadiographError as error:
        return FileRead(found.path, error.message)
    except MemoryError:
        return FileRead(found.path, "it does not fit into memory")
    image = opened.image
    return FileRead(
        found.path,
        "",
        hashlib.sha256(data).hexdigest(),
        image.width,
        image.height,
        pixels,
        tuple(oddities_of(opened, pixels[frames[0]], seen_size)),
    )


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes; raises `UnreadableRadiographError`."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode) or stat.S_ISCHR(status.st_mode):
            raise UnreadableRadiographError("not a file")
        if status.st_size > LARGEST_FILE:
            raise UnreadableRadiographError(f"{status.st_size >> 20:,} MiB are too many")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UnreadableRadiographError("the file is missing") from error
    except (OSError, ValueError) as error:  # the latter for a NUL byte in a name
        reason = error.strerror if isinstance(error, OSError) else None
        raise UnreadableRadiographError(reason or str(error)) from error


def read_ahead(
    found: Iterable[Found], read: Callable[[Found], FileRead], workers: int | None = None
) -> Iterator[FileRead]:
    """Yield what `read` makes of files, in their order, read by threads ahead of who asks."""
    threads = workers or os.cpu_count() or 1
    coming: deque[Future[FileRead]] = deque()
    files = iter(found)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="reading")
    try:
        coming.extend(pool.submit(read, one) for one in islice(files, AHEAD * threads))
        while coming:
            done = coming.popleft().result()
            coming.extend(pool.submit(read, one) for one in islice(files, 1))
            yield done
    finally:  # also when the reader of results has had enough
        pool.shutdown(wait=False, cancel_futures=True)
