"""Prediction in a program: `from deepchest_cli import load_model; load_model().predict(paths)`."""

from collections.abc import Iterable, Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from deepchest_cli.config import DEFAULT_MODEL
from deepchest_cli.errors import UsageError
from deepchest_cli.prediction.answers import Answer
from deepchest_cli.prediction.inputs import find_inputs
from deepchest_cli.prediction.network import open_network
from deepchest_cli.prediction.predictor import Predictor

if TYPE_CHECKING:
    import torch

AnyPath = str | PathLike[str]


class Model:
    """A model, or several as an ensemble, that predicts image files."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.findings = predictor.findings

    def predict(self, paths: AnyPath | Iterable[AnyPath]) -> list[Answer]:
        """Return an answer for each file; a folder stands for its images, sorted.

        A file that cannot be read has its reason in `problem`, and no probabilities.
        """
        return list(self.stream([paths] if isinstance(paths, str | PathLike) else paths))

    def stream(self, paths: Iterable[AnyPath]) -> Iterator[Answer]:
        """Yield the answers of `predict` one by one."""
        return self.predictor.predict(find_inputs(fspath(path) for path in paths))


def load_model(
    *models: AnyPath,
    device: str = "auto",
    threshold: str = "youden",
    tta: bool = False,
    batch_size: int | None = None,
) -> Model:
    """Return the model of a run folder, checkpoint or ONNX file; of several, their ensemble.

    Without a path it is the newest run below the working directory. Raises `UsageError` for a
    model or device that is not there and `DeepChestError` for a damaged file.
    """
    names = [fspath(model) for model in models]
    return Model(open_predictor(names, device, batch_size, threshold, tta))


def open_predictor(
    models: Sequence[str], device: str, batch_size: int | None, threshold: str, tta: bool
) -> Predictor:
    """Return the predictor of the paths given, or of the newest run."""
    if "" in models:
        raise UsageError("--model is empty: is a variable of the shell unset?")
    paths = [Path(name) for name in models] or [DEFAULT_MODEL]
    networks = [open_network(path, device, batch_size, _resolve) for path in paths]
    return Predictor(networks, threshold, tta)


def _resolve(device: str) -> "torch.device":
    from deepchest_cli.training.device import resolve_device

    return resolve_device(device)
