import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from deepchest_cli.evaluation.bootstrap import resample_patients, resampled
from deepchest_cli.evaluation.predictions import Predictions

SECOND_OPINION = {
    "auroc": roc_auc_score,
    "average_precision": average_precision_score,
    "f1": lambda labels, found: f1_score(labels, found > 0.5),
    "accuracy": lambda labels, found: np.mean((found > 0.5) == labels),
}


@pytest.mark.parametrize("metric", SECOND_OPINION)
def test_a_weighted_metric_is_that_of_the_table_drawn_again(metric):
    random = np.random.default_rng(0)
    labels = (random.random((200, 3)) < 0.2).astype(np.uint8)
    tied = np.round(random.random((200, 3)), 1)
    table = Predictions(
        ("a", "b", "c"), tied, labels, np.ones_like(labels), random.integers(0, 60, 200)
    )
    draws = resample_patients(table.patient_id, 40, seed=0)
    weights = np.concatenate(list(draws.image_weights())).astype(int)
    found = resampled(metric, table, draws)
    for replicate, counts in enumerate(weights):
        again = np.repeat(np.arange(200), counts)
        expected = [SECOND_OPINION[metric](labels[again, i], tied[again, i]) for i in range(3)]
        np.testing.assert_allclose(found[replicate], expected)
