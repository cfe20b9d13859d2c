"""Torchxrayvision's classifiers of chest radiographs: names, weights, scaling and outputs.

Their networks are torchvision's with one channel in, so that they are built without the package
(Cohen et al. 2022, "TorchXRayVision: A library of chest X-ray datasets and models", MIDL).
"""

import io
import re
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from torch import Tensor, nn

from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.extras import install_hint
from deepchest_cli.model.backbones.base import (
    AUTO_POOL,
    PRETRAINED_ON,
    BackboneSource,
    BackboneSpec,
    Published,
    refuse_pooling,
)
from deepchest_cli.model.backbones.torchvision_models import TorchvisionSource
from deepchest_cli.model.weights import find_state, read_tensors

PREFIX = "xrv/"
MEAN, STD = 0.5, 1 / 2048  # gray values from 0 to 1 become -1024 to 1024
FULL_NAME = re.compile(rf"{PREFIX}((?:densenet|resnet)\d+)-res\d+-\w+")
# distributions whose modules have other names
DISTRIBUTIONS = {"skimage": "scikit-image"}
# the data sets in the names of the weights' files, by our names of the sources
KINDS = {
    "nih": "nih", "google": "nih", "kaggle": "rsna", "rsna": "rsna", "siim": "siim",
    "pc": "padchest", "chex": "chexpert", "mimic_ch": "mimic-cxr", "mimic_nb": "mimic-cxr",
    "openi": "openi", "vin": "vindr",
}  # fmt: skip
# what is not of the network itself: where its probabilities are 0.5
OPERATING_POINTS = "op_threshs"


@dataclass(frozen=True)
class XrvModel:
    """A model as the package lists it."""

    name: str  # canonical, with the prefix
    outputs: tuple[str, ...]  # "" for those that were not trained
    operating_points: tuple[float, ...] | None  # of the probabilities, NaN where there is none
    image_size: int  # pixels
    url: str
    file: Path  # where the package keeps what it fetched

    @property
    def network(self) -> str:
        """Torchvision's name of the network."""
        return network_of(self.name)

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The sources of the images that it was trained on, as the file's name lists them."""
        names = self.file.name.partition(f"-{self.network}")[0].split("-")
        return tuple(sorted({KINDS[name] for name in names if name in KINDS}))


class XrvSource(BackboneSource):
    """The networks of torchxrayvision without their classification layer."""

    def resolve(self, name: str) -> str:
        """Return the full name; one that is full is looked up when its description is asked for."""
        return name if FULL_NAME.fullmatch(name) else xrv_model(name).name

    def describe(self, name: str, image_size: int, pool: str = AUTO_POOL) -> BackboneSpec:
        """Return the description; sizes are those of torchvision's network."""
        refuse_pooling(name, pool)
        model = xrv_model(name)
        TorchvisionSource().describe(model.network, image_size)
        config = {PRETRAINED_ON: list(model.trained_on)}
        return BackboneSpec(name, image_size, mean=MEAN, std=STD, config=config)

    def build(self, spec: BackboneSpec, drop_path: float = 0.0) -> tuple[nn.Module, int]:
        """Return torchvision's network with one channel in, and its features; needs no package."""
        network = BackboneSpec(network_of(spec.name), spec.image_size)
        return TorchvisionSource().build(network, drop_path)

    def published(self, spec: BackboneSpec) -> Published:
        """Return where the package's weights are."""
        model = xrv_model(spec.name)
        return Published(model.url, model.file.is_file())

    def pretrained(self, spec: BackboneSpec) -> Mapping[str, Tensor]:
        """Return the package's weights, which it fetches where they are not here yet."""
        trunk, _ = self.build(spec)
        content = read_tensors(fetch(xrv_model(spec.name)))
        return self.adapt(trunk, find_state(content, trunk.state_dict()))

    def adapt(self, trunk: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors without the operating points of the outputs."""
        return {key: value for key, value in state.items() if key != OPERATING_POINTS}


def network_of(name: str) -> str:
    """Return torchvision's name of the network in a full name."""
    return name.removeprefix(PREFIX).partition("-")[0]


def xrv_model(name: str) -> XrvModel:
    """Return a model by its name, with the prefix, or by the part that is its own.

    Raises `UsageError` for an unknown name, with the nearest, and where the package or what it
    imports is missing.
    """
    package = _package(name)
    full = {key for key in package.model_urls if FULL_NAME.fullmatch(PREFIX + key)}
    short = {key.rpartition("-")[2]: key for key in sorted(full, reverse=True)}
    asked = name.removeprefix(PREFIX)
    key = asked if asked in full else short.get(asked)
    if key is None:
        raise unknown_name("model of torchxrayvision", name, [PREFIX + one for one in sorted(full)])
    entry = package.model_urls[key]
    points, url = entry.get(OPERATING_POINTS), entry["weights_url"]
    folder = Path(package.utils.get_cache_dir()).expanduser()
    return XrvModel(
        name=PREFIX + key,
        outputs=tuple(entry["labels"]),
        operating_points=None if points is None else tuple(map(float, points)),
        image_size=entry["input_resolution"],
        url=url,
        file=folder / Path(urlparse(url).path).name,
    )


def model_of_file(file_name: str) -> str | None:
    """Return the name of the model whose weights the package keeps in a file of this name."""
    for key, entry in _package(PREFIX).model_urls.items():
        is_model = FULL_NAME.fullmatch(PREFIX + key)
        if is_model and Path(urlparse(entry["weights_url"]).path).name == file_name:
            return PREFIX + str(key)
    return None


def fetch(model: XrvModel) -> Path:
    """Return the file of a model's weights; the package fetches it where it is not here yet.

    Raises `OSError` where it cannot be fetched.
    """
    package = _package(model.name)
    with redirect_stdout(io.StringIO()):  # it prints its progress among the results
        return Path(package.get_weights(model.name.removeprefix(PREFIX)))


def _package(name: str) -> Any:
    try:
        with warnings.catch_warnings():  # importing it silences all warnings of the program
            from torchxrayvision import models
    except ImportError as error:
        module = (error.name or "").partition(".")[0]
        if module in ("", "torchxrayvision"):
            raise UsageError(f"{name} needs torchxrayvision.", install_hint("xrv")) from error
        raise UsageError(
            f"{name} needs torchxrayvision, which needs {module}: it is not installed.",
            f"Run: pip install {DISTRIBUTIONS.get(module, module)}",
        ) from error
    return models
