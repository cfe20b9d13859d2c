"""Prediction in a program: `predict(["image.png"]).probabilities`, or a model that stays loaded."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.config import DEFAULT_MODEL, PredictConfig
from deepchest_cli.errors import UnreadableRadiographError, UsageError
from deepchest_cli.library.keywords import AnyPath, configuration, takes_flags_of, with_given
from deepchest_cli.library.notebook import Receive, recorder, titled_table
from deepchest_cli.library.predicting import open_session
from deepchest_cli.model.fold_runs import with_folds
from deepchest_cli.prediction.embeddings import refuse_ensemble
from deepchest_cli.prediction.image_prediction import ImagePrediction
from deepchest_cli.prediction.inputs import find_inputs
from deepchest_cli.prediction.network import Network
from deepchest_cli.prediction.predictor import Predictor
from deepchest_cli.prediction.studies import StudyPrediction

if TYPE_CHECKING:
    from typing import Unpack

    import pandas as pd

    from deepchest_cli.library.options import PredictOptions


@dataclass(frozen=True)
class Predictions(Sequence[ImagePrediction | StudyPrediction]):
    """The answers for images, or for studies, in order; a sequence of them.

    problems: why there is none, by the path of a file that could not be read, or a study's name.
    """

    answers: tuple[ImagePrediction | StudyPrediction, ...]
    findings: tuple[str, ...]
    problems: dict[str, str]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @cached_property
    def probabilities(self) -> "pd.DataFrame":
        """A row for each image or study, with the probability of each finding."""
        return self._table([one.probabilities for one in self.answers])

    @cached_property
    def flagged(self) -> "pd.DataFrame":
        """Whether the probability of each finding is at or above its threshold, in such rows."""
        return self._table(
            [{name: name in one.flagged for name in self.findings} for one in self.answers]
        )

    def _table(self, rows: "list[dict[str, float]] | list[dict[str, bool]]") -> "pd.DataFrame":
        import pandas as pd

        names = [one.path if isinstance(one, ImagePrediction) else one.name for one in self.answers]
        return pd.DataFrame(rows, index=pd.Index(names, name="path"), columns=list(self.findings))

    def __getitem__(self, number: int) -> ImagePrediction | StudyPrediction:  # type: ignore[override]
        return self.answers[number]

    def __len__(self) -> int:
        return len(self.answers)

    def _repr_html_(self) -> str:
        lost = [f"{name}: {why}" for name, why in self.problems.items()]
        title = f"Predictions of {len(self)} radiographs; for research, not for clinical use"
        return titled_table(title, self.probabilities, [*self.warnings, *lost])


@takes_flags_of(PredictConfig)
def predict(
    images: AnyPath | Iterable[AnyPath],
    model: AnyPath | Iterable[AnyPath] | None = None,
    *,
    progress: bool | Receive = False,
    **options: "Unpack[PredictOptions]",
) -> Predictions:
    """Predict the findings of radiographs in image files, DICOM among them.

    images: files, folders or patterns. model: run folders, checkpoints, ONNX files or xrv/NAME;
    several are averaged. progress: as of `train`. options: the flags of `deepchest predict`, in the
    form of keywords. A file that cannot be read is among `problems`. Raises `UsageError` where
    there is no such model or no image.

    >>> predictions = predict("image.png", model="runs/latest")
    >>> predictions.probabilities
    """
    config = configuration(
        PredictConfig, "predict", with_given(options, images=images, model=model)
    )
    report = recorder(progress)
    with open_session(config, report) as session:
        files = list(find_inputs(config.images))
        answers = tuple(session.answers(files, len(files)))
    return Predictions(
        answers,
        session.predictor.findings,
        dict(session.unanswered),
        tuple(report.notes),
        tuple(report.warnings),
    )


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
