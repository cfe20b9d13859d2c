"""The most confident errors as a contact sheet of radiographs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepchest_cli.evaluation.evaluation_input import EvaluationInput
from deepchest_cli.evaluation.operating_points import REFERENCE_RULE
from deepchest_cli.model.logistic import logit
from deepchest_cli.reporting.numbers import number
from deepchest_cli.reporting.plots import PAGE, TYPE, fitted, new_figure, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACROSS, EACH = 4, 12  # radiographs in a row, and of either kind of error
GAP, WRITING = 10.0, 80.0  # points between radiographs, and for the lines above each
FALSE_NEGATIVE, FALSE_POSITIVE = "false negative", "false positive"


@dataclass(frozen=True)
class ConfidentError:
    """A decision that was far on the wrong side."""

    place: int  # among the cases
    image: str
    finding: str
    kind: str  # FALSE_NEGATIVE or FALSE_POSITIVE
    probability: float
    threshold: float


def confident_errors(material: EvaluationInput) -> list[ConfidentError]:
    """Return the errors furthest from their threshold, one an image and kind.

    False negatives come first. Distances are in logits, which compare rare findings with common
    ones; without thresholds of validation there is no error.
    """
    table, choices = material.scored.predictions, material.validation_fit
    if choices is None:
        return []
    found: list[tuple[float, ConfidentError]] = []
    for column, finding in enumerate(table.findings):
        threshold = choices.threshold(finding, REFERENCE_RULE)
        if not np.isfinite(threshold):
            continue
        scores, labels = table.probabilities[:, column], table.labels[:, column]
        wrong = (table.known[:, column] == 1) & ((scores >= threshold) != (labels == 1))
        distance = np.abs(logit(scores) - logit(np.array([threshold])))
        furthest = np.flatnonzero(wrong)[np.argsort(-distance[wrong], kind="stable")][: 2 * EACH]
        for place in furthest.tolist():
            kind = FALSE_NEGATIVE if labels[place] else FALSE_POSITIVE
            name = str(material.scored.image_index[place])
            error = ConfidentError(place, name, finding, kind, float(scores[place]), threshold)
            found.append((float(distance[place]), error))
    found.sort(key=lambda pair: -pair[0])
    chosen = []
    for kind in (FALSE_NEGATIVE, FALSE_POSITIVE):
        first = {error.place: error for _, error in reversed(found) if error.kind == kind}
        ordered = [e for _, e in found if e.kind == kind and first[e.place] is e]
        chosen += ordered[:EACH]
    return chosen


def contact_sheet(errors: list[ConfidentError], material: EvaluationInput) -> "Figure":
    """Return the radiographs of errors with the finding and its probability."""
    assert material.dataset is not None
    width = PAGE / ACROSS
    side, height, rows = width - GAP, width - GAP + WRITING, -(-len(errors) // ACROSS)
    total = rows * height
    figure = new_figure(total, layout=None)
    places = np.array([error.place for error in errors])
    images = material.dataset.gather(material.rows[places])
    for number_of, (error, image) in enumerate(zip(errors, images, strict=True)):
        row, column = divmod(number_of, ACROSS)
        left, bottom = column * width + GAP / 2, total - (row + 1) * height + GAP / 2
        axes = figure.add_axes((left / PAGE, bottom / total, side / PAGE, side / total))
        axes.set_axis_off()
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        lines = (
            error.kind,
            wrapped(error.finding, side),
            f"{number(error.probability)} (threshold {number(error.threshold)})",
            fitted(error.image, side),
        )
        axes.set_title("\n".join(lines), fontsize=TYPE, loc="left", linespacing=1.15)
    return figure
