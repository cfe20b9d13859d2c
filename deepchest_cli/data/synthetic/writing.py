"""A site's images and tables on disk."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

from deepchest_cli.data.synthetic import csv_layout, nih_layout
from deepchest_cli.data.synthetic.population import DEFAULT_IMAGES, plan_population
from deepchest_cli.data.synthetic.rendering import render_radiograph
from deepchest_cli.data.synthetic.sites import FIRST
from deepchest_cli.data.synthetic.specification import RadiographSpec, Shown, Site
from deepchest_cli.engines.child import CONTEXT, begin_worker, start_tracker

IMAGE_SIZE = 256
_BATCH = 16  # images that a process takes at a time


def write_demo(
    folder: Path,
    *,
    images: int = DEFAULT_IMAGES,
    seed: int = 0,
    long_tail: bool = False,
    site: Site = FIRST,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Fill an empty folder with a whole synthetic data set; progress gets (done, total)."""
    population = plan_population(images, seed=seed, long_tail=long_tail, site=site)
    (folder / "images").mkdir()
    shown: list[Shown] = []
    for one in _written(population.radiographs, folder / "images", site, workers):
        shown.append(one)
        if progress is not None:
            progress(len(shown), images)
    if site.layout == "nih":
        nih_layout.write_tables(folder, population, shown)
    else:
        csv_layout.write_table(folder, population, shown, site.columns)


def _written(
    radiographs: Sequence[RadiographSpec], folder: Path, site: Site, workers: int
) -> Iterator[Shown]:
    """Write the images in order, here or in worker processes."""
    write = partial(_write_image, folder, site)
    if workers <= 1:
        yield from map(write, radiographs)
        return
    start_tracker()
    with ProcessPoolExecutor(workers, CONTEXT, begin_worker) as pool:
        yield from pool.map(write, radiographs, chunksize=_BATCH)


def _write_image(folder: Path, site: Site, spec: RadiographSpec) -> Shown:
    rendered = render_radiograph(spec, IMAGE_SIZE)
    name = spec.file_name if site.layout == "nih" else csv_layout.file_name(spec)
    # The lightest compression: grain hardly compresses, and this is three times faster.
    Image.fromarray(rendered.pixels).save(folder / name, compress_level=1)
    return rendered.shown
