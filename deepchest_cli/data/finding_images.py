"""Every image below a folder, in files and archives, and the archives that must be streamed."""

import filecmp
import os
from collections.abc import Iterator
from pathlib import Path

from deepchest_cli.data.archives import is_archive, is_streamed, list_tar, list_zip
from deepchest_cli.data.images import Images, Keys, LooseFile, TarStream, twice
from deepchest_cli.data.radiograph import SUFFIXES
from deepchest_cli.errors import UsageError


def find_images(root: Path, keys: Keys) -> Images:
    """Return every image below a folder; loose files win over archives with the same image.

    Raises `UsageError` where two files of one key differ.
    """
    images = Images(keys)
    files = sorted(_walk(root))
    for path in files:
        if Path(path).suffix.lower() in SUFFIXES:
            _add_file(images, path)
    images.kinds["files"] = len(images.places)
    for path in filter(is_archive, files):
        _add_archive(images, Path(path))
    return images


def _walk(root: Path) -> Iterator[str]:
    """Yield the files below a folder; linked folders count, each folder once."""
    seen = set()
    for place, below, names in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link back to where we have been
            below.clear()
            continue
        seen.add(real)
        with os.scandir(place) as entries:
            plain = {entry.name for entry in entries if entry.is_file()}
        yield from (f"{place}/{name}" for name in names if name in plain)


def _add_file(images: Images, path: str) -> None:
    key = images.keys(path)
    earlier = images.places.get(key)
    if earlier is None:
        images.places[key] = LooseFile(path)
    elif isinstance(earlier, LooseFile):
        if not filecmp.cmp(earlier.path, path, shallow=False):
            raise UsageError(
                f"{Path(path).name} is there twice, and the files differ: {earlier.path} and "
                f"{path}.",
                "Name the folder of one copy with --source.",
            )
        images.twins += 1


def _add_archive(images: Images, path: Path) -> None:
    if is_streamed(path):
        images.streams.append(TarStream(path))
        return
    members, refused = list_zip(path) if path.suffix.lower() == ".zip" else list_tar(path)
    images.refused += refused
    kind = f"{path.suffix.lower()[1:]} archives"
    for name, member in members.items():
        key = images.keys(name)
        earlier = images.places.get(key)
        if earlier is None:
            images.places[key] = member
            images.kinds[kind] = images.kinds.get(kind, 0) + 1
        elif not isinstance(earlier, LooseFile):
            raise twice(name, str(path), "another archive or place in it")
