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
from deepchest_cli.prediction.input_checks import InputWarning, check_image
from deepchest_cli.prediction.inputs import InputFile
from deepchest_cli.prediction.model_metadata import Preprocessing
from deepchest_cli.prediction.study import Study, study_of_file, view_of_file

LARGEST_FILE = 1 << 30  # bytes
AHEAD = 2  # files that wait for the model, for each thread


@dataclass(frozen=True)
class DecodedFile:
    """A file's pixels after every wanted preprocessing, or why there are none."""

    path: Path
    problem: str = ""
    sha256: str = ""
    width: int = 0
    height: int = 0
    pixels: dict[Preprocessing, NDArray[np.uint8]] = field(default_factory=dict)  # (S, S) each
    warnings: tuple[InputWarning, ...] = ()
    study: Study | None = None
    view: str = ""


def read_file(
    file: InputFile, preprocessings: tuple[Preprocessing, ...], image_size: int
) -> DecodedFile:
    """Return a file's pixels; never raises for what is wrong with the file.

    image_size: pixels of the height and width that the network sees.
    """
    if file.problem:
        return DecodedFile(file.path, file.problem)
    try:
        data = read_bytes(file.path)
        opened = open_image(data)
        pixels = {one: fit(opened.image, one.size, one.pad) for one in preprocessings}
    except UnreadableRadiographError as error:
        return DecodedFile(file.path, error.message)
    except MemoryError:
        return DecodedFile(file.path, "it does not fit into memory")
    return DecodedFile(
        path=file.path,
        sha256=hashlib.sha256(data).hexdigest(),
        width=opened.image.width,
        height=opened.image.height,
        pixels=pixels,
        warnings=tuple(check_image(opened, pixels[preprocessings[0]], image_size)),
        study=study_of_file(file.path, opened.tags),
        view=view_of_file(file.path, opened.tags),
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


def prefetch(
    files: Iterable[InputFile], read: Callable[[InputFile], DecodedFile], workers: int | None = None
) -> Iterator[DecodedFile]:
    """Yield what `read` returns for files, in their order, read by threads ahead of the model."""
    threads = workers or os.cpu_count() or 1
    pending: deque[Future[DecodedFile]] = deque()
    remaining = iter(files)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="reading")
    try:
        pending.extend(pool.submit(read, one) for one in islice(remaining, AHEAD * threads))
        while pending:
            done = pending.popleft().result()
            pending.extend(pool.submit(read, one) for one in islice(remaining, 1))
            yield done
    finally:  # also when the caller stops early
        pool.shutdown(wait=False, cancel_futures=True)
