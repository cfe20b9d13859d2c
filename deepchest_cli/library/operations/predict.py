"""What predicting does, for the command and for the function: answer by answer."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from deepchest_cli.config import PredictConfig
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError
from deepchest_cli.reporter import Move, Reporter

if TYPE_CHECKING:
    from deepchest_cli.data.view_weights import ViewWeights
    from deepchest_cli.prediction.image_prediction import ImagePrediction
    from deepchest_cli.prediction.inputs import InputFile
    from deepchest_cli.prediction.predictor import Predictor
    from deepchest_cli.prediction.studies import StudyPrediction

    Answer = ImagePrediction | StudyPrediction
    Keep = Callable[[ImagePrediction], None]
    Draw = Callable[[ImagePrediction], dict[str, str] | None]


class Session:
    """The predictions of some files by models; counts them, and keeps what has no answer."""

    def __init__(
        self, config: PredictConfig, predictor: "Predictor", keep: "Keep", reporter: Reporter
    ) -> None:
        self.config, self.predictor, self.reporter = config, predictor, reporter
        self.keep = keep
        self.draw = _drawer(config, predictor, reporter)
        self.weights = _view_weights(config)
        self.done = 0  # images that were read
        self.failed: list[ImagePrediction] = []
        self.warned: list[ImagePrediction] = []
        self.first: ImagePrediction | None = None  # the first one flagged, where any is
        self.weightless: list[tuple[str, str]] = []  # studies, and why they have no mean

    @property
    def unanswered(self) -> list[tuple[str, str]]:
        """The files that could not be read, then the studies without a mean, and why."""
        return [*((one.path, one.problem) for one in self.failed), *self.weightless]

    def answers(self, files: Iterable["InputFile"], total: int = 0) -> Iterator["Answer"]:
        """Yield the answers for images as they come, or those for studies when all are read.

        total: how many files there are; 0: it is not known. Raises `UsageError` where no file was
        meant at all.
        """
        of_studies: list[ImagePrediction] = []
        with self.reporter.progress("Predicting") as move:
            for one in self._images(files, total, move):
                if self.weights is None:
                    yield one
                else:
                    of_studies.append(one)
        self._refuse_nothing()
        if self.weights is not None:
            yield from self._studies(of_studies, self.weights)

    def _images(
        self, files: Iterable["InputFile"], total: int, move: Move
    ) -> Iterator["ImagePrediction"]:
        for number, one in enumerate(
            self.predictor.predict(iter(files), self.config.workers), start=1
        ):
            if one.problem:
                self.failed.append(one)
            else:
                self.keep(one)  # with the image's features, which would fill the memory after that
                answer = replace(one, features=None)
                self.done += 1
                if self.first is None or (answer.flagged and not self.first.flagged):
                    self.first = answer
                if answer.warnings:
                    self.warned.append(answer)
                yield replace(answer, heatmaps=self.draw(answer))
            move(number, max(total, number))

    def _studies(
        self, images: list["ImagePrediction"], weights: "ViewWeights"
    ) -> Iterator["StudyPrediction"]:
        from deepchest_cli.prediction.studies import WEIGHTLESS, mean_over_studies

        studies = mean_over_studies(images, weights)
        yield from studies.predictions
        for warning in studies.warnings:
            self.reporter.warning(warning)
        counted = count_of(len(studies.predictions) + len(studies.weightless), "study")
        self.reporter.note(f"{counted} of {count_of(len(images), 'image')}.")
        self.weightless = [(one.name, WEIGHTLESS) for one in studies.weightless]

    def _refuse_nothing(self) -> None:
        """Raise `UsageError` when no file was meant at all."""
        from deepchest_cli.prediction.inputs import NOTHING_IN_FOLDER, NOTHING_MATCHES

        nothing = (NOTHING_IN_FOLDER, NOTHING_MATCHES)
        if self.done or not all(one.problem in nothing for one in self.failed):
            return
        listed = "".join(f"\n  {one.path}: {one.problem}" for one in self.failed)
        raise UsageError(f"There is no image to predict.{listed}", "Name image files or a folder.")


@contextmanager
def open_session(config: PredictConfig, reporter: Reporter) -> Iterator[Session]:
    """Yield what predicts by the models that are asked for; embeddings are written at the end.

    Raises `UsageError` for flags that do not go together, and where there is no such model.
    """
    from deepchest_cli.library.model import name_backbones, open_predictor

    if not config.images:
        raise UsageError("There is no image to predict.", "Name image files or a folder.")
    _view_weights(config)  # before a model is read
    name_backbones(config.backbone)
    predictor = open_predictor(
        config.model, config.device, config.batch_size, config.threshold, config.tta, config.source
    )
    with _embeddings(config, predictor) as keep:
        yield Session(config, predictor, keep, reporter)


def _view_weights(config: PredictConfig) -> "ViewWeights | None":
    """Return the weights of views in the means over studies; None where images are answered."""
    if config.unit == "study":
        from deepchest_cli.data.view_weights import read_view_weights

        return read_view_weights(config.view_weight)
    if config.view_weight:
        raise UsageError(
            "--view-weight goes with --unit study: an image has no mean.",
            "Add --unit study, or drop --view-weight.",
        )
    return None


def _embeddings(config: PredictConfig, predictor: "Predictor") -> AbstractContextManager["Keep"]:
    """Return a context that gives what keeps an image's features; without a file it keeps none."""
    if config.embeddings is None:
        return nullcontext(lambda prediction: None)
    from deepchest_cli.prediction.embeddings import embeddings_file

    return embeddings_file(config.embeddings, predictor, config.force)


def _drawer(config: PredictConfig, predictor: "Predictor", reporter: Reporter) -> "Draw":
    """Return what draws an image's maps and names the files; None each without --heatmap."""
    if config.heatmap is None:
        if config.finding:
            raise UsageError("--finding names what --heatmap draws.", "Add --heatmap FOLDER.")
        return lambda prediction: None
    from deepchest_cli.prediction.heatmaps import HeatMaps

    maps = HeatMaps(predictor, config.heatmap, config.finding, config.force)
    if maps.caution:
        reporter.warning(f"--heatmap: {maps.caution}")
    return maps.draw
