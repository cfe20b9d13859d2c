"""The folder of a site's synthetic radiographs: made whole or not at all, and known again."""

import multiprocessing
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deepchest_cli.data.synthetic import SITES, write_demo
from deepchest_cli.files import to_json

Progress = Callable[[int, int], None]  # images done, and all
MARK = "demo.json"  # says that the folder is ours to replace


@dataclass(frozen=True)
class Demo:
    """What synthetic radiographs are made from."""

    images: int
    seed: int
    long_tail: bool
    site: int = 1

    @property
    def mark(self) -> str:
        """The text of the mark in a folder that holds just these."""
        said: dict[str, int] = {"synthetic": True, "images": self.images, "seed": self.seed}
        if self.long_tail:
            said["long_tail"] = True
        if self.site > 1:
            said["site"] = self.site
        return to_json(said) + "\n"

    def __str__(self) -> str:
        tail = " with a long tail" if self.long_tail else ""
        site = f" of site {self.site}" if self.site > 1 else ""
        return f"{self.images} synthetic radiographs{site} of seed {self.seed}{tail}"


def is_demo(folder: Path) -> bool:
    """Whether a folder was made here."""
    return (folder / MARK).is_file()


def matches(folder: Path, demo: Demo) -> bool:
    """Whether a folder holds just these synthetic radiographs."""
    return is_demo(folder) and (folder / MARK).read_text("utf-8") == demo.mark


def make_demo(folder: Path, demo: Demo, workers: int | None, progress: Progress) -> None:
    """Draw the synthetic radiographs of a site; an earlier demo in `folder` is replaced."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        count = workers or multiprocessing.cpu_count()
        write_demo(
            temporary,
            images=demo.images,
            seed=demo.seed,
            long_tail=demo.long_tail,
            site=SITES[demo.site - 1],
            workers=count,
            progress=progress,
        )
        (temporary / MARK).write_text(demo.mark, "utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
