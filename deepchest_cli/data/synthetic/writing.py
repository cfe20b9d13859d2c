"""Pictures and tables on disk, in the layout of NIH ChestX-ray14."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from PIL import Image

from deepchest_cli.data.sources.nih_layout import BOX_FILE, METADATA_FILES, SPLIT_LISTS
from deepchest_cli.data.synthetic.population import DEFAULT_IMAGES, Population, plan_population
from deepchest_cli.data.synthetic.rendering import render_radiograph
from deepchest_cli.data.synthetic.specification import Box, RadiographSpec
from deepchest_cli.data.synthetic.tables import box_rows, entry_rows, write_names, write_rows
from deepchest_cli.data.workers import CONTEXT, begin_worker, start_tracker

PICTURE_SIZE = 256
_BATCH = 16

Boxes = tuple[Box, ...]


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
    for batch in _written(population.radiographs, folder / "images", workers):
        boxes += batch
        if progress is not None:
            progress(len(boxes), images)
    _write_tables(folder, population, boxes)


def _written(
    radiographs: Sequence[RadiographSpec], folder: Path, workers: int
) -> Iterator[list[Boxes]]:
    """Write the pictures batch by batch, in order, here or in worker processes."""
    batches = [radiographs[at : at + _BATCH] for at in range(0, len(radiographs), _BATCH)]
    folders = [folder] * len(batches)
    if workers <= 1:
        yield from map(_write_batch, batches, folders)
        return
    start_tracker()
    with ProcessPoolExecutor(workers, CONTEXT, begin_worker) as pool:
        yield from pool.map(_write_batch, batches, folders)


def _write_batch(radiographs: Iterable[RadiographSpec], folder: Path) -> list[Boxes]:
    return [_write_picture(spec, folder) for spec in radiographs]


def _write_picture(spec: RadiographSpec, folder: Path) -> Boxes:
    rendered = render_radiograph(spec, PICTURE_SIZE)
    # The lightest compression: grain hardly compresses, and this is three times faster.
    Image.fromarray(rendered.picture).save(folder / spec.file_name, compress_level=1)
    return rendered.boxes


def _write_tables(folder: Path, population: Population, boxes: Sequence[Boxes]) -> None:
    write_rows(folder / METADATA_FILES[0], entry_rows(population.radiographs))
    write_names(folder / SPLIT_LISTS["train_val"], population.part(test=False))
    write_names(folder / SPLIT_LISTS["test"], population.part(test=True))
    paired = zip(population.radiographs, boxes, strict=True)
    in_test = [pair for pair in paired if pair[0].patient in population.test_patients]
    write_rows(folder / BOX_FILE, box_rows(in_test))
