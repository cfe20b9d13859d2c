"""Images and tables on disk, in the layout of NIH ChestX-ray14."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

from deepchest_cli.data.findings import NO_FINDING
from deepchest_cli.data.sources.nih_metadata import (
    BOX_FILE,
    BOX_FRAME,
    BOX_SPELLINGS,
    BOXED_FINDINGS,
    METADATA_FILES,
    SPLIT_LISTS,
)
from deepchest_cli.data.synthetic.population import DEFAULT_IMAGES, Population, plan_population
from deepchest_cli.data.synthetic.rendering import render_radiograph
from deepchest_cli.data.synthetic.specification import Box, RadiographSpec
from deepchest_cli.data.workers import CONTEXT, begin_worker, start_tracker

_ENTRY_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
_BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
# The wide format and spacing (mm) of upright units, and the square one of portable units.
_ORIGINALS = {"PA": "2992,2991,0.143,0.143", "AP": "2500,2048,0.168,0.168"}
_BOX_NAMES = {finding: spelling for spelling, finding in BOX_SPELLINGS.items()}
IMAGE_SIZE = 256
_BATCH = 16  # images that a process takes at a time
Boxes = tuple[Box, ...]


def entry_rows(radiographs: Iterable[RadiographSpec]) -> Iterator[str]:
    """The table of labels, header first."""
    yield _ENTRY_HEADER
    for spec in radiographs:
        labels = "|".join(lesion.finding for lesion in spec.lesions) or NO_FINDING
        person = f"{spec.follow_up},{spec.patient},{spec.age},{spec.sex},{spec.view}"
        yield f"{spec.file_name},{labels},{person},{_ORIGINALS[spec.view]}"


def box_rows(boxed: Iterable[tuple[RadiographSpec, Iterable[Box]]]) -> Iterator[str]:
    """The table of boxes, header first; only the eight findings for which NIH has boxes."""
    yield _BOX_HEADER
    for spec, boxes in boxed:
        for box in boxes:
            if box.finding in BOXED_FINDINGS:
                name = _BOX_NAMES.get(box.finding, box.finding)
                numbers = (box.left, box.top, box.width, box.height)
                frame = ",".join(f"{BOX_FRAME * number:.6f}" for number in numbers)
                yield f"{spec.file_name},{name},{frame}"


def write_rows(path: Path, rows: Iterable[str]) -> None:
    """One row a line."""
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8", newline="\n")


def write_names(path: Path, radiographs: Iterable[RadiographSpec]) -> None:
    """One file name a line; like NIH's lists, without a line end after the last."""
    text = "\n".join(spec.file_name for spec in radiographs)
    path.write_text(text, encoding="utf-8", newline="\n")


def write_demo(
    folder: Path,
    *,
    images: int = DEFAULT_IMAGES,
    seed: int = 0,
    long_tail: bool = False,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Fill an empty folder with a whole synthetic data set; progress gets (done, total)."""
    population = plan_population(images, seed=seed, long_tail=long_tail)
    (folder / "images").mkdir()
    boxes: list[Boxes] = []
    for found in _written(population.radiographs, folder / "images", workers):
        boxes.append(found)
        if progress is not None:
            progress(len(boxes), images)
    _write_tables(folder, population, boxes)


def _written(radiographs: Sequence[RadiographSpec], folder: Path, workers: int) -> Iterator[Boxes]:
    """Write the images in order, here or in worker processes."""
    write = partial(_write_image, folder)
    if workers <= 1:
        yield from map(write, radiographs)
        return
    start_tracker()
    with ProcessPoolExecutor(workers, CONTEXT, begin_worker) as pool:
        yield from pool.map(write, radiographs, chunksize=_BATCH)


def _write_image(folder: Path, spec: RadiographSpec) -> Boxes:
    rendered = render_radiograph(spec, IMAGE_SIZE)
    # The lightest compression: grain hardly compresses, and this is three times faster.
    Image.fromarray(rendered.pixels).save(folder / spec.file_name, compress_level=1)
    return rendered.boxes


def _write_tables(folder: Path, population: Population, boxes: Sequence[Boxes]) -> None:
    write_rows(folder / METADATA_FILES[0], entry_rows(population.radiographs))
    write_names(folder / SPLIT_LISTS["train_val"], population.images_of(test=False))
    write_names(folder / SPLIT_LISTS["test"], population.images_of(test=True))
    paired = zip(population.radiographs, boxes, strict=True)
    in_test = [pair for pair in paired if pair[0].patient in population.test_patients]
    write_rows(folder / BOX_FILE, box_rows(in_test))
