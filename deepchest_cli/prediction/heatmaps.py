"""Heat maps of where a model looks: the radiograph, and beside it the same under a map."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from deepchest_cli.data.radiograph import fit, open_image, placement
from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.files import atomic_write, sweep
from deepchest_cli.model.attribution import attribution_maps
from deepchest_cli.model.spatial import coarse_note, spatial_layer
from deepchest_cli.prediction.image_prediction import ImagePrediction
from deepchest_cli.prediction.predictor import Predictor
from deepchest_cli.prediction.reading import read_bytes
from deepchest_cli.prediction.torch_network import TorchNetwork

Floats = NDArray[np.float64]
UNFIT = re.compile(r"[^\w.-]+")  # in a file's name
LONGEST = 80  # letters of an image's name in it
INK, FAINT, PAPER = "#222222", "#555555", "#ffffff"
CAUTION = "#b3261e"
OPACITY = 0.55  # of the highest value at probability 1: the radiograph below stays visible
HALF = 0.5  # of a map's highest value: where its outline runs
MIN_TEXT = 12  # pixels
WRITING = 1 / 42  # of the width of both images
CAM = "Class activation map: what raises the score more than the average place does"
GRAD_CAM = "Grad-CAM: what the score depends on"
SCALE = (
    "Strength of color: share of the map's highest value, times the square root of the probability"
)
OUTLINE = "White line: half of the map's highest value"


class HeatMaps:
    """Draws a heat map for each image and finding into a folder."""

    def __init__(
        self, predictor: Predictor, folder: Path, findings: Sequence[str], force: bool
    ) -> None:
        """Make the folder; raises `UsageError` for whatever would leave it empty."""
        self.network = _only_checkpoint(predictor)
        for name in findings:
            if name not in predictor.findings:
                raise unknown_name("finding", name, predictor.findings)
        if not findings and predictor.flags_nothing:
            raise UsageError(
                "--heatmap draws flagged findings, and without operating points nothing is.",
                "Name them with --finding, or flag with --threshold NUMBER.",
            )
        self.findings, self.folder = tuple(findings), folder
        self.layer = spatial_layer(self.network.model.classifier)
        self.caution = coarse_note(self.layer.cells)
        if folder.is_file():
            raise UsageError(f"{folder} is a file.", "Name a folder with --heatmap.")
        if folder.is_dir() and any(folder.iterdir()) and not force:
            raise UsageError(f"{folder} is not empty.", "Name another folder, or add --force.")
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)

    def draw(self, prediction: ImagePrediction) -> dict[str, str]:
        """Write the heat maps of an image; return their paths by finding."""
        wanted = self.findings or tuple(prediction.flagged)
        if not wanted:
            return {}
        image = open_image(read_bytes(Path(prediction.path))).image
        maps, method = self._maps(image, wanted)
        paths = {}
        for finding, values in zip(wanted, maps, strict=True):
            threshold = prediction.thresholds[finding]
            cut = "" if math.isnan(threshold) else f", threshold {threshold:.3f}"
            probability = prediction.probabilities[finding]
            legend = (
                f"{finding}: probability {probability:.3f}{cut}",
                method if values.any() else f"{method}: nothing here",
                f"{SCALE} ({strength(probability):.2f} at most here)",
                OUTLINE,
                f"{Path(prediction.path).name}; for research, not for clinical use",
            )
            drawn = draw_beside(image, values, legend, strength(probability), self.caution)
            paths[finding] = str(self._write(drawn, prediction, finding))
        return paths

    def _maps(self, image: Image.Image, findings: Sequence[str]) -> tuple[list[Floats], str]:
        """Return a map (h, w) of each finding over the image, from 0 to 1, and its name."""
        metadata, classifier = self.network.metadata, self.network.model.classifier
        preprocessing = metadata.preprocessing
        pixels = torch.from_numpy(fit(image, preprocessing.size, preprocessing.pad).copy())[None]
        radiograph = classifier.architecture.radiographs(pixels.to(self.network.device))
        columns = torch.tensor([metadata.findings.index(name) for name in findings])
        found = attribution_maps(
            classifier,
            radiograph.expand(len(findings), -1, -1, -1),
            columns.to(self.network.device),
            self.layer,
        )
        chosen = found.grad_cam
        if found.cam is not None:  # of a rare finding all places may lower the score
            chosen = (found.cam - found.cam.mean(dim=(1, 2), keepdim=True)).relu()
        within = [self._over_image(one, image) for one in chosen.cpu().double().numpy()]
        cells = f"{' by '.join(map(str, self.layer.cells))} cells"
        return within, f"{GRAD_CAM if found.cam is None else CAM} ({cells})"

    def _over_image(self, values: Floats, image: Image.Image) -> Floats:
        """Return a map of the square (h, w) as one of the image (H, W), its highest value 1."""
        preprocessing = self.network.metadata.preprocessing
        size = preprocessing.size
        place = placement(image.width, image.height, size, preprocessing.pad)
        scale = values.shape[1] / size, values.shape[0] / size
        box = (
            place.left * scale[0],
            place.top * scale[1],
            (place.left + place.width) * scale[0],
            (place.top + place.height) * scale[1],
        )
        small = Image.fromarray((values / max(values.max(), 1e-30)).astype(np.float32))
        # between a few cells smooth transitions would look like knowledge of places
        kind = Image.Resampling.NEAREST if self.caution else Image.Resampling.BICUBIC
        large = small.resize(image.size, kind, box)
        return np.asarray(np.clip(np.asarray(large, dtype=np.float64), 0, 1))

    def _write(self, drawn: Image.Image, prediction: ImagePrediction, finding: str) -> Path:
        stem = UNFIT.sub("_", Path(prediction.path).stem)[:LONGEST]
        # images of one name from several folders differ in their hash
        name = f"{stem}-{prediction.sha256[:8]}-{UNFIT.sub('_', finding)}.png"
        with atomic_write(self.folder / name) as temporary:
            drawn.save(temporary, format="PNG", compress_level=1)
        return self.folder / name


def _only_checkpoint(predictor: Predictor) -> TorchNetwork:
    network = predictor.networks[0]
    if len(predictor.networks) > 1 or not isinstance(network, TorchNetwork):
        raise UsageError(
            "--heatmap needs one checkpoint: maps come from the gradients of one model.",
            "Name one run folder or checkpoint with --model.",
        )
    return network


def strength(probability: float) -> float:
    """Return how strong the colors of a map may be, from 0 to 1: the root of the probability.

    A map is of shares of its own highest value, which says nothing about how high the score is. At
    the root a probability of 0.02 is faint but seen, and far from one of 0.98.
    """
    return math.sqrt(min(max(probability, 0.0), 1.0))


def draw_beside(
    image: Image.Image,
    values: Floats,
    legend: Sequence[str],
    strongest: float = 1.0,
    caution: str = "",
) -> Image.Image:
    """Return an image (mode L) beside itself under `values` (H, W) from 0 to 1, at full size.

    Colors are those of `values` times `strongest`, with a line around the upper half of the values.
    Below stand the colors over middle gray up to 1, with a mark at `strongest`, and the lines of
    the legend. A `caution` is written across the map, or first in the legend where it does not fit.
    """
    width, height = image.size
    size = round(max(2 * width * WRITING, MIN_TEXT))
    font = ImageFont.load_default(size)
    gap, line = max(4, size // 2), round(1.35 * size)
    mapped = Image.fromarray(outlined(blend(np.asarray(image), values * strongest), values))
    needs_line = bool(caution) and not _written_across(mapped, caution, font, size)
    lines = [(caution, CAUTION)] if needs_line else []
    lines += [(text, FAINT if number else INK) for number, text in enumerate(legend)]
    bar = 8 * size
    longest = max(font.getlength(text) for text, _ in lines)
    across = max(2 * width + gap, math.ceil(longest) + bar + 3 * gap)
    sheet = Image.new("RGB", (across, height + 2 * gap + line * len(lines)), PAPER)
    sheet.paste(image.convert("RGB"), (0, 0))
    sheet.paste(mapped, (width + gap, 0))
    draw = ImageDraw.Draw(sheet)
    top = height + gap
    _draw_bar(sheet, (gap, top, bar, size), strongest, font)
    for number, (text, color) in enumerate(lines):
        draw.text((bar + 2 * gap, top + number * line), text, color, font)
    return sheet


def _written_across(mapped: Image.Image, text: str, font: Any, size: int) -> bool:
    """Write a caution on a dark strip at the foot of a map, and return whether it fits there."""
    lines, room = [""], mapped.width - size
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= room or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    height = round(1.35 * size * len(lines)) + size // 2
    if height > mapped.height / 2 or max(map(font.getlength, lines)) > mapped.width:
        return False
    draw = ImageDraw.Draw(mapped)
    draw.rectangle((0, mapped.height - height, mapped.width, mapped.height), fill="#000000")
    place = (size // 2, mapped.height - height + size // 4)
    draw.multiline_text(place, "\n".join(lines), "#ffffff", font, spacing=0.2 * size)
    return True


def _draw_bar(
    sheet: Image.Image, box: tuple[int, int, int, int], strongest: float, font: Any
) -> None:
    """Draw the scale of colors from 0 to 1 and a mark at the strongest color of this map."""
    left, top, width, height = box
    steps = np.tile(np.linspace(0, 1, width), (height, 1))
    gray = np.full((height, width), 110, np.uint8)
    sheet.paste(Image.fromarray(blend(gray, steps)), (left, top))
    draw, at, half = ImageDraw.Draw(sheet), left + round(strongest * (width - 1)), height // 3
    draw.line((at, top, at, top + height), fill=INK, width=max(1, height // 8))
    below = top + height
    draw.polygon([(at, below), (at - half, below + half), (at + half, below + half)], fill=INK)
    draw.text((left, below + half), "0", FAINT, font)
    draw.text((left + width, below + half), "1", FAINT, font, anchor="ra")


def outlined(pixels: NDArray[np.uint8], values: Floats) -> NDArray[np.uint8]:
    """Return colored pixels (H, W, 3) with a white line where `values` (H, W) cross `HALF`.

    Where the colors are faint it says where the map is highest. The line is as wide as a 300th of
    the image, at least a pixel.
    """
    inside = values >= HALF
    edge = np.zeros_like(inside)
    edge[:-1] |= inside[:-1] != inside[1:]
    edge[:, :-1] |= inside[:, :-1] != inside[:, 1:]
    width = max(1, round(min(values.shape) / 300))
    for axis in (0, 1):  # a pixel's width becomes the line's, to the lower right
        edge = np.logical_or.reduce([_shifted(edge, step, axis) for step in range(width)])
    drawn = pixels.copy()
    drawn[edge] = 255
    return drawn


def _shifted(mask: NDArray[np.bool_], step: int, axis: int) -> NDArray[np.bool_]:
    moved = np.roll(mask, step, axis)
    if step:
        moved[(slice(None),) * axis + (slice(0, step),)] = False
    return moved


def blend(gray: NDArray[np.uint8], values: Floats) -> NDArray[np.uint8]:
    """Return gray values (H, W) under the colors of `values` (H, W): (H, W, 3)."""
    opacity = (OPACITY * values)[..., None].astype(np.float32)
    base = np.repeat(gray[..., None], 3, axis=2).astype(np.float32)
    mixed = base * (1 - opacity) + colors(values).astype(np.float32) * opacity
    return np.asarray(np.rint(mixed), dtype=np.uint8)


def colors(values: Floats) -> Floats:
    """Return yellow for low and red for high values: (..., 3), from 0 to 255."""
    green = 220 * (1 - values)
    return np.stack([np.full_like(values, 255.0), green, np.zeros_like(values)], axis=-1)
