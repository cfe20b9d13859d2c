"""The tables of a site in the layout of NIH ChestX-ray14."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from deepchest_cli.data.findings import NO_FINDING
from deepchest_cli.data.sources.nih_metadata import (
    BOX_FILE,
    BOX_FRAME,
    BOX_SPELLINGS,
    BOXED_FINDINGS,
    METADATA_FILES,
    SPLIT_LISTS,
)
from deepchest_cli.data.synthetic.population import Population
from deepchest_cli.data.synthetic.specification import Box, RadiographSpec, Shown

_ENTRY_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
_BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
# The wide format and spacing (mm) of upright units, and the square one of portable units.
_ORIGINALS = {"PA": "2992,2991,0.143,0.143", "AP": "2500,2048,0.168,0.168"}
_BOX_NAMES = {finding: spelling for spelling, finding in BOX_SPELLINGS.items()}


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


def write_tables(folder: Path, population: Population, shown: Sequence[Shown]) -> None:
    """Labels, the lists of the split, and the boxes of the test images."""
    write_rows(folder / METADATA_FILES[0], entry_rows(population.radiographs))
    write_names(folder / SPLIT_LISTS["train_val"], population.images_of(test=False))
    write_names(folder / SPLIT_LISTS["test"], population.images_of(test=True))
    paired = zip(population.radiographs, shown, strict=True)
    tests = population.test_patients
    in_test = [(spec, one.boxes) for spec, one in paired if spec.patient in tests]
    write_rows(folder / BOX_FILE, box_rows(in_test))
