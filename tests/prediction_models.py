"""Untrained models with all that a finished and evaluated one has, made in no time."""

from pathlib import Path

import numpy as np
import torch

from deepchest_cli.model.backbones.registry import describe_backbone
from deepchest_cli.model.checkpoint import load_model, save_checkpoint, store_validation_fit
from deepchest_cli.model.checkpoint import store_reference as store
from deepchest_cli.model.classifier import Architecture, Classifier, outputs_of
from deepchest_cli.model.reference import (
    TrainingImages,
    correlation_of,
    fit_reference,
    name_hash,
    thumbnail,
)

CPU = torch.device("cpu")
FINDINGS = ("Mass", "Hernia", "Edema")
SIZE = 32


def chest_like(count: int, size: int = SIZE, seed: int = 0) -> np.ndarray:
    """Return images (N, S, S) that share a structure: two dark lung fields and grain."""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    fields = sum(np.exp(-(((x - at) / 0.14) ** 2) - ((y - 0.5) / 0.3) ** 2) for at in (0.28, 0.72))
    grain = chance.normal(0, 6, (count, size, size)) + chance.normal(0, 12, (count, 1, 1))
    return (190 - 130 * fields + grain).clip(0, 255).astype(np.uint8)


def validation_fit(findings=FINDINGS) -> dict:
    """Return thresholds and calibration as `evaluate` stores them; the last has neither."""
    entries = {}
    for number, name in enumerate(findings):
        last = number == len(findings) - 1
        points = dict.fromkeys(
            ("youden", "sensitivity_90", "specificity_90", "best_f1"),  # of version 0.1
            float("nan") if last else 0.4 + 0.1 * number,
        )
        calibration = None if last else {"slope": 0.8, "intercept": -0.5}
        entries[name] = {
            "positives": 20,
            "operating_points": points,
            "no_operating_point": dict.fromkeys(points, "too few") if last else {},
            "calibration": calibration,
            "uncalibrated": "too few" if last else None,
        }
    return {
        "source": "0" * 64,
        "images": 150,
        "patients": 100,
        "calibration_method": "platt",
        "findings": entries,
    }


def make_model(
    folder: Path, known: bool = True, seed: int = 0, settled: bool = True, **architecture
) -> Path:
    """Write an untrained model; `known`: with validation fit, reference and training images."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    aspect = "pad" if architecture.pop("pad", False) else "squash"
    settings = {"head": "linear", "findings": FINDINGS, "stored_size": SIZE, **architecture}
    backbone, size = settings.pop("backbone", "small_cnn"), settings.pop("image_size", SIZE)
    spec = describe_backbone(backbone, size, settings.pop("pool", "auto"))
    classifier = Classifier(Architecture.of(spec, **settings))
    if settled:
        _settle(classifier)
    classifier.eval()
    origin = {
        "weighter": "equal",
        "epoch": 1,
        "data_sets": [
            {
                "name": "shards",
                "data": "data/shards",
                "sha256": "0" * 64,
                "source": {"label_version": "2020", "synthetic": False},
                "settings": {"split_scheme": "official", "aspect": aspect},
            }
        ],
    }
    save_checkpoint(folder / "best.pt", classifier, origin)
    if known:
        _add_metadata(folder, classifier)
    return folder


@torch.no_grad()
def _settle(classifier: Classifier) -> None:
    """Give batch norm the statistics of some pictures: else deep networks see all images alike."""
    norms = [m for m in classifier.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        size = classifier.architecture.image_size
        pictures = torch.from_numpy(chest_like(4, size, seed=8)).unsqueeze(1) / 255
        classifier.train()(4 * (pictures - 0.5))
    for norm in norms:
        norm.momentum = 0.1
    classifier.eval()


def _add_metadata(folder: Path, classifier: Classifier) -> None:
    stored = classifier.architecture.stored_size
    images = chest_like(150, stored)
    features = outputs_of(classifier, torch.from_numpy(images), 150, CPU)[0].numpy()
    mean_image = np.mean([thumbnail(image) for image in images[:100]], axis=0)
    correlations = np.array([correlation_of(thumbnail(i), mean_image) for i in images[100:]])
    reference = fit_reference(features[:100], features[100:], mean_image, correlations)
    none = np.array([], dtype=np.int64)
    images_of_model = TrainingImages(none, none, np.array([name_hash("seen.png")]))
    run = {"epochs": 1, "steps": 1, "stopped_early": False}
    store(load_model(folder, CPU), reference.to_plain(), [images_of_model.to_plain()], run)
    store_validation_fit(load_model(folder, CPU), validation_fit(classifier.architecture.findings))
