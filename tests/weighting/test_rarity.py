"""The weights by rarity and generalization against their formula on plain lists."""

import math
from dataclasses import replace

import pytest
import torch

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import Context, Performance
from deepchest_cli.weighting.certainty import PatientCounts
from deepchest_cli.weighting.rarity import RarityWeighter, standard_errors

TASKS = ["common", "middling", "rare"]
PREVALENCE = [0.2, 0.05, 0.01]
CONTEXT = Context(prevalence=torch.tensor(PREVALENCE), epochs=4)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def weighter(**options):
    plain = {"context": CONTEXT, "power": 0.0, "ramp": "always"}
    return RarityWeighter(TASKS, **{**plain, **options})


def epoch(validation=(0.3, 0.3, 0.3), training=(0.3, 0.3, 0.3), auroc=(0.7, 0.8, 0.9)):
    return Performance(
        {"loss": tensor(training)},
        {
            "loss": tensor(validation),
            "normalized_cross_entropy": tensor(validation),
            "auroc": tensor(auroc),
        },
        {
            "validation": PatientCounts(
                torch.tensor([200] * 3), torch.tensor([40, 10, 2]), torch.tensor([160, 190, 198])
            )
        },
    )


def normalized(logarithms):
    powers = [math.exp(value) for value in logarithms]
    return pytest.approx([3 * power / sum(powers) for power in powers])


def test_it_begins_as_equal_weighting_without_prior_and_feedback():
    one = weighter(power=0.0, signal="none")
    assert one.weights.tolist() == [1, 1, 1]
    one.end_epoch(epoch())
    assert one.weights.tolist() == [1, 1, 1]


def test_by_default_rare_findings_rise_in_the_second_half():
    one = RarityWeighter(TASKS, context=CONTEXT)
    for _ in range(2):
        assert one.weights.tolist() == [1, 1, 1]
        one.end_epoch(epoch())
    common, middling, rare = one.weights.tolist()
    assert common < middling < rare


@pytest.mark.parametrize("power", [-0.5, 0.5, 1.0])
def test_the_prior_is_a_power_of_the_effective_number(power):
    kappa = 0.1
    logarithms = [math.log(1 - math.exp(-p / kappa)) for p in PREVALENCE]
    mean = sum(logarithms) / 3
    expected = normalized([power * (mean - value) for value in logarithms])
    assert weighter(power=power, kappa=kappa, limit=100).weights.tolist() == expected


def test_findings_above_kappa_count_as_equally_frequent():
    common, middling, rare = weighter(power=1.0, kappa=0.005, limit=100).weights.tolist()
    assert common == pytest.approx(middling, rel=1e-3)
    assert rare > 1.1 * common


@pytest.mark.parametrize(
    ("ramp", "shares"),
    [("always", [1, 1, 1, 1]), ("late", [0, 0, 1, 1]), ("early", [1, 0.5, 0, 0])],
)
def test_ramps_over_four_epochs(ramp, shares):
    one, whole = weighter(power=0.5, ramp=ramp, turn=0.5), weighter(power=0.5)
    prior = whole.prior.tolist()
    for share in shares:
        assert one.weights.tolist() == normalized([share * value for value in prior])
        one.end_epoch(epoch())


SIGNALS = {
    "auroc": epoch(),
    "normalized-cross-entropy": epoch(validation=(0.3, 0.2, 0.1)),
    "gap": epoch(validation=(0.3, 0.2, 0.1), training=(0.1, 0.1, 0.1)),
    "trend": epoch(validation=(0.4, 0.3, 0.2)),
}


@pytest.mark.parametrize("signal", SIGNALS)
def test_feedback_raises_what_does_worse(signal):
    one = weighter(power=0.0, signal=signal, rate=0.3)
    one.end_epoch(epoch())
    one.end_epoch(SIGNALS[signal])
    common, middling, rare = one.weights.tolist()
    assert common > middling > rare
    turned = weighter(power=0.0, signal=signal, rate=-0.3)
    turned.end_epoch(epoch())
    turned.end_epoch(SIGNALS[signal])
    assert turned.weights[2] > turned.weights[1] > turned.weights[0]


def test_a_step_on_paper():
    """1 - AUROC of .3, .2 and .1 are one deviation apart: steps 1, 0, -1, then 1.5 of them."""
    one = weighter(power=0.0, signal="auroc", rate=0.2, memory=0.5)
    one.end_epoch(epoch())
    assert one.weights.tolist() == normalized([0.2, 0, -0.2])
    one.end_epoch(epoch())
    assert one.weights.tolist() == normalized([0.3, 0, -0.3])


def test_what_is_not_certain_moves_nothing():
    still = weighter(power=0.0, signal="auroc", rate=0.2, certainty=50)
    still.end_epoch(epoch())
    assert still.weights.tolist() == [1, 1, 1]
    partly = weighter(power=0.0, signal="auroc", rate=0.2, certainty=1)
    partly.end_epoch(epoch())
    errors = standard_errors("auroc", tensor([0.3, 0.2, 0.1]), epoch()).tolist()
    expected = [0.2 * (0.1 - errors[0]) / 0.1, 0, -0.2 * max(0.1 - errors[2], 0) / 0.1]
    assert partly.weights.tolist() == normalized(expected)


def test_the_error_of_an_auroc_shrinks_with_the_positives():
    errors = standard_errors("auroc", tensor([0.2, 0.2, 0.2]), epoch())
    assert errors[0] < errors[1] < errors[2]
    # Hanley and McNeil 1982: A = 0.8, Q1 = 2/3, Q2 = 0.7111, 40 positives and 160 negatives
    variance = (0.16 + 39 * (2 / 3 - 0.64) + 159 * (1.28 / 1.8 - 0.64)) / 6400
    assert errors[0].item() == pytest.approx(math.sqrt(variance))


def test_an_undefined_signal_moves_nothing():
    one = weighter(power=0.0, signal="auroc", rate=0.2, memory=1.0)
    one.end_epoch(epoch(auroc=(0.7, math.nan, 0.9)))
    assert one.feedback[1] == 0
    assert torch.isfinite(one.weights).all()


def test_weights_stay_within_the_limit():
    one = weighter(power=1.0, signal="auroc", rate=5.0, limit=2.0)
    for _ in range(4):
        one.end_epoch(epoch())
    assert one.weights.max() / one.weights.min() <= 4 + 1e-9
    assert one.weights.sum().item() == pytest.approx(3)


def test_it_goes_on_from_its_state():
    one = weighter(power=0.5, ramp="late", signal="trend", rate=0.2)
    other = weighter(power=0.5, ramp="late", signal="trend", rate=0.2)
    one.end_epoch(epoch())
    other.load_state_dict(one.state_dict())
    for weighter_of in (one, other):
        weighter_of.end_epoch(epoch(validation=(0.4, 0.3, 0.2)))
    assert other.weights.tolist() == one.weights.tolist()
    assert one.weights.tolist() != weighter(power=0.5).weights.tolist()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ramp": "latest"}, "late"),
        ({"signal": "accuracy"}, "auroc"),
        ({"kappa": 0.0}, "kappa"),
        ({"turn": 1.5}, "turn"),
        ({"memory": math.nan}, "memory"),
        ({"limit": 1.0}, "limit"),
        ({"context": Context()}, "context"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(UsageError) as error:
        weighter(**options)
    assert said in error.value.message + str(error.value.hint)


def test_certainty_needs_the_counts():
    one = weighter(signal="auroc", certainty=1.0)
    with pytest.raises(UsageError, match="validation"):
        one.end_epoch(replace(epoch(), patients={}))
