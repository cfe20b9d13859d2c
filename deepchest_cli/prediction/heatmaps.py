"""Heat maps of where a model looks: the radiograph, and beside it the same under a map."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

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
INK, FAINT, PAPER = "#222222", "#666666", "#ffffff"
OPACITY = 0.55  # of the highest value: the radiograph below stays visible
LEAST_TEXT, MOST_TEXT = 12, 40  # pixels
WRITING = 1 / 42  # of the width of both images
CAM = "Class activation map: red raises the score most, clear no more than the average place"
GRAD_CAM = "Grad-CAM: red is what the score hangs on most, clear is nothing"


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
            legend = (
                f"{finding}: probability {prediction.probabilities[finding]:.3f}{cut}",
                method if values.any() else f"{method}: no place does here",
                f"{Path(prediction.path).name}; for research, not for clinical use",
            )
            drawn = draw_beside(image, values, legend)
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
        cells += ", too coarse to locate a finding" if self.caution else ""
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
        large = small.resize(image.size, Image.Resampling.BICUBIC, box)
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


def draw_beside(image: Image.Image, values: Floats, legend: Sequence[str]) -> Image.Image:
    """Return an image (mode L) beside itself under `values` (H, W) from 0 to 1, at full size.

    Below them stand the colors over middle gray, with their meaning, and the lines of the legend.
    """
    width, height = image.size
    size = round(min(max(2 * width * WRITING, LEAST_TEXT), MOST_TEXT))
    font = ImageFont.load_default(size)
    gap = max(4, size // 2)
    longest = max(font.getlength(line) for line in legend)
    bar = 8 * size
    across = max(2 * width + gap, math.ceil(longest) + bar + 3 * gap)
    sheet = Image.new("RGB", (across, height + 2 * gap + 4 * size), PAPER)
    sheet.paste(image.convert("RGB"), (0, 0))
    sheet.paste(Image.fromarray(blend(np.asarray(image), values)), (width + gap, 0))
    draw = ImageDraw.Draw(sheet)
    steps, top = np.tile(np.linspace(0, 1, bar), (size, 1)), height + gap
    sheet.paste(Image.fromarray(blend(np.full((size, bar), 110, np.uint8), steps)), (gap, top))
    below = top + round(1.15 * size)
    draw.text((gap, below), "none", FAINT, font)
    draw.text((gap + bar, below), "most", FAINT, font, anchor="ra")
    for number, line in enumerate(legend):
        place = (bar + 2 * gap, top + round(1.35 * number * size))
        draw.text(place, line, FAINT if number else INK, font)
    return sheet


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
