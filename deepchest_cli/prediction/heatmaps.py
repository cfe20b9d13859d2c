"""Pictures of where a model looks: the radiograph, and beside it the same with a finding's map."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from deepchest_cli.data.augmentation import normalize, to_gray
from deepchest_cli.data.radiograph import fit, open_image, placement
from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.files import atomic_write, sweep
from deepchest_cli.model.attribution import attribution_maps, map_layer
from deepchest_cli.prediction.answers import Answer
from deepchest_cli.prediction.overlay import Legend, draw_beside
from deepchest_cli.prediction.predictor import Predictor
from deepchest_cli.prediction.reading import read_bytes
from deepchest_cli.prediction.torch_network import TorchNetwork

UNFIT = re.compile(r"[^\w.-]+")  # in the name of a picture
LONGEST = 80  # letters of an image's name in it
Floats = NDArray[np.float64]
CAM = "Class activation map: red raises the score most, clear no more than the average place"
GRAD_CAM = "Grad-CAM: red is what the score hangs on most, clear is nothing"


class HeatMaps:
    """Draws one picture for each image and finding into a folder."""

    def __init__(
        self, predictor: Predictor, folder: Path, findings: Sequence[str], force: bool
    ) -> None:
        """Make the folder; raises `UsageError` for whatever would leave it without pictures."""
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
        size = self.network.knowledge.image_size
        blank = torch.zeros(1, 1, size, size, device=self.network.device)
        self.layer = map_layer(self.network.model.classifier, blank)
        if folder.is_file():
            raise UsageError(f"{folder} is a file.", "Name a folder with --heatmap.")
        if folder.is_dir() and any(folder.iterdir()) and not force:
            raise UsageError(
                f"{folder} holds something already.", "Name another folder, or add --force."
            )
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)

    def draw(self, answer: Answer) -> dict[str, str]:
        """Write the pictures of an image; return their paths by finding."""
        wanted = self.findings or tuple(answer.flagged)
        if not wanted:
            return {}
        image = open_image(read_bytes(Path(answer.path))).image
        maps, method = self._maps(image, wanted)
        paths = {}
        for finding, values in zip(wanted, maps, strict=True):
            legend = Legend(
                finding,
                answer.probabilities[finding],
                answer.thresholds[finding],
                method if values.any() else f"{method}: here nothing does",
                Path(answer.path).name,
            )
            paths[finding] = str(self._write(draw_beside(image, values, legend), answer, finding))
        return paths

    def _maps(self, image: Image.Image, findings: Sequence[str]) -> tuple[list[Floats], str]:
        """Return a map (h, w) of each finding over the picture, from 0 to 1, and its name."""
        knowledge, classifier = self.network.knowledge, self.network.model.classifier
        frame = knowledge.frame
        pixels = torch.from_numpy(fit(image, frame.size, frame.pad).copy())[None]
        gray = to_gray(pixels.to(self.network.device), knowledge.image_size)
        radiograph = normalize(gray, classifier.architecture.normalization)
        columns = torch.tensor([knowledge.findings.index(name) for name in findings])
        found = attribution_maps(
            classifier,
            radiograph.expand(len(findings), -1, -1, -1),
            columns.to(self.network.device),
            self.layer,
        )
        chosen = found.grad_cam
        if found.cam is not None:  # of a rare finding all places may lower the score
            chosen = (found.cam - found.cam.mean(dim=(1, 2), keepdim=True)).relu()
        within = [self._over_picture(one, image) for one in chosen.double().cpu().numpy()]
        cells = " by ".join(str(side) for side in chosen.shape[1:])
        return within, f"{GRAD_CAM if found.cam is None else CAM} ({cells} cells)"

    def _over_picture(self, values: Floats, image: Image.Image) -> Floats:
        """Return a map of the square (h, w) as one of the picture (H, W), its highest value 1."""
        frame = self.network.knowledge.frame
        place = placement(image.width, image.height, frame.size, frame.pad)
        scale = values.shape[1] / frame.size, values.shape[0] / frame.size
        box = (
            place.left * scale[0],
            place.top * scale[1],
            (place.left + place.width) * scale[0],
            (place.top + place.height) * scale[1],
        )
        small = Image.fromarray((values / max(values.max(), 1e-30)).astype(np.float32))
        large = small.resize(image.size, Image.Resampling.BICUBIC, box)
        return np.asarray(np.clip(np.asarray(large, dtype=np.float64), 0, 1))

    def _write(self, picture: Image.Image, answer: Answer, finding: str) -> Path:
        stem = UNFIT.sub("_", Path(answer.path).stem)[:LONGEST]
        # images of one name from several folders differ in their hash
        name = f"{stem}-{answer.sha256[:8]}-{UNFIT.sub('_', finding)}.png"
        with atomic_write(self.folder / name) as temporary:
            picture.save(temporary, format="PNG", compress_level=1)
        return self.folder / name


def _only_checkpoint(predictor: Predictor) -> TorchNetwork:
    network = predictor.networks[0]
    if len(predictor.networks) > 1 or not isinstance(network, TorchNetwork):
        raise UsageError(
            "--heatmap needs one checkpoint: maps come from the gradients of one model.",
            "Name one run folder or checkpoint with --model.",
        )
    return network
