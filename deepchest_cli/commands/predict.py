"""`deepchest predict`: from image files to probabilities."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from deepchest_cli.commands.next_steps import STDIN, after_predict
from deepchest_cli.commands.predict_display import Writer, explain
from deepchest_cli.config import PredictConfig
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.terminal import Terminal

if TYPE_CHECKING:
    from deepchest_cli.data.view_weights import ViewWeights
    from deepchest_cli.prediction.image_prediction import ImagePrediction
    from deepchest_cli.prediction.inputs import InputFile
    from deepchest_cli.prediction.predictor import Predictor

DISCLAIMER = "For research; not for clinical use."


def predict(config: PredictConfig, terminal: Terminal) -> None:
    """Predict the findings of radiographs in image files, DICOM among them.

    Values of more than 8 bits are scaled by 65535, or by 4095 where none is larger.

    Examples:  deepchest predict image.png

    deepchest predict folder '**/*.dcm' --format csv > predictions.csv

    find . -name '*.png' | deepchest predict - --format jsonl

    deepchest predict image.png --heatmap maps --finding Mass

    deepchest predict patient00001/study1 --unit study --view-weight lateral=0.5
    """
    from deepchest_cli.library.prediction import name_backbones, open_predictor

    if not config.images:
        raise UsageError("There is no image to predict.", "Name image files or a folder.")
    weights = _view_weights(config)
    name_backbones(config.backbone)
    predictor = open_predictor(
        config.model,
        config.device,
        config.batch_size,
        config.threshold,
        config.tta,
        config.source,
    )
    keeping = _embeddings(config, predictor)
    draw = _drawer(config, predictor, terminal)
    explain(predictor, terminal)
    form = "json" if terminal.json else config.format
    writer = Writer(predictor, form, config.top, config.unit, terminal)
    failed: list[ImagePrediction] = []
    warned: list[ImagePrediction] = []
    of_studies: list[ImagePrediction] = []
    first: ImagePrediction | None = None  # the first one flagged, where any is
    done = 0
    with keeping as keep, terminal.progress("Predicting") as progress:
        for one in _predictions(config, predictor, keep, progress):
            if one.problem:
                failed.append(one)
                continue
            done += 1
            if first is None or (one.flagged and not first.flagged):
                first = one
            if one.warnings:
                warned.append(one)
            one = replace(one, heatmaps=draw(one))  # noqa: PLW2901
            if weights is not None:
                of_studies.append(one)
            elif not writer.add(one) and config.embeddings is None:
                return  # the output is closed, and no file waits for the rest
    _refuse_nothing(done, failed)
    unanswered = [(one.path, one.problem) for one in failed]
    if weights is not None:
        unanswered += _add_studies(writer, of_studies, weights, terminal)
    writer.end(unanswered)
    _show_warnings(warned, done, form, terminal)
    if config.embeddings is not None and done:
        without = f", without {count_of(len(failed), 'unreadable file')}" if failed else ""
        terminal.note(f"Embeddings of {count_of(done, 'image')}{without}: {config.embeddings}")
    terminal.note(DISCLAIMER)
    _refuse_unanswered(unanswered, len(failed), done)
    terminal.next_step(after_predict(config, predictor, first))


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


def _add_studies(
    writer: Writer, images: list["ImagePrediction"], weights: "ViewWeights", terminal: Terminal
) -> list[tuple[str, str]]:
    """Write the studies of some images; return which have no answer, and why."""
    from deepchest_cli.prediction.studies import WEIGHTLESS, mean_over_studies

    studies = mean_over_studies(images, weights)
    for one in studies.predictions:
        writer.add(one)
    for warning in studies.warnings:
        terminal.warning(warning)
    counted = count_of(len(studies.predictions) + len(studies.weightless), "study")
    terminal.note(f"{counted} of {count_of(len(images), 'image')}.")
    return [(one.name, WEIGHTLESS) for one in studies.weightless]


def _refuse_unanswered(unanswered: list[tuple[str, str]], failed: int, done: int) -> None:
    """Raise `DeepChestError` for files that could not be read, the first, and other studies."""
    lines = [f"  {name}: {why}" for name, why in unanswered]
    files, studies = lines[:failed], lines[failed:]
    said = []
    if files:
        total = count_of(done + failed, "file")
        said += [f"{failed:,} of {total} could not be read:", *files]
    if studies:
        said += [f"{count_of(len(studies), 'study has', 'studies have')} no mean:", *studies]
    if said:
        raise DeepChestError("\n".join(said))


def _predictions(
    config: PredictConfig,
    predictor: "Predictor",
    keep: Callable[["ImagePrediction"], None],
    progress: Callable[[int, int], None],
) -> Iterator["ImagePrediction"]:
    """Yield predictions; files are counted first, unless their names come through a pipe.

    `keep` receives them with the images' features, which would fill the memory after that.
    """
    files = _files(config)
    total = 0
    if STDIN not in config.images:
        known = list(files)
        files, total = iter(known), len(known)
    for number, one in enumerate(predictor.predict(files, config.workers), start=1):
        if not one.problem:
            keep(one)
        yield replace(one, features=None)
        progress(number, max(total, number))


def _files(config: PredictConfig) -> Iterator["InputFile"]:
    from deepchest_cli.prediction.inputs import find_inputs

    return find_inputs(config.images, _lines(b"\0" if config.null else b"\n"))


def _lines(end: bytes) -> Iterator[str]:
    """Yield the paths on standard input; its bytes, because names need not be UTF-8."""
    import io

    from deepchest_cli.prediction.inputs import split_paths

    stream = getattr(sys.stdin, "buffer", None)
    if stream is None:  # closed by the caller, or text without bytes below
        stream = io.BytesIO(os.fsencode(sys.stdin.read()) if sys.stdin else b"")
    yield from split_paths(stream, end)


def _refuse_nothing(done: int, failed: list["ImagePrediction"]) -> None:
    """Raise `UsageError` when no file was meant at all."""
    from deepchest_cli.prediction.inputs import NOTHING_IN_FOLDER, NOTHING_MATCHES

    if done or not all(one.problem in (NOTHING_IN_FOLDER, NOTHING_MATCHES) for one in failed):
        return
    listed = "".join(f"\n  {one.path}: {one.problem}" for one in failed)
    raise UsageError(f"There is no image to predict.{listed}", "Name image files or a folder.")


def _embeddings(
    config: PredictConfig, predictor: "Predictor"
) -> AbstractContextManager[Callable[["ImagePrediction"], None]]:
    """Return a context that gives what keeps an image's features; without a file it keeps none."""
    if config.embeddings is None:
        return nullcontext(lambda prediction: None)
    from deepchest_cli.prediction.embeddings import embeddings_file

    return embeddings_file(config.embeddings, predictor, config.force)


def _drawer(
    config: PredictConfig, predictor: "Predictor", terminal: Terminal
) -> Callable[["ImagePrediction"], dict[str, str] | None]:
    """Return what draws an image's maps and names the files; None each without --heatmap."""
    if config.heatmap is None:
        if config.finding:
            raise UsageError("--finding names what --heatmap draws.", "Add --heatmap FOLDER.")
        return lambda prediction: None
    from deepchest_cli.prediction.heatmaps import HeatMaps

    maps = HeatMaps(predictor, config.heatmap, config.finding, config.force)
    if maps.caution:
        terminal.warning(f"--heatmap: {maps.caution}")
    return maps.draw


def _show_warnings(
    warned: list["ImagePrediction"], done: int, form: str, terminal: Terminal
) -> None:
    """Show warnings below a table, those of one image or with --verbose of all; else count them."""
    if form == "table" and (terminal.verbose or len(warned) == 1):
        for one in warned:
            for warning in one.warnings:
                terminal.warning(f"{one.path}: {warning.message}.")
    elif warned:
        codes = Counter(warning.code for one in warned for warning in one.warnings)
        counted = ", ".join(f"{code} {count:,}" for code, count in codes.most_common())
        of_all = f"{len(warned):,} of {count_of(done, 'image')}"
        more = " --verbose says more." if form == "table" else ""
        has = "has" if len(warned) == 1 else "have"
        terminal.warning(f"{of_all} {has} warnings: {counted}.{more}")
