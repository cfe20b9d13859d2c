import math
from dataclasses import replace

import numpy as np
import pytest

from deepchest_cli.comparison.analysis.claims import claims
from deepchest_cli.comparison.analysis.evidence import Evidence
from deepchest_cli.comparison.analysis.scores import Scores
from deepchest_cli.comparison.running.jobs import parse_arms

SEEDS = np.array([-0.001, 0.0, 0.001])
FINDINGS = ("Mass", "Hernia")


def scores(auroc=0.7, accuracy=0.9, losses=(0.3, 0.1), noise=0.002, seeds=3, spread=0.02):
    """Return models about these metrics; `noise` is between seeds, `spread` between patients."""
    rng = np.random.default_rng(round(1e4 * (auroc + accuracy + sum(losses))))
    means = {"auroc": [auroc] * 2, "accuracy": [accuracy] * 2, "loss": losses}
    patients = np.random.default_rng(0).normal(0, spread, 200)[None, :, None]  # shared by all
    values = {n: np.array(m) + rng.normal(0, noise, (seeds, 2)) for n, m in means.items()}
    return Scores(
        values,
        {n: v[:, None] + patients for n, v in values.items()},
        np.full((2, 2), 50),
        {n: np.full(2, 50.0) for n in means},
    )


def cost(seconds=1.0, peak=100, device="cuda", wobble=(0.99, 1.0, 1.01)):
    return {
        "step_seconds_by_round": [seconds * w for w in wobble],
        "peak_memory_by_round": [peak] * 3,
        "device": device,
    }


def evidence(arms=None, costs=None, level="parameters", best_epochs=None, labels=None):
    arms = arms or {}
    labels = labels or [*arms, *(costs or {})] or ["deepchest"]
    return Evidence(
        arms=parse_arms(",".join(dict.fromkeys(labels))),
        scores=arms,
        best_epochs={label: (best_epochs or {}).get(label, [2, 3, 2]) for label in arms},
        findings=FINDINGS,
        costs=costs or {},
        gradient_level=level,
        margin=0.005,
    )


def judged(name, *args, **more):
    found = {claim["name"]: claim for claim in claims(evidence(*args, **more))}
    assert len(found) == 5
    return found[name]


def rows_of(claim, reading=0):
    return {row["subject"]: row for row in claim["readings"][reading]["rows"]}


def test_claims_without_their_runs_are_not_measured_and_say_what_they_need():
    for claim in claims(evidence()):
        assert (claim["verdict"], claim["readings"]) == ("not measured", ())
        assert claim["result"].startswith("Not measured: it needs finished runs of deepchest") or (
            claim["name"] == "improvement"
        )


@pytest.mark.parametrize(
    ("mine", "verdicts"),
    [
        (0.80, ["holds", "holds", "holds"]),
        (0.76, ["holds", "does not hold", "holds"]),  # 6 points of 0.7 are 1.086 times
        (0.72, ["holds", "does not hold", "does not hold"]),
        (0.70, ["inconclusive", "does not hold", "does not hold"]),
        (0.65, ["does not hold", "does not hold", "does not hold"]),
    ],
)
def test_both_readings_of_7_percent_are_judged_apart_from_superiority(mine, verdicts):
    arms = {"deepchest": scores(accuracy=mine), "dwa": scores(accuracy=0.701)}
    claim = judged("accuracy", arms)
    assert [reading["verdict"] for reading in claim["readings"]] == verdicts
    assert claim["verdict"] == (verdicts[2] if verdicts[1] == verdicts[2] else "holds")
    row = rows_of(claim)["dwa"]
    assert row["estimate"] == pytest.approx(mine - 0.701, abs=0.004)
    assert row["low"] < row["estimate"] < row["high"]
    assert rows_of(claim, 2)["dwa"]["estimate"] == pytest.approx(mine / 0.701, abs=0.006)


def test_accuracy_is_judged_against_each_method_and_names_the_best():
    arms = {"deepchest": scores(accuracy=0.85)}
    arms |= {"dwa": scores(accuracy=0.70), "famo": scores(accuracy=0.84)}
    claim = judged("accuracy", arms)
    assert {n: row["verdict"] for n, row in rows_of(claim, 1).items()} == {
        "dwa": "holds", "famo": "does not hold"
    }  # fmt: skip
    assert claim["verdict"] == "does not hold"
    assert "of famo, on these test data the best of 2 published methods" in claim["result"]
    assert "more accurate at all: holds; 7 points more accurate: does not hold" in claim["result"]


def test_no_baseline_and_no_variant_of_deepchest_is_a_rival():
    others = ["equal", "fixed", "prevalence", "rarity", "inverse-loss", "scale-invariant"]
    others += ["deepchest-rare", "deepchest[signal=auroc]", "deepchest+dwa"]
    arms = {"deepchest": scores(accuracy=0.8), **dict.fromkeys(others, scores(accuracy=0.6))}
    assert judged("accuracy", arms)["verdict"] == "not measured"
    assert judged("improvement", arms)["verdict"] == "not measured"
    arms["dwa[temperature=3.0]"] = scores(accuracy=0.6)
    assert list(rows_of(judged("accuracy", arms))) == ["dwa[temperature=3.0]"]


def test_the_largest_possible_gain_is_that_to_an_accuracy_of_1():
    arms = {"deepchest": scores(accuracy=0.97), "dwa": scores(accuracy=0.95, noise=1e-4)}
    claim = judged("accuracy", arms)
    assert rows_of(claim)["dwa"]["largest"] == pytest.approx(0.05, abs=0.001)
    assert rows_of(claim, 2)["dwa"]["largest"] == pytest.approx(1 / 0.95, abs=0.001)
    assert "At most +5.0 points were possible, fewer than claimed." in claim["result"]
    assert claim["verdict"] == "does not hold"


@pytest.mark.parametrize("name", ["accuracy", "losses"])
@pytest.mark.parametrize(
    ("seeds", "why"), [(1, "a test takes 3 or more seeds"), (2, "a test takes 3 or more seeds")]
)
def test_too_few_seeds_are_inconclusive_with_the_reason(name, seeds, why):
    arms = {"deepchest": scores(accuracy=0.99, losses=(0.2, 0.05), seeds=seeds)}
    arms |= dict.fromkeys(("equal", "dwa"), scores(seeds=seeds))
    claim = judged(name, arms, best_epochs={"deepchest": [2] * seeds})
    assert claim["verdict"] == "inconclusive"
    assert f", because {why}." in claim["result"]
    assert {row["low"] for row in rows_of(claim).values()} == {None}


def test_seeds_that_are_equal_to_the_last_bit_are_not_tested():
    same = scores()
    arms = {"deepchest": same, "equal": same, "dwa": same, "deepchest+dwa": same}
    for name in ("accuracy", "losses", "improvement"):
        claim = judged(name, arms)
        assert claim["verdict"] == "inconclusive"
        assert "the same in every seed and for every patient" in claim["result"]
        assert {row["low"] for row in rows_of(claim).values()} == {None}


@pytest.mark.parametrize("name", ["accuracy", "losses", "improvement"])
def test_weights_that_had_not_moved_measure_nothing(name):
    labels = ("equal", "deepchest", "dwa", "deepchest+dwa")
    arms = {n: scores(0.6 + i / 100, 0.8 + i / 100) for i, n in enumerate(labels)}
    still = {label: [1, 1, 1] for label in ("deepchest", "deepchest+dwa")}
    claim = judged(name, arms, best_epochs=still)
    assert claim["verdict"] == "not measured"
    of = "deepchest+dwa, so that it was dwa."
    if name != "improvement":
        of = "deepchest, so that it was equal weighting."
    assert f"had not moved before the kept epoch of any run of {of}" in claim["result"]
    for reading in claim["readings"]:
        assert {row["verdict"] for row in reading["rows"]} == {"not measured"}


def test_some_runs_without_moved_weights_are_mentioned():
    arms = {"deepchest": scores(accuracy=0.8), "dwa": scores(accuracy=0.7)}
    claim = judged("accuracy", arms, best_epochs={"deepchest": [1, 2, 1]})
    assert claim["verdict"] == "holds"
    assert "In 2 of 3 runs the weights had not moved before the kept epoch." in claim["result"]


@pytest.mark.parametrize(("chance", "name"), [("deepchest", "losses"), ("dwa", "accuracy")])
def test_models_that_have_not_learned_measure_nothing(chance, name):
    arms = {label: scores(accuracy=0.8) for label in ("equal", "dwa", "deepchest")}
    arms[chance] = scores(auroc=0.52, accuracy=0.5)  # the patients' interval includes 0.5
    claim = judged(name, arms)
    assert claim["verdict"] == "not measured"
    assert f"the models of {chance} have not learned (macro AUROC 0.52" in claim["result"]
    undefined = replace(
        arms[chance], values=arms[chance].values | {"auroc": np.full((3, 2), np.nan)}
    )
    undefined.replicates["auroc"][:] = np.nan
    claim = judged(name, {**arms, chance: undefined})
    assert "have not learned (macro AUROC –, 95 % interval –)" in claim["result"]


def test_a_rival_that_has_not_learned_is_passed_over_and_named():
    arms = {"deepchest": scores(accuracy=0.85), "dwa": scores(accuracy=0.7)}
    arms["famo"] = scores(auroc=0.5, accuracy=0.84)
    claim = judged("accuracy", arms)
    assert claim["verdict"] == "holds"
    assert "of dwa, on these test data the best of 1 published method" in claim["result"]
    assert "Not counted: famo, because the models of famo have not learned" in claim["result"]


def test_a_rival_that_has_not_finished_is_named():
    arms = {"deepchest": scores(accuracy=0.85), "dwa": scores(accuracy=0.7)}
    claim = judged("accuracy", arms, labels=["deepchest", "dwa", "famo", "prevalence"])
    assert claim["verdict"] == "holds"
    assert claim["result"].endswith(" Not finished: famo.")


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(4, "holds"), (3.01, "inconclusive"), (1.1, "does not hold")]
)
def test_speed_is_that_of_a_step_at_the_parameters(seconds, verdict):
    costs = {"deepchest": cost(), "upgrad": cost(seconds, wobble=(1.0, 1.0, 1.0))}
    claim = judged("speed", None, costs)
    assert (claim["verdict"], claim["readings"][0]["holds_above"]) == (verdict, 3.0)
    assert f"as one of deepchest: upgrad {seconds:.2f} (95 % interval" in claim["result"]
    at_features = judged("speed", None, costs, level="features")
    assert at_features["verdict"] == "not measured"
    assert "taken at the features; the paper's rivals take them at" in at_features["result"]
    assert f"upgrad {seconds:.2f}" in at_features["result"]


def test_speed_is_judged_against_each_gradient_method_and_no_composite():
    costs = {"deepchest": cost(), "upgrad": cost(9, wobble=(1, 1, 1.1))}
    costs |= {"deepchest+upgrad": cost(1, wobble=(1, 1, 1.1)), "dwa": cost()}
    claim = judged("speed", None, costs)
    assert (claim["verdict"], list(rows_of(claim))) == ("holds", ["upgrad"])
    costs["gradnorm"] = cost(1.2, wobble=(1, 1, 1.1))
    assert judged("speed", None, costs)["verdict"] == "does not hold"
    del costs["upgrad"], costs["gradnorm"]
    assert judged("speed", None, costs)["verdict"] == "not measured"


def test_two_rounds_of_steps_give_no_test():
    costs = {label: cost(1, wobble=(1, 1.1)) for label in ("deepchest", "upgrad")}
    claim = judged("speed", None, costs)
    assert claim["verdict"] == "inconclusive"
    assert rows_of(claim)["upgrad"]["reason"] == "a test takes 3 or more rounds"


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
    assert judged("memory", None, costs)["verdict"] == verdict
    assert judged("memory", None, costs, level="features")["verdict"] == "not measured"
    costs["upgrad"]["peak_memory_by_round"] = []
    assert judged("memory", None, costs)["verdict"] == "not measured"


@pytest.mark.parametrize(
    ("mine", "verdict"),
    [
        ((0.28, 0.08), "holds"),
        ((0.28, 0.1), "inconclusive"),
        ((0.28, 0.125), "does not hold"),
    ],
)
def test_every_loss_must_be_lower(mine, verdict):
    arms = {"equal": scores(), "deepchest": scores(losses=mine)}
    claim = judged("losses", arms)
    assert claim["verdict"] == verdict
    assert rows_of(claim)["Mass"]["estimate"] == pytest.approx(0.02, abs=0.004)
    higher = "higher in 1 after Holm correction (Hernia)" in claim["result"]
    assert higher is (verdict == "does not hold")


def test_one_doubtful_loss_among_many_is_no_refutation():
    """A p-value that Holm corrects away, while each finding's own test suffices to hold."""
    noise, names = np.array([-1.0, 0.0, 1.0]), [f"finding {i}" for i in range(14)]
    shift = 0.01 * np.ones(14)
    shift[0] = -0.003  # higher by 2.6 standard errors of three seeds
    base = np.full((3, 14), 0.3)
    mine = base - shift + 0.002 * noise[:, None]
    arms = {}
    for label, losses in (("equal", base), ("deepchest", mine)):
        values = {"loss": losses, "auroc": np.full((3, 14), 0.7)}
        replicates = {name: np.repeat(v[:, None], 50, axis=1) for name, v in values.items()}
        arms[label] = Scores(
            values, replicates, np.full((2, 14), 50), {name: np.full(14, 50.0) for name in values}
        )
    found = claims(replace(evidence(arms), findings=names))
    claim = next(claim for claim in found if claim["name"] == "losses")
    rows = rows_of(claim)
    assert [rows[name]["verdict"] for name in names] == ["inconclusive"] + ["holds"] * 13
    assert claim["verdict"] == "inconclusive"
    assert rows["finding 0"]["p_fails"] == pytest.approx(
        min(1, 14 * (1 - rows["finding 0"]["p_holds"]))
    )


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [(0.03, "holds"), (0.0, "does not hold"), (0.005, "inconclusive"), (-0.03, "does not hold")],
)
def test_a_pair_improves_or_excludes_a_gain_of_the_margin(gain, verdict):
    exact = np.array([-1.0, 0.0, 1.0])[:, None]
    base, top = scores(0.7, noise=0), scores(0.7 + gain, noise=0)
    unsure = 0.003 if verdict == "inconclusive" else 0.0005
    top.values["auroc"] = top.values["auroc"] + unsure * exact
    arms = {"dwa": base, "deepchest+dwa": top, "deepchest+rlw": scores(0.1)}
    claim = judged("improvement", arms)
    assert (claim["verdict"], list(rows_of(claim))) == (verdict, ["deepchest+dwa"])


def test_a_gain_that_does_not_matter_is_said_to_be_one():
    base, top = scores(0.7, noise=0), scores(0.702, noise=0)
    top.values["auroc"] = top.values["auroc"] + 1e-4 * np.array([-1.0, 0.0, 1.0])[:, None]
    claim = judged("improvement", {"dwa": base, "deepchest+dwa": top})
    assert claim["verdict"] == "does not hold"
    assert claim["result"].endswith("), does not hold, by less than the margin.")


def test_opposite_effects_are_not_averaged_away():
    arms = {"dwa": scores(0.7), "deepchest+dwa": scores(0.75)}
    arms |= {"rlw": scores(0.7), "deepchest+rlw": scores(0.65)}
    claim = judged("improvement", arms)
    assert claim["verdict"] == "does not hold"
    assert claim["result"].endswith("Mixed: some methods are improved, others are not.")
    verdicts = {subject: row["verdict"] for subject, row in rows_of(claim).items()}
    assert verdicts == {"deepchest+dwa": "holds", "deepchest+rlw": "does not hold"}


def test_an_accuracy_of_0_has_no_ratio():
    none = scores(accuracy=0.0, noise=0)
    claim = judged("accuracy", {"deepchest": scores(accuracy=0.9), "dwa": none})
    assert [reading["verdict"] for reading in claim["readings"]] == [
        "holds",
        "holds",
        "not measured",
    ]
    assert not math.isfinite(rows_of(claim, 2)["dwa"]["estimate"])
