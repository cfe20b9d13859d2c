"""Predictions for image files, a batch at a time, the unreadable ones set aside."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from deepchest_cli.data.radiograph import read_radiograph
from deepchest_cli.errors import UnreadableRadiographError
from deepchest_cli.evaluation.predictions import probabilities_of
from deepchest_cli.model.classifier import Classifier


@dataclass(frozen=True)
class FileResult:
    """What became of one file: a probability per finding, or why there is none."""

    path: Path
    probabilities: dict[str, float] = field(default_factory=dict)
    error: str | None = None


def predict_files(
    classifier: Classifier,
    paths: Sequence[Path],
    batch_size: int,
    device: torch.device,
    progress: Callable[[int, int], None],
) -> Iterator[FileResult]:
    """Yield a result for each file, in the order given."""
    for start in range(0, len(paths), batch_size):
        yield from _predict_batch(classifier, paths[start : start + batch_size], batch_size, device)
        progress(min(start + batch_size, len(paths)), len(paths))


def _predict_batch(
    classifier: Classifier, paths: Sequence[Path], batch_size: int, device: torch.device
) -> Iterator[FileResult]:
    images, errors = [], {}
    for position, path in enumerate(paths):
        try:
            images.append(read_radiograph(path, classifier.architecture.stored_size))
        except UnreadableRadiographError as error:
            errors[position] = error.message
    rows = iter(())
    if images:
        stacked = torch.from_numpy(np.stack(images))
        rows = iter(probabilities_of(classifier, stacked, batch_size, device).tolist())
    findings = classifier.architecture.findings
    for position, path in enumerate(paths):
        if position in errors:
            yield FileResult(path, error=errors[position])
        else:
            yield FileResult(path, dict(zip(findings, next(rows), strict=True)))
