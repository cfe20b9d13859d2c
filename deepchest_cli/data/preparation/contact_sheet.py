"""The contact sheet of a data set: some images of each finding, to see that labels fit."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from deepchest_cli.data.dataset import RadiographDataset, open_manifest
from deepchest_cli.data.text import count_of
from deepchest_cli.files import atomic_write

EACH = 6  # images of a finding
TILE, GAP, MARGIN, LINE = 160, 8, 150, 14  # pixels
INK, FAINT, PAPER, BOX = "#222222", "#777777", "#ffffff", "#e0a030"


def draw_contact_sheet(folder: Path, manifest: dict[str, Any], path: Path) -> None:
    """Draw rows of images, one for each finding and one for none, with names, labels and boxes."""
    dataset = open_manifest(folder, manifest)
    rows = [(name, *_choose(dataset, column)) for column, name in enumerate(dataset.findings)]
    healthy = np.flatnonzero((dataset.labels.sum(axis=1) == 0) & dataset.known.all(axis=1))
    rows.append(("No finding", _spread(healthy), len(healthy)))
    step = TILE + 3 * LINE + GAP
    sheet = Image.new("RGB", (MARGIN + EACH * (TILE + GAP), 24 + len(rows) * step), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 6), _title(manifest), INK, ImageFont.load_default(12))
    for number, (name, chosen, count) in enumerate(rows):
        top = 24 + number * step
        draw.text((GAP, top + TILE // 2 - 14), name, INK, ImageFont.load_default(12))
        images = count_of(count, "image")
        draw.text((GAP, top + TILE // 2), images, FAINT, ImageFont.load_default(11))
        for place, row in enumerate(chosen):
            x = MARGIN + place * (TILE + GAP)
            _tile(sheet, x, top, dataset, int(row))
            _mark(draw, x, top, dataset, int(row), name)
    with atomic_write(path) as temporary:
        sheet.save(temporary, format="PNG")


def _title(manifest: dict[str, Any]) -> str:
    settings, counts = manifest["settings"], manifest["counts"]["all"]
    source = manifest["source"]
    kind = "synthetic radiographs" if source["synthetic"] else source["kind"]
    return (
        f"{kind}: {count_of(counts['images'], 'image')} at {settings['size']} px; each row shows "
        "some images with the finding, below them name and all findings"
    )


def _choose(dataset: RadiographDataset, column: int) -> tuple[NDArray[np.int64], int]:
    """Return some images with a finding, those with a box of it first, and how many there are."""
    found = np.flatnonzero((dataset.labels[:, column] == 1) & (dataset.known[:, column] == 1))
    boxed = dataset.boxes.row[dataset.boxes.finding == dataset.findings[column]]
    with_box = np.intersect1d(found, boxed)
    if len(with_box) >= EACH // 2:
        first = _spread(with_box)[: EACH // 2]
        others = np.setdiff1d(found, first)
        return np.concatenate([first, _spread(others)[: EACH - len(first)]]), len(found)
    return _spread(found), len(found)


def _spread(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(rows) <= EACH:
        return rows
    return np.asarray(rows[np.linspace(0, len(rows) - 1, EACH).astype(int)])


def _tile(sheet: Image.Image, x: int, y: int, data: RadiographDataset, row: int) -> None:
    pixels = data.gather(np.array([row]))[0]
    sheet.paste(Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.BILINEAR), (x, y))


def _mark(
    draw: ImageDraw.ImageDraw, x: int, y: int, data: RadiographDataset, row: int, finding: str
) -> None:
    """Draw the boxes of the finding that the row of the sheet is about, name and all findings."""
    scale = TILE / data.size
    marked = (data.boxes.row == row) & (data.boxes.finding == finding)
    for left, top, width, height in data.boxes.box[marked] * scale:
        draw.rectangle((x + left, y + top, x + left + width, y + top + height), outline=BOX)
    present = (data.labels[row] == 1) & (data.known[row] == 1)
    names = [name for name, there in zip(data.findings, present, strict=True) if there]
    font = ImageFont.load_default(10)
    image_name = str(data.columns["image_index"][row])
    for line, text in enumerate([image_name, *_wrapped(draw, names or ["none"], font)]):
        draw.text((x, y + TILE + line * LINE), _cut(draw, text, font), INK if line else FAINT, font)


def _wrapped(draw: ImageDraw.ImageDraw, names: list[str], font: Any) -> list[str]:
    """Return names in two lines at most."""
    for number in range(len(names), 0, -1):
        first = ", ".join(names[:number])
        if draw.textlength(first, font) <= TILE:
            return [first, ", ".join(names[number:])]
    return [names[0], ", ".join(names[1:])]


def _cut(draw: ImageDraw.ImageDraw, text: str, font: Any) -> str:
    if draw.textlength(text, font) <= TILE:
        return text
    while draw.textlength(f"{text}…", font) > TILE:
        text = text[:-1]
    return f"{text}…"
