"""Which row of a table an image file belongs to, by the part of its path that both have."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from deepchest_cli.data.radiograph import SUFFIXES
from deepchest_cli.errors import UsageError

SEVERAL = -1


def stem_of(path: str) -> str:
    """Return a path with `/` between its parts, without `./` and without an image's suffix."""
    parts = path.strip("\"'").replace("\\", "/").split("/")
    plain = "/".join(part for part in parts if part not in ("", "."))
    stem, dot, suffix = plain.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in SUFFIXES else plain


def image_key(name: str) -> str:
    """Return an image's name without ending, as it is matched; folders stay."""
    return stem_of(re.sub(r"\.npy$", "", name.strip(), flags=re.I))


class Matcher:
    """Finds the row of a file: their paths agree from the end as far as the shorter of them goes.

    So `images_001/images/00000001_000.png` belongs to the row `00000001_000.png`, and
    `train/patient1/view1.jpg` to `CheXpert/train/patient1/view1.jpg`, but `val/3.png` not to
    `train/3.png`. A path that agrees as a whole is preferred.
    """

    def __init__(self, paths: list[str]) -> None:
        stems = [stem_of(path) for path in paths]
        self.rows = {stem: row for row, stem in enumerate(stems)}
        if len(self.rows) < len(stems):
            repeated = pd.Series(stems).loc[lambda s: s.duplicated()].iloc[0]
            raise UsageError(
                f"Two rows of the table are about one image, {repeated}.",
                "Each image has one row; remove the other.",
            )
        self.endings: dict[str, int] = {}  # of rows with folders in their paths
        for row, stem in enumerate(stems):
            for start in _starts(stem):
                ending = stem[start:]
                self.endings[ending] = SEVERAL if ending in self.endings else row

    def find(self, path: str) -> tuple[int, bool] | None:
        """Return the row of a file below the source, and whether all of the path agrees.

        Raises `UsageError` for a file that could be the image of several rows.
        """
        stem = stem_of(path)
        row = self.rows.get(stem)
        if row is not None:
            return row, True
        for start in _starts(stem):
            row = self.rows.get(stem[start:])
            if row is not None:
                return row, False
        row = self.endings.get(stem)
        if row == SEVERAL:
            raise UsageError(
                f"{path} could be the image of several rows of the table.",
                "Keep the folders that tell them apart, or name the one above them: --source",
            )
        return None if row is None else (row, False)

    def is_wanted(self, name: str) -> bool:
        """Whether a file is an image: by its name, or since a row names it.

        So DICOM files without a suffix, or with one that is not known, are found.
        """
        return is_image_name(name) or (not _is_hidden(name) and self.find(name) is not None)


def match_images(names: Sequence[str], there: Sequence[str], path: Path) -> list[int | None]:
    """Return where each image stands among those that are there; None: nowhere.

    Names agree from the end as far as both have folders. Raises `UsageError` where two of them are
    the same image.
    """
    matcher = Matcher([image_key(name) for name in there])
    found = [matcher.find(image_key(name)) for name in names]
    rows = [None if one is None else one[0] for one in found]
    seen: dict[int, str] = {}
    for name, row in zip(names, rows, strict=True):
        if row is not None and row in seen:
            raise UsageError(
                f"{path}: {seen[row]!r} and {name!r} would both be {there[row]!r}.",
                "Give the folders in both files, or in neither.",
            )
        if row is not None:
            seen[row] = name
    return rows


def _starts(stem: str) -> list[int]:
    """Return where the endings of a path begin, the longest ending first."""
    return [place + 1 for place, sign in enumerate(stem) if sign == "/"]


def is_image_name(name: str) -> bool:
    """Whether a file is an image by its name; a Mac's hidden twins (`._x.png`) are not."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES and not _is_hidden(name)


def _is_hidden(name: str) -> bool:
    return PurePosixPath(name).name.startswith("._")
