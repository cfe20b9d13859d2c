"""Prediction in a program: `predict(["image.png"]).probabilities` is a table of pandas."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from deepchest_cli.config import PredictConfig
from deepchest_cli.data.text import count_of
from deepchest_cli.library.keywords import AnyPath, configuration, takes_flags_of, with_given
from deepchest_cli.library.notebook import Receive, Shown, recorder
from deepchest_cli.library.operations.predict import open_session
from deepchest_cli.library.operations.predict_warnings import warn_of_models
from deepchest_cli.prediction.image_prediction import ImagePrediction
from deepchest_cli.prediction.inputs import find_inputs
from deepchest_cli.prediction.studies import StudyPrediction

if TYPE_CHECKING:
    from typing import Unpack

    import pandas as pd

    from deepchest_cli.library.options import PredictOptions

SHOWN = 4  # images whose warnings are shown in a notebook


@dataclass(frozen=True, repr=False)
class Predictions(Shown, Sequence[ImagePrediction | StudyPrediction]):
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
        """Whether the probability of each finding is at or above its threshold, in such rows.

        Missing where the model has no threshold for the finding; `warnings` say why.
        """
        flags = self._table(
            [{name: name in one.flagged for name in self.findings} for one in self.answers]
        )
        return flags.astype("boolean").mask(self.thresholds.isna())

    @cached_property
    def thresholds(self) -> "pd.DataFrame":
        """The threshold of each finding, in such rows; missing where the model has none."""
        return self._table([one.thresholds for one in self.answers])

    def _table(self, rows: "list[dict[str, float]] | list[dict[str, bool]]") -> "pd.DataFrame":
        import pandas as pd

        names = [one.path if isinstance(one, ImagePrediction) else one.name for one in self.answers]
        return pd.DataFrame(rows, index=pd.Index(names, name="path"), columns=list(self.findings))

    def __getitem__(self, number: int) -> ImagePrediction | StudyPrediction:  # type: ignore[override]
        return self.answers[number]

    def __len__(self) -> int:
        return len(self.answers)

    def _shown(self) -> "tuple[str, pd.DataFrame, Sequence[str], str]":
        lost = [f"{name}: {why}" for name, why in self.problems.items()]
        kind = (
            "study"
            if any(isinstance(one, StudyPrediction) for one in self.answers)
            else "radiograph"
        )
        title = f"Predictions of {count_of(len(self), kind)}; for research, not for clinical use"
        return title, self.probabilities, [*self.warnings, *self._of_images(), *lost], ""

    def _of_images(self) -> list[str]:
        """Return the warnings of the first images, and how many more images have some."""
        warned = [one for one in self.answers if one.warnings]
        said = [f"{one.title}: {each.message}." for one in warned[:SHOWN] for each in one.warnings]
        if len(warned) > SHOWN:
            said.append(f"{len(warned) - SHOWN:,} more have warnings.")
        return said


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
    named = with_given(options, model=model) | {"images": images}
    config = configuration(PredictConfig, "predict", named)
    report = recorder(progress)
    with open_session(config, report) as session:
        warn_of_models(session.predictor, report)
        files = list(find_inputs(config.images))
        answers = tuple(session.answers(files, len(files)))
    return Predictions(
        answers,
        session.predictor.findings,
        dict(session.unanswered),
        tuple(report.notes),
        tuple(report.warnings),
    )
