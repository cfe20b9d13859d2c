"""What DeepChest's options change, against traces worked by hand on plain lists."""

import copy
import math
from statistics import median

import pytest
import torch

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting import Context, DeepChestWeighter, Performance
from deepchest_cli.weighting.signals import measure

NAN = math.nan
PREVALENCE = {
    "Atelectasis": 0.1031,
    "Cardiomegaly": 0.0248,
    "Consolidation": 0.0416,
    "Edema": 0.0205,
    "Effusion": 0.1188,
    "Emphysema": 0.0224,
    "Fibrosis": 0.0150,
    "Hernia": 0.0020,
    "Infiltration": 0.1774,
    "Mass": 0.0516,
    "Nodule": 0.0565,
    "Pleural_Thickening": 0.0302,
    "Pneumonia": 0.0128,
    "Pneumothorax": 0.0473,
}
TABLE = [[0.1, 0.5, 0.6, 0.9], [0.3, 0.52, 0.5, 0.7], [0.9, 0.4, 0.5, 0.6], [0.1, 0.2, 0.3, 0.4]]


PERFORMANCE = {"train": "training", "validation": "validation"}  # by split


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def trace(table, metric="accuracy", split="train", **options):
    """The weights after each epoch of a table of signals."""
    weighter = DeepChestWeighter([f"task {i}" for i in range(len(table[0]))], **options)
    found = []
    for values in table:
        weighter.end_epoch(Performance(**{PERFORMANCE[split]: {metric: tensor(values)}}))
        found.append(weighter.weights.tolist())
    return found


def mean(values):
    return math.fsum(values) / len(values)


def by_hand(table, threshold=mean, band=0.0, floor=0.0, worse_above=False, total=None):
    weights, found = [1.0] * len(table[0]), []
    for values in table:
        theta, updated = threshold(values), []
        for weight, value in zip(weights, values, strict=True):
            apart = (theta - value) / theta
            worse = -apart if worse_above else apart
            if worse > band:
                updated.append(min(weight * 1.1, 1.5))
            elif worse > -band:
                updated.append(weight)
            else:
                updated.append(max(weight / 1.05, floor))
        if total is not None:
            updated = [weight * total / sum(updated) for weight in updated]
        weights = updated
        found.append(weights)
    return found


def assert_equal(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize(
    ("options", "hand"),
    [
        ({}, {}),
        ({"threshold": "median"}, {"threshold": median}),
        ({"dead_band": 0.1}, {"band": 0.1}),
        ({"dead_band": 0.5, "threshold": "median"}, {"band": 0.5, "threshold": median}),
        ({"floor": 0.9}, {"floor": 0.9}),
        ({"renormalize": True}, {"total": 4}),
        ({"renormalize": True, "dead_band": 0.1}, {"total": 4, "band": 0.1}),
    ],
)
def test_the_rule_with_options(options, hand):
    assert_equal(trace(TABLE, **options), by_hand(TABLE, **hand))


@pytest.mark.parametrize("band", [0.0, 0.1])
@pytest.mark.parametrize("signal", ["loss", "normalized-cross-entropy"])
def test_a_task_above_the_threshold_is_raised_where_more_is_worse(signal, band):
    metric = signal.replace("-", "_")
    found = trace(TABLE, metric, signal=signal, dead_band=band)
    assert_equal(found, by_hand(TABLE, band=band, worse_above=True))


def test_figures_of_the_first_epochs():
    """Worked on paper: the mean 0.5 raises the first only, the median 0.5 the first of three."""
    assert trace([[0.1, 0.5, 0.9]])[0] == [1.1, 1 / 1.05, 1 / 1.05]
    assert trace([[0.1, 0.5, 0.9]], dead_band=0.5)[0] == [1.1, 1.0, 1 / 1.05]
    assert trace([[0.1, 0.3, 0.4, 0.4]], threshold="median")[0] == [1.1, 1.1, 1 / 1.05, 1 / 1.05]
    assert trace([[0.1, 0.5, 0.9]], "loss", signal="loss")[0] == [1 / 1.05, 1 / 1.05, 1.1]
    assert trace([[0.1, 0.9]] * 3, floor=0.92)[2][1] == 0.92
    assert sum(trace(TABLE, renormalize=True)[3]) == pytest.approx(4, abs=1e-12)


def test_a_floor_does_not_lift_what_begins_below_it():
    assert trace([[0.1, 0.9]], initial=0.5, floor=0.8)[0] == [0.55, 0.5]


@pytest.mark.parametrize("threshold", ["mean", "median"])
def test_undefined_signals_have_no_part_in_the_threshold(threshold):
    # of 0.2 and 0.6 both thresholds are 0.4; with NaN as 0 the second were above and none below
    found = trace([[NAN, 0.2, 0.6]], threshold=threshold)[0]
    assert found == [1.0, 1.1, 1 / 1.05]


def test_without_any_signal_nothing_changes():
    assert trace([[NAN, NAN]], initial=1.3, renormalize=True)[0] == [1.3, 1.3]


def test_a_missing_signal_is_said_once_for_each_task():
    weighter = DeepChestWeighter(["a", "b", "c"], signal="auroc")
    told = []
    for values in ([0.5, NAN, 0.6], [0.5, NAN, NAN], [NAN, NAN, NAN]):
        told.append(weighter.end_epoch(Performance({"auroc": tensor(values)})))
        copied = DeepChestWeighter(["a", "b", "c"], signal="auroc")
        copied.load_state_dict(weighter.state_dict())
        weighter = copied
    assert [[note.split()[4] for note in notes] for notes in told] == [["b"], ["c"], ["a"]]
    assert told[0] == ["The train auroc of b is undefined: its weight stays."]


def test_the_validation_signal():
    weighter = DeepChestWeighter(["a", "b"], signal="average-precision", split="validation")
    weighter.observe(torch.ones(2, 2), torch.ones(2, 2), torch.ones(2, 2))
    figures = {"average_precision": tensor([0.2, 0.6])}
    weighter.end_epoch(Performance({"average_precision": tensor([0.9, 0.1])}, figures))
    assert weighter.weights.tolist() == [1.1, 1 / 1.05]
    assert weighter.source.observed == []


def test_a_signal_that_nobody_gives_is_refused():
    weighter = DeepChestWeighter(["a"], signal="f1", split="validation")
    with pytest.raises(UsageError, match="needs the validation 'f1'") as error:
        weighter.end_epoch(Performance(validation={"loss": tensor([0.2])}))
    assert "loss" in error.value.hint
    with pytest.raises(UsageError, match="No step has been observed"):
        DeepChestWeighter(["a"], signal="f1").end_epoch(Performance())


@pytest.mark.parametrize("epochs", [1, 2])
def test_the_trend_compares_with_earlier_epochs(epochs):
    losses = [[1.0, 1.0, 4.0], [0.9, 0.5, 2.0], [0.8, 0.5, 1.9], [0.7, 0.4, 0.5]]
    ratios = [
        [now / then for now, then in zip(losses[e + epochs], losses[e], strict=True)]
        for e in range(len(losses) - epochs)
    ]
    found = trace(losses, "loss", signal="loss-trend", trend_epochs=epochs)
    assert found[:epochs] == [[1.0] * 3] * epochs
    assert_equal(found[epochs:], by_hand(ratios, worse_above=True))


def test_the_trends_past_survives_a_save_and_a_load():
    first = DeepChestWeighter(["a", "b"], signal="loss-trend")
    first.end_epoch(Performance({"loss": tensor([1.0, 1.0])}))
    second = DeepChestWeighter(["a", "b"], signal="loss-trend")
    second.load_state_dict(first.state_dict())
    second.end_epoch(Performance({"loss": tensor([0.9, 0.1])}))
    assert second.weights.tolist() == [1.1, 1 / 1.05]


def steps(count, tasks=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = (torch.randn(16, tasks, generator=generator) for _ in range(2 * count))
    return [(logits, (next(draw) > 0.5).float(), torch.ones(16, tasks)) for logits in draw]


def take(weighter, some):
    for step in some:
        weighter.observe(*step)
        weighter.after_step(lambda: pytest.fail("no second look is needed"))


def joined(some):
    return [torch.cat(column) for column in zip(*some, strict=True)]


@pytest.mark.parametrize(
    "signal", ["balanced-accuracy", "f1", "auroc", "average-precision", "normalized-cross-entropy"]
)
def test_a_training_signal_is_measured_on_the_epochs_steps(signal):
    weighter = DeepChestWeighter(["a", "b", "c"], signal=signal)
    expected = []
    for seed in range(3):
        take(weighter, steps(4, seed=seed))
        weighter.end_epoch(Performance({"accuracy": tensor([0.9, 0.1, 0.1])}))
        expected.append(measure(signal, *joined(steps(4, seed=seed))).tolist())
    hand = by_hand(expected, worse_above=signal == "normalized-cross-entropy")
    assert weighter.weights.tolist() == pytest.approx(hand[-1])


def test_nothing_is_collected_for_figures_that_the_loop_has():
    for options in ({}, {"signal": "loss"}, {"signal": "loss-trend"}, {"split": "validation"}):
        weighter = DeepChestWeighter(["a", "b", "c"], **options)
        take(weighter, steps(2))
        assert weighter.source.observed == []


@pytest.mark.parametrize("signal", ["accuracy", "auroc", "loss"])
def test_an_update_every_two_steps_also_across_an_epochs_end(signal):
    weighter, some = DeepChestWeighter(["a", "b", "c"], signal=signal, every=2), steps(6)
    found = []
    for number, step in enumerate(some):
        weighter.observe(*step)
        before = weighter.weights.tolist()
        weighter.after_step(lambda: pytest.fail("no second look is needed"))
        if number % 2 == 0:
            assert weighter.weights.tolist() == before
        else:
            found.append(weighter.weights.tolist())
        if number == 2:
            weighter.end_epoch(Performance({signal: tensor([0.1, 0.2, 0.9])}))
            assert weighter.weights.tolist() == before
    values = [measure(signal, *joined(some[i : i + 2])).tolist() for i in (0, 2, 4)]
    assert_equal(found, by_hand(values, worse_above=signal == "loss"))


def test_what_a_step_lacks_is_said_at_the_epochs_end():
    weighter = DeepChestWeighter(["a", "b"], signal="auroc", every=1)
    labels = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    take(weighter, [(torch.randn(2, 2), labels, torch.ones(2, 2))] * 3)
    assert [note.split()[4] for note in weighter.end_epoch(Performance())] == ["b"]
    assert weighter.end_epoch(Performance()) == []


@pytest.mark.parametrize("options", [{"signal": "auroc"}, {"every": 3}])
@pytest.mark.parametrize("cut", range(5))
def test_a_run_resumes_in_the_middle_of_an_epoch(tmp_path, options, cut):
    some, tasks = steps(5), ["a", "b", "c"]
    whole = DeepChestWeighter(tasks, **options)
    take(whole, some[:cut])
    torch.save(whole.state_dict(), tmp_path / "state.pt")
    resumed = DeepChestWeighter(tasks, **options)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for weighter in (whole, resumed):
        take(weighter, some[cut:])
        weighter.end_epoch(Performance())
    assert whole.weights.tolist() != [1.0] * 3
    assert torch.equal(whole.weights, resumed.weights)
    assert str(whole.state_dict()) == str(resumed.state_dict())


def test_a_copy_collects_for_itself():
    weighter = DeepChestWeighter(["a", "b", "c"], signal="auroc")
    take(weighter, steps(1))
    twin = copy.deepcopy(weighter)
    take(twin, steps(2))
    assert len(weighter.source.observed) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"signal": "auc"}, "Unknown signal of deepchest: 'auc'. Did you mean 'auroc'"),
        ({"split": "training"}, "Unknown split of deepchest: 'training'. Did you mean 'train'"),
        ({"threshold": "mode"}, "Unknown threshold of deepchest: 'mode'"),
        ({"dead_band": 1.0}, "'dead_band' of deepchest should be from 0 to below 1. Found 1.0"),
        ({"dead_band": -0.1}, "'dead_band' of deepchest should be from 0"),
        ({"floor": 1.5}, "'floor' of deepchest should be from 0 to below 1.5. Found 1.5"),
        ({"floor": NAN}, "'floor' of deepchest should be from 0"),
        ({"every": -1}, "'every' of deepchest should be at least 0. Found -1"),
        ({"trend_epochs": 0}, "'trend_epochs' of deepchest should be at least 1. Found 0"),
        ({"every": 5, "split": "validation"}, "should be 0 with split=validation. Found 5"),
        ({"every": 5, "signal": "loss-trend"}, "should be 0 with signal=loss-trend. Found 5"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        DeepChestWeighter(["a"], **options)


def test_on_nih_accuracy_drives_rare_findings_down():
    weighter = DeepChestWeighter(list(PREVALENCE), initial="authors-resnet")
    accuracies = tensor([1 - share for share in PREVALENCE.values()])
    for _ in range(15):  # as long as the authors train
        weighter.end_epoch(Performance({"accuracy": accuracies}))
    weights = dict(zip(PREVALENCE, weighter.weights.tolist(), strict=True))
    assert sum(weights.values()) == pytest.approx(10.86, abs=0.005)
    assert max(weights.values()) / min(weights.values()) == pytest.approx(3.12, abs=0.005)
    assert weights["Hernia"] == pytest.approx(0.481, abs=0.0005)
    raised = {finding for finding, weight in weights.items() if weight > 1}
    assert raised == {"Atelectasis", "Effusion", "Infiltration", "Nodule"}


def never_predicted(examples=5000):
    """Logits far below zero on NIH's prevalence; those of the seven rarest tell the least."""
    share = tensor(list(PREVALENCE.values()))
    labels = (torch.arange(examples)[:, None] < (share * examples).round()).float()
    noise = torch.randn(labels.shape, generator=torch.Generator().manual_seed(0)) / 4
    told = torch.where(share < share.median() + 1e-9, 0.2, 1.0)
    return noise + labels * told - 6, labels, torch.ones_like(labels)


@pytest.mark.parametrize(
    ("signal", "helped"), [("accuracy", False), ("auroc", True), ("average-precision", True)]
)
def test_on_the_same_logits_auroc_raises_what_accuracy_lowers(signal, helped):
    weighter = DeepChestWeighter(list(PREVALENCE), signal=signal, every=1)
    take(weighter, [never_predicted()] * 15)
    weights = dict(zip(PREVALENCE, weighter.weights.tolist(), strict=True))
    rarest = [weights[finding] for finding in sorted(PREVALENCE, key=PREVALENCE.__getitem__)[:7]]
    assert rarest == [pytest.approx(1.5 if helped else 1.05**-15)] * 7


def test_the_prevalence_is_taken_from_the_runs_context():
    share = tensor(list(PREVALENCE.values()))
    context = Context(prevalence=share)
    weighter = DeepChestWeighter(list(PREVALENCE), initial="prevalence", context=context)
    assert weighter.weights.tolist() == (1 + share / 2).tolist()
