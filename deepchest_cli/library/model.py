"""A model that stays loaded: `load_model("runs/latest").predict(paths)`."""

from collections.abc import Iterable, Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.config import DEFAULT_MODEL
from deepchest_cli.errors import UnreadableRadiographError, UsageError
from deepchest_cli.library.keywords import AnyPath
from deepchest_cli.model.fold_runs import with_folds
from deepchest_cli.prediction.embeddings import refuse_ensemble
from deepchest_cli.prediction.image_prediction import ImagePrediction
from deepchest_cli.prediction.inputs import find_inputs
from deepchest_cli.prediction.network import Network
from deepchest_cli.prediction.predictor import Predictor


class Model:
    """A model, or several as an ensemble, that predicts image files."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.findings = predictor.findings

    def predict(self, paths: AnyPath | Iterable[AnyPath]) -> list[ImagePrediction]:
        """Return a prediction for each file; a folder stands for its images, sorted.

        A file that cannot be read has its reason in `problem`, and no probabilities.
        """
        return list(self.stream(paths))

    def stream(self, paths: AnyPath | Iterable[AnyPath]) -> Iterator[ImagePrediction]:
        """Yield the predictions of `predict` one by one, each with the image's features (D,)."""
        given = [paths] if isinstance(paths, str | PathLike) else paths
        return self.predictor.predict(find_inputs(fspath(path) for path in given))

    def embed(self, paths: AnyPath | Iterable[AnyPath]) -> NDArray[np.float32]:
        """Return the features (N, D) that the logits are computed from, in the order of `predict`.

        Each row is a file's: the first that cannot be read raises `UnreadableRadiographError`.
        Raises `UsageError` for an ensemble, which has no common features, and without a file.
        """
        refuse_ensemble(self.predictor)
        rows = []
        for one in self.stream(paths):
            if one.problem:
                raise UnreadableRadiographError(
                    f"{one.path}: {one.problem}",
                    "Leave the file out; the answers of predict name all that cannot be read.",
                )
            assert one.features is not None  # of one model
            rows.append(one.features)
        if not rows:
            raise UsageError("There is no image to embed.", "Name image files or a folder.")
        return np.stack(rows)


def load_model(
    *models: AnyPath,
    device: str = "auto",
    threshold: str = "youden",
    tta: bool = False,
    batch_size: int | None = None,
    backbone: str | Sequence[str] = (),
    source: str | None = None,
) -> Model:
    """Return the model of a run folder, checkpoint or ONNX file; of several, their ensemble.

    Without a path it is the newest run below the working directory. backbone: the code of models
    whose backbone is one's own, FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION; it is run. source: the
    data set of training whose operating points and calibration are used, of several. Raises
    `UsageError` for a model, device, code or source that is not there and `DeepChestError` for a
    damaged file.

    >>> model = load_model("runs/latest")
    >>> model.predict("image.png")[0].probabilities
    """
    names = [fspath(model) for model in models]
    name_backbones([backbone] if isinstance(backbone, str) else backbone)
    return Model(open_predictor(names, device, batch_size, threshold, tta, source))


def name_backbones(names: Sequence[str]) -> None:
    """Run code of one's own that models have their backbones from, FILE.py:FUNCTION."""
    if names:
        from deepchest_cli.model.backbones.own_function import run_named

        run_named(names)


def open_predictor(
    models: Sequence[str],
    device: str,
    batch_size: int | None,
    threshold: str,
    tta: bool,
    source: str | None = None,
) -> Predictor:
    """Return the predictor of the paths given, or of the newest run."""
    if "" in models:
        raise UsageError("--model is empty: is a variable of the shell unset?")
    paths = with_folds([Path(name) for name in models] or [DEFAULT_MODEL])
    networks = [open_network(path, device, batch_size) for path in paths]
    return Predictor(networks, threshold, tta, source)


def open_network(model: Path, device: str, batch_size: int | None) -> Network:
    """Return the network of a run folder, a checkpoint or an ONNX file.

    Torch is imported for checkpoints alone. Raises `UsageError` where there is no such model or
    device and `DeepChestError` for a file that is no model.
    """
    suffix = model.suffix.lower()
    if suffix == ".onnx":
        from deepchest_cli.prediction.onnx_network import open_onnx

        return open_onnx(model, device, batch_size)
    if suffix == ".pt2":
        raise UsageError(
            f"{model} is an exported torch file, which is for other programs.",
            "Name the run folder, its checkpoint, or an ONNX file with --model.",
        )
    from deepchest_cli.prediction.torch_network import open_checkpoint
    from deepchest_cli.training.device import resolve_device

    return open_checkpoint(model, resolve_device(device), batch_size)
