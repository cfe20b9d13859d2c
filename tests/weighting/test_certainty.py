"""How many patients a signal was measured on, and how far it may be from its true value."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting import DeepChestWeighter, Performance
from deepchest_cli.weighting.certainty import PatientCounts, accuracy_error, auroc_error

TASKS = ["a", "b", "c"]
NAN = math.nan


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def counts(known, positive, negative):
    return PatientCounts(torch.tensor(known), torch.tensor(positive), torch.tensor(negative))


def trained(values, patients, metric="accuracy", split="train", epochs=1, **options):
    """The weights after some epochs of the same signal."""
    weighter = DeepChestWeighter(TASKS[: len(values)], split=split, **options)
    given = {"train": "training", "validation": "validation"}[split]
    for _ in range(epochs):
        weighter.end_epoch(Performance(**{given: {metric: tensor(values)}}, patients=patients))
    return weighter.weights.tolist()


def test_a_patient_counts_once():
    patients = torch.tensor([5, 5, 5, 9, 9, 2])
    labels = torch.tensor([[1, 0], [1, 1], [0, 0], [0, 0], [0, 0], [1, 1]])
    known = torch.tensor([[1, 1], [1, 0], [1, 1], [0, 1], [0, 1], [1, 0]])
    found = PatientCounts.of(labels, known, patients)
    assert found.known.tolist() == [2, 2]  # of 5 and 2; of 5 and 9
    assert found.positive.tolist() == [2, 0]
    assert found.negative.tolist() == [1, 2]
    alone = PatientCounts.of(labels, known)
    assert alone.known.tolist() == [4, 4]
    assert alone.positive.tolist() == [3, 0]


def test_the_error_of_an_accuracy_is_binomial():
    chance, (share, patients) = np.random.default_rng(0), (0.9, 60)
    drawn = chance.binomial(patients, share, 20_000) / patients
    found = accuracy_error(tensor([share]), counts([patients], [0], [0])).item()
    assert found == pytest.approx(drawn.std(), rel=0.02)


def test_the_error_of_an_auroc_is_that_of_exponential_scores():
    """For which the formula of Hanley and McNeil is exact: negatives of rate r, positives of 1."""
    chance, (positive, negative, rate) = np.random.default_rng(0), (6, 25, 3.0)
    labels = np.repeat([1, 0], [positive, negative])
    scores = chance.exponential(1 / np.where(labels, 1, rate), (4000, len(labels)))
    drawn = np.array([roc_auc_score(labels, row) for row in scores])
    found = auroc_error(tensor([rate / (1 + rate)]), counts([0], [positive], [negative])).item()
    assert drawn.mean() == pytest.approx(rate / (1 + rate), abs=0.01)
    assert found == pytest.approx(drawn.std(), rel=0.05)


def test_a_weight_moves_by_what_is_certain_alone():
    """Standard errors 0.04, 0.004 and 0.04 of 100, 10,000 and 100 patients; the mean is 0.8."""
    patients = {"train": counts([100, 10_000, 100], [0] * 3, [0] * 3)}
    values = [0.8 - 0.036, 0.8 - 0.014, 0.85]
    assert trained(values, patients) == [1.1, 1.1, 1 / 1.05]
    assert trained(values, patients, certainty=1) == [1.0, 1.1, 1 / 1.05]
    assert trained(values, patients, certainty=2) == [1.0, 1.1, 1.0]
    assert trained(values, patients, certainty=9) == [1.0, 1.0, 1.0]


def test_an_auroc_of_few_positives_moves_no_weight():
    """Standard errors about 0.15 and 0.015, both 0.05 from the mean."""
    patients = {"validation": counts([400, 4000], [4, 400], [396, 3600])}
    options = {"metric": "auroc", "split": "validation", "signal": "auroc", "certainty": 1}
    assert trained([0.7, 0.8], patients, **options) == [1.0, 1 / 1.05]


def test_chance_says_nothing_and_a_perfect_auroc_everything():
    """A constant score of one positive has an error of 0.29, an AUROC of 1 none at all."""
    patients = {"train": counts([50, 50, 50, 50], [1, 10, 0, 20], [49, 40, 50, 30])}
    options = {"metric": "auroc", "signal": "auroc", "certainty": 1}
    weighter = DeepChestWeighter([*TASKS, "d"], signal="auroc", certainty=1)
    given = Performance(training={"auroc": tensor([0.5, 1.0, NAN, 0.5])}, patients=patients)
    weighter.end_epoch(given)  # the mean is 0.67; of the last the error is 0.08
    assert weighter.weights.tolist() == [1.0, 1 / 1.05, 1.0, 1.1]
    assert trained([1.0, 0.5], {"train": counts([50] * 2, [1, 1], [49] * 2)}, **options) == [
        1 / 1.05,
        1.0,
    ]


def test_the_dead_band_and_the_certainty_both_have_to_be_left():
    patients = {"train": counts([100, 10_000], [0, 0], [0, 0])}
    values = [0.76, 0.84]  # 0.05 of the mean away; standard errors 0.043 and 0.004
    assert trained(values, patients, certainty=0.5, dead_band=0.04) == [1.1, 1 / 1.05]
    assert trained(values, patients, certainty=0.5, dead_band=0.06) == [1.0, 1.0]
    assert trained(values, patients, certainty=1, dead_band=0.04) == [1.0, 1 / 1.05]
    assert trained(values, patients, certainty=1, threshold="median") == [1.0, 1 / 1.05]


def test_a_task_without_a_signal_keeps_its_weight_and_the_others_move():
    patients = {"train": counts([10_000, 0, 10_000], [0] * 3, [0] * 3)}
    assert trained([0.7, NAN, 0.9], patients, certainty=3) == [1.1, 1.0, 1 / 1.05]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"certainty": -1.0}, "0 or above"),
        ({"certainty": NAN}, "0 or above"),
        ({"certainty": 1.0, "signal": "f1"}, "0 with signal=f1"),
        ({"certainty": 1.0, "every": 20}, "0 with every=20"),
    ],
)
def test_what_has_no_standard_error_is_refused(options, said):
    with pytest.raises(UsageError, match=said):
        DeepChestWeighter(TASKS, **options)


def test_the_number_of_patients_has_to_be_known():
    with pytest.raises(UsageError, match="how many patients are in train"):
        trained([0.5, 0.6], {}, certainty=1)
