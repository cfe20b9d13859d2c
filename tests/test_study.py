"""The study's sample, and its records and report, on made-up predictions."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepchest_cli.comparison.running.jobs import parse_arms
from deepchest_cli.config import CompareConfig, read_toml
from deepchest_cli.evaluation.metrics import per_finding
from deepchest_cli.evaluation.predictions import Predictions

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
import study
import study_sample
from study import BASELINE, results, simulated, tables, variances
from study_records import SeedRecord, ranks_within, read, read_all, to_half, write
from study_sample import IMAGES, NORMAL, POSITIVES, bounds, draw


@pytest.fixture(autouse=True)
def few_replicates(monkeypatch):
    monkeypatch.setattr(study, "REPLICATES", 100)


FINDINGS = tuple(POSITIVES)
ARMS = (BASELINE, "deepchest", "other")


def record(seed, images=400, shift=0.0):
    """Return a record and the probabilities (A, N, T) that it is of; `other` is shifted."""
    chance = np.random.default_rng([seed, images])
    labels = (np.random.default_rng(0).random((images, len(FINDINGS))) < 0.1).astype(np.uint8)
    fold = (chance.permutation(images) % 3 + 1).astype(np.uint8)
    logits = chance.normal(size=(images, len(FINDINGS))) + labels - 2
    each = [logits, logits + chance.normal(size=logits.shape) / 50, logits + shift * labels]
    probabilities = 1 / (1 + np.exp(-np.stack(each).round(2)))  # some are the same
    weights = np.ones((3, 3, 15, len(FINDINGS)), dtype=np.float32)
    weights[1, :, -1, 0] = 3
    return probabilities, SeedRecord(
        seed, FINDINGS, ARMS, labels, np.arange(images, dtype=np.uint16) // 2, fold,
        np.stack([ranks_within(table, fold) for table in probabilities]),
        to_half(probabilities), weights, weights, {"runs": {}},
    )  # fmt: skip


@pytest.mark.parametrize("scale", [1.0, 1e-6, 30.0])
def test_a_record_keeps_the_order_of_each_fold_exactly(tmp_path, scale):
    probabilities, made = record(7)
    probabilities = 1 - (1 - probabilities) ** scale
    made = SeedRecord(**vars(made) | {
        "ranks": np.stack([ranks_within(table, made.fold) for table in probabilities]),
        "half": to_half(probabilities),
    })  # fmt: skip
    found = read(write(made, tmp_path))
    assert found.about == made.about
    for arm, table in zip(ARMS, probabilities, strict=True):
        known = np.ones_like(made.labels)
        whole = Predictions(FINDINGS, table, made.labels, known, made.patient, made.fold)
        again = found.predictions(arm)
        for metric in ("auroc", "average_precision", "accuracy"):
            assert per_finding(metric, again).tolist() == per_finding(metric, whole).tolist()
        assert ((again.probabilities >= 0) & (again.probabilities <= 1)).all()
        np.testing.assert_allclose(again.probabilities, table, atol=5e-4)


def test_the_report_finds_an_effect_and_harm_and_the_spread(tmp_path):
    for seed in range(5):
        write(record(seed, shift=-0.5)[1], tmp_path)
    found = results(read_all(tmp_path))
    verdicts = {arm: rows["macro_auroc"]["verdict"] for arm, rows in found["differences"].items()}
    assert verdicts["other"] == "worse"
    assert verdicts["deepchest"] != "worse"
    assert set(found["harmed"]["other"]) == set(FINDINGS)
    assert found["harmed"]["deepchest"] == []
    assert found["spread"]["deepchest"][-1] == 3
    assert found["runs_spread_enough"] == {BASELINE: 0, "deepchest": 1, "other": 0}
    text = "\n".join(tables(found))
    assert "| `other` |" in text
    assert "| worse |" in text


def test_the_blind_look_shows_no_difference(tmp_path):
    made = [[record(seed, shift=shift)[1] for seed in range(4)] for shift in (-0.5, 0.5)]
    seen = ["\n".join(variances(one)) for one in made]
    for one in (results(records)["differences"]["other"]["macro_auroc"] for records in made):
        assert f"{abs(one['estimate']):.4f}" not in "".join(seen)
    assert "| `deepchest` |" in seen[0]


def test_the_sample_has_the_prevalences(monkeypatch):
    monkeypatch.setattr(study_sample, "LEAST", 18)
    chance = np.random.default_rng(0)
    often = np.maximum(np.array(list(POSITIVES.values())) / 50_000, 0.03)
    ill = chance.random((1500, len(FINDINGS))) < often
    names = ["|".join(np.array(FINDINGS)[row]) or "No Finding" for row in ill]
    index = [f"{number:08d}_000.png" for number in range(len(names))]
    table = pd.DataFrame({"Image Index": index, "Finding Labels": names})
    chosen = draw(table, seed=0)
    assert chosen == sorted(set(chosen))
    assert chosen == draw(table, seed=0)
    fewest, most = bounds(len(chosen), ill.sum(axis=0))
    labels = table[table["Image Index"].isin(chosen)]["Finding Labels"].str.get_dummies("|")
    counts = labels[list(FINDINGS)].sum().to_numpy()
    assert ((counts >= fewest) & (counts <= most)).all()


def test_the_rule_at_the_prevalences_of_nih():
    """Worked by hand: below the mean accuracy are the findings of more than the mean prevalence."""
    mean = sum(POSITIVES.values()) / len(POSITIVES)
    assert NORMAL < IMAGES
    for finding, weights in simulated(15).items():
        rises = POSITIVES[finding] > mean
        assert weights[0] == 1
        assert weights[-1] == pytest.approx(1.5 if rises else 1.05**-14)


def test_the_study_on_nih_has_the_arms_of_the_pilot():
    root = Path(__file__).parents[1]
    whole = read_toml(root / "docs/study.toml", CompareConfig)
    sample = read_toml(root / "tests/benchmarks/study/training.toml", CompareConfig)
    shared = ("epochs", "keep", "margin")
    assert [whole[name] for name in shared] == [sample[name] for name in shared]
    assert whole["margin"] == study.MARGIN
    arms = [arm.label for arm in parse_arms(whole["weighters"])]
    table = (root / "docs/study.md").read_text()
    assert len(arms) == 1 + study.ARMS
    assert all(f"| `{arm}` |" in table for arm in arms)
