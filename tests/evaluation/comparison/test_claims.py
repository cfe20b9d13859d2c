import numpy as np
import pytest

from deepchest_cli.evaluation.comparison.claims import claims
from deepchest_cli.evaluation.comparison.scores import Scores

SEEDS = np.array([-0.001, 0.0, 0.001])


def scores(auroc=0.7, accuracy=0.9):
    """Return three seeds about these figures, the same for all patients."""
    values = {"auroc": auroc + SEEDS, "accuracy": accuracy + 10 * SEEDS**2}
    return Scores(
        {name: column[:, None] for name, column in values.items()},
        {name: np.tile(column[:, None, None], (1, 5, 1)) for name, column in values.items()},
    )


def cost(seconds, peak):
    wobble = (0.99, 1.0, 1.01)
    return {"seconds": [seconds * w for w in wobble], "peaks": [peak] * 3}


def verdicts(arms=None, losses=None, costs=None, gradient=("upgrad",)):
    found = claims(arms or {}, losses, costs or {}, gradient)
    return {claim["name"]: claim["verdict"] for claim in found}


def test_what_was_not_measured_cannot_be_told():
    assert set(verdicts().values()) == {"cannot be told"}


@pytest.mark.parametrize(
    ("mine", "verdict"), [(0.99, "holds"), (0.95, "does not hold"), (0.97, "cannot be told")]
)
def test_accuracy_is_compared_with_the_mean_of_others(mine, verdict):
    arms = {"equal": scores(), "deepchest": scores(accuracy=mine), "dwa": scores(accuracy=0.9)}
    if verdict == "cannot be told":  # one seed far off
        arms["deepchest"].values["accuracy"][0] -= 0.05
    assert verdicts(arms)["accuracy"] == verdict


@pytest.mark.parametrize(("seconds", "verdict"), [(4, "holds"), (1.1, "does not hold")])
def test_speed_is_that_of_a_step(seconds, verdict):
    costs = {"deepchest": cost(1, 100), "upgrad": {**cost(seconds, 100)}}
    costs["upgrad"]["seconds"] = [seconds * w for w in (1.0, 1.0, 1.0)]
    assert verdicts(costs=costs)["speed"] == verdict


@pytest.mark.parametrize(("peak", "verdict"), [(150, "holds"), (100, "does not hold")])
def test_peaks_that_differ_by_less_than_a_hundredth_are_the_same(peak, verdict):
    costs = {"deepchest": cost(1, 100), "upgrad": cost(1, peak)}
    assert verdicts(costs=costs)["memory"] == verdict


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        (["better", "better"], "holds"),
        (["better", "cannot be told"], "cannot be told"),
        (["better", "worse"], "does not hold"),
    ],
)
def test_every_loss_must_be_lower_beyond_doubt(rows, verdict):
    signs = {"better": -1.0, "cannot be told": -1.0, "worse": 1.0}
    losses = {str(i): {"estimate": signs[row], "verdict": row} for i, row in enumerate(rows)}
    assert verdicts(losses=losses)["losses"] == verdict


@pytest.mark.parametrize(("top", "verdict"), [(0.8, "holds"), (0.6, "does not hold")])
def test_methods_are_improved_when_the_pairs_are(top, verdict):
    arms = {"dwa": scores(0.7), "deepchest+dwa": scores(top), "deepchest+rlw": scores(0.1)}
    assert verdicts(arms)["improvement"] == verdict
