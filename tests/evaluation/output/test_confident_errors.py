import numpy as np
import pytest

from deepchest_cli.evaluation.evaluation_input import EvaluationInput
from deepchest_cli.evaluation.output.confident_errors import (
    EACH,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    confident_errors,
)
from deepchest_cli.evaluation.validation_fit import fit_on_validation


@pytest.fixture
def material(make_scored_images):
    choices = fit_on_validation(make_scored_images(seed=1).predictions, "platt", "x")
    return EvaluationInput(make_scored_images(), {}, choices, "", None)


def test_errors_are_errors_and_the_furthest_first(material):
    table, errors = material.scored.predictions, confident_errors(material)
    assert [error.kind for error in errors] == [FALSE_NEGATIVE] * EACH + [FALSE_POSITIVE] * EACH
    for error in errors:
        column = table.findings.index(error.finding)
        assert error.probability == table.probabilities[error.place, column]
        assert error.threshold == material.validation_fit.threshold(error.finding, "youden")
        present = table.labels[error.place, column] == 1
        assert present == (error.kind == FALSE_NEGATIVE) == (error.probability < error.threshold)
        assert error.image == material.scored.image_index[error.place]
    for kind in (FALSE_NEGATIVE, FALSE_POSITIVE):
        places = [error.place for error in errors if error.kind == kind]
        assert len(set(places)) == EACH
        logit = lambda p: np.log(p / (1 - p))  # noqa: E731
        away = [abs(logit(e.probability) - logit(e.threshold)) for e in errors if e.kind == kind]
        assert away == sorted(away, reverse=True)


def test_unknown_labels_are_no_errors(material):
    material.scored.predictions.known[:, 0] = 0
    assert {error.finding for error in confident_errors(material)} == {"Edema"}


def test_without_thresholds_there_are_no_errors(make_scored_images):
    assert confident_errors(EvaluationInput(make_scored_images(), {}, None, "", None)) == []
