import numpy as np
import pytest

from deepchest_cli.comparison.analysis.claims import claims
from deepchest_cli.comparison.analysis.metrics import Scores

SEEDS = np.array([-0.001, 0.0, 0.001])


def scores(auroc=0.7, accuracy=0.9):
    """Return three seeds about these figures, the same for all patients."""
    values = {"auroc": auroc + SEEDS, "accuracy": accuracy + 10 * SEEDS**2}
    return Scores(
        {name: column[:, None] for name, column in values.items()},
        {name: np.tile(column[:, None, None], (1, 5, 1)) for name, column in values.items()},
        np.array([[50], [50]]),
    )


def cost(seconds, peak, device="cuda"):
    wobble = (0.99, 1.0, 1.01)
    return {
        "step_seconds_by_round": [seconds * w for w in wobble],
        "peak_memory_by_round": [peak] * 3,
        "device": device,
    }


def verdicts(arms=None, losses=None, costs=None, gradient=("upgrad",)):
    found = claims(arms or {}, losses, costs or {}, gradient, "features")
    return {claim["name"]: claim["verdict"] for claim in found}


def test_claims_without_their_runs_are_not_measured():
    assert set(verdicts().values()) == {"not measured"}


def test_the_level_of_the_gradients_is_named():
    costs = {"deepchest": cost(1, 100), "upgrad": cost(4, 100)}
    for level in ("features", "parameters"):
        found = {c["name"]: c["result"] for c in claims({}, None, costs, ("upgrad",), level)}
        for name in ("speed", "memory"):
            assert f"gradients at the {level}" in found[name]
            assert ("not at the parameters" in found[name]) is (level == "features")


@pytest.mark.parametrize(
    ("mine", "verdict"), [(0.99, "holds"), (0.95, "does not hold"), (0.97, "inconclusive")]
)
def test_accuracy_is_compared_with_the_mean_of_others(mine, verdict):
    arms = {"equal": scores(), "deepchest": scores(accuracy=mine), "dwa": scores(accuracy=0.9)}
    if verdict == "inconclusive":  # one seed far off
        arms["deepchest"].values["accuracy"][0] -= 0.05
    assert verdicts(arms)["accuracy"] == verdict


@pytest.mark.parametrize(("seconds", "verdict"), [(4, "holds"), (1.1, "does not hold")])
def test_speed_is_that_of_a_step(seconds, verdict):
    costs = {"deepchest": cost(1, 100), "upgrad": {**cost(seconds, 100)}}
    costs["upgrad"]["step_seconds_by_round"] = [seconds * w for w in (1.0, 1.0, 1.0)]
    assert verdicts(costs=costs)["speed"] == verdict


@pytest.mark.parametrize(
    ("peak", "device", "verdict"),
    [
        (150, "cuda", "holds"),
        (102, "cuda", "holds"),
        (100, "cuda", "does not hold"),
        # of a whole process little can be said
        (150, "cpu", "holds"),
        (102, "cpu", "inconclusive"),
        (100, "cpu", "inconclusive"),
    ],
)
def test_peaks_of_tensors_tell_more_than_those_of_processes(peak, device, verdict):
    costs = {"deepchest": cost(1, 100, device), "upgrad": cost(1, peak, device)}
    assert verdicts(costs=costs)["memory"] == verdict


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        (["better", "better"], "holds"),
        (["better", "inconclusive"], "inconclusive"),
        (["better", "worse"], "does not hold"),
    ],
)
def test_every_loss_must_be_lower_beyond_doubt(rows, verdict):
    signs = {"better": -1.0, "inconclusive": -1.0, "worse": 1.0}
    losses = {str(i): {"estimate": signs[row], "verdict": row} for i, row in enumerate(rows)}
    assert verdicts(losses=losses)["losses"] == verdict


@pytest.mark.parametrize(("top", "verdict"), [(0.8, "holds"), (0.6, "does not hold")])
def test_methods_are_improved_when_the_pairs_are(top, verdict):
    arms = {"dwa": scores(0.7), "deepchest+dwa": scores(top), "deepchest+rlw": scores(0.1)}
    assert verdicts(arms)["improvement"] == verdict
