"""`deepchest predict`: from image files to probabilities."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from deepchest_cli.commands.next_steps import STDIN, after_predict
from deepchest_cli.commands.predict_display import Writer
from deepchest_cli.config import PredictConfig
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import DeepChestError
from deepchest_cli.library.operations.predict import open_session
from deepchest_cli.library.operations.predict_warnings import warn_of_models
from deepchest_cli.terminal import Terminal

if TYPE_CHECKING:
    from deepchest_cli.prediction.image_prediction import ImagePrediction
    from deepchest_cli.prediction.inputs import InputFile

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
    form = "json" if terminal.json else config.format
    with open_session(config, terminal) as session:
        warn_of_models(session.predictor, terminal, terminal.verbose, "; --verbose names them")
        writer = Writer(session.predictor, form, config.top, config.unit, terminal)
        for one in session.answers(*_files(config)):
            if not writer.add(one) and config.embeddings is None and config.unit == "image":
                return  # the output is closed, and no file waits for the rest
    done, failed = session.done, len(session.failed)
    writer.end(session.unanswered)
    _show_warnings(session.warned, done, form, terminal)
    if config.embeddings is not None and done:
        without = f", without {count_of(failed, 'unreadable file')}" if failed else ""
        terminal.note(f"Embeddings of {count_of(done, 'image')}{without}: {config.embeddings}")
    terminal.note(DISCLAIMER)
    _refuse_unanswered(session.unanswered, failed, done)
    terminal.next_step(after_predict(config, session.predictor, session.first))


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


def _files(config: PredictConfig) -> "tuple[Iterable[InputFile], int]":
    """Return the files and how many there are: 0 where their names come through a pipe."""
    from deepchest_cli.prediction.inputs import find_inputs

    files = find_inputs(config.images, _lines(b"\0" if config.null else b"\n"))
    if STDIN in config.images:
        return files, 0
    known = list(files)
    return known, len(known)


def _lines(end: bytes) -> Iterator[str]:
    """Yield the paths on standard input; its bytes, because names need not be UTF-8."""
    import io

    from deepchest_cli.prediction.inputs import split_paths

    stream = getattr(sys.stdin, "buffer", None)
    if stream is None:  # closed by the caller, or text without bytes below
        stream = io.BytesIO(os.fsencode(sys.stdin.read()) if sys.stdin else b"")
    yield from split_paths(stream, end)


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
