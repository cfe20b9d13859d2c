"""The page of the study has what its records say, and records make the same comparison again."""

import json
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from study import results, steps_and_differences, tables
from study_records import missing_seeds, pack, read_all, restore
from study_sample import RECORDS

from deepchest_cli.evaluation.metrics import per_finding

METRICS = ("macro_auroc", "macro_average_precision", "macro_accuracy", "rarest_tertile_auroc")
ARMS = "deepchest,deepchest[signal=auroc,certainty=1]"
PAGE = Path(__file__).parents[2] / "docs/study.md"


def test_the_page_has_the_results_of_the_records():
    records = read_all()
    assert missing_seeds(records) == []
    assert "\n".join(tables(results(records))) in PAGE.read_text()


def test_the_planted_effect_is_found_and_the_twin_is_not():
    planted, pilot = (results(read_all(RECORDS / name)) for name in ("planted", "pilot"))
    [row] = [rows["macro_auroc"] for rows in planted["differences"].values()]
    assert row["verdict"] == "worse"
    [harmed] = planted["harmed"].values()
    assert harmed == ["Cardiomegaly", "Effusion", "Mass"]
    assert (
        f"{-row['estimate']:.4f} lower ({-row['high']:.4f} to {-row['low']:.4f}" in PAGE.read_text()
    )
    [row] = [rows["macro_auroc"] for rows in pilot["differences"].values()]
    assert row["verdict"] == "inconclusive"
    [harmed] = pilot["harmed"].values()
    assert harmed == []
    assert f"{row['estimate']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})" in PAGE.read_text()


def test_the_linear_probe_passes_where_heads_learn_and_not_where_they_hardly_do():
    probe, learned = (results(read_all(RECORDS / name)) for name in ("probe", "probe-learned"))
    page = PAGE.read_text()
    rows = [rows["macro_auroc"] for rows in probe["differences"].values()]
    assert all(row["p_holm"] < 0.05 and row["verdict"] == "equivalent" for row in rows)
    for row in rows:
        assert f"{row['estimate']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f}" in page
    rarest = [rows["rarest_auroc"] for rows in probe["differences"].values()]
    assert [row["verdict"] for row in rarest] == ["worse", "equivalent", "equivalent"]
    assert f"{rarest[0]['estimate']:+.4f} ({rarest[0]['low']:+.4f} to" in page
    assert list(map(sorted, probe["harmed"].values())) == [
        ["Emphysema", "Fibrosis", "Pneumonia"], ["Effusion", "Infiltration"], [],
    ]  # fmt: skip
    rows = [rows["macro_auroc"] for rows in learned["differences"].values()]
    shown = "{:+.4f}, {:+.4f} and {:+.4f}".format(*(row["estimate"] for row in rows))
    assert shown in page
    assert_nothing_is_significant(learned)


@pytest.mark.parametrize("name", ["probe-fixed", "probe-learned-fixed"])
def test_constant_weights_change_nothing_in_a_linear_probe(name):
    records = read_all(RECORDS / name)
    assert_nothing_is_significant(results(records))
    values = [
        [per_finding("auroc", record.predictions(arm)) for record in records]
        for arm in records[0].arms
    ]
    difference = np.abs(np.subtract(*values))
    assert difference.size == 140
    assert (difference > 0).sum() == 1  # as the page says
    assert difference.max() < 1e-4


def test_the_constant_weights_are_those_at_the_end_of_the_study():
    records = read_all()
    ends = [record.weights[record.arms.index("deepchest"), :, -1] for record in records]
    mean = dict(zip(records[0].findings, np.concatenate(ends).mean(axis=0).tolist(), strict=True))
    text = (RECORDS / "end-weights.toml").read_text()
    assert tomllib.loads(text) == pytest.approx(mean, abs=0.0051)  # two digits


def assert_nothing_is_significant(found):
    rows = [rows["macro_auroc"] for rows in found["differences"].values()]
    rows += [row for table in found["finding_differences"].values() for row in table.values()]
    rows += [rows["rarest_auroc"] for rows in found["differences"].values()]
    assert all(row["p_holm"] is None or row["p_holm"] > 0.05 for row in rows)


@pytest.mark.parametrize(
    ("name", "correlation", "same", "words"),
    [
        ("probe", "0.88", 40, "correlation 0.88, same sign in 40)"),
        ("probe-learned", "-0.72", 7, "(-0.72, same sign in 7)"),
        ("", "0.20", 20, "(0.20, same sign in 20)"),
    ],
)
def test_how_differences_go_with_the_sizes_of_steps(name, correlation, same, words):
    *_, last = steps_and_differences(read_all(RECORDS / name))
    assert last == f"| all | | {correlation} | {same} of 42 |"
    assert words in PAGE.read_text()


@pytest.mark.parametrize("folds", [2, None])
def test_a_restored_comparison_has_the_same_results(deepchest, few_shards, tmp_path, folds):
    made, again, records = tmp_path / "made", tmp_path / "again", tmp_path / "new" / "records"
    line = (
        "compare-weighters", "--data", few_shards, "--weighters", ARMS, "--seeds", 3, "--epochs", 2,
        "--backbone", "small_cnn", "--image-size", 28, "--batch-size", 16, "--keep", "last",
        "--precision", "fp32", "--cost-rounds", 2, "--bootstrap-replicates", 100, "--first-seed", 5,
        *(() if folds is None else ("--folds", folds)), "--out",
    )  # fmt: skip
    done = deepchest(*line, made)
    assert done.code == 0, done.err
    assert list(pack(made, records)) == [str(records / f"seed-00{n}.npz") for n in (5, 6, 7)]
    assert list(pack(made, records)) == []  # those that are there stay
    assert missing_seeds(read_all(records)) == []
    planned = deepchest(*line, again, "--plan")
    assert planned.code == 0, planned.err
    restore(again, read_all(records))
    cut = next(again.glob("runs/*/seed-5*/run.json"))
    cut.unlink()  # as if it was interrupted there
    assert "1 run has not ended" in next(pack(again, tmp_path / "others"))
    restore(again, read_all(records))
    resumed = deepchest("compare-weighters", "--resume", again)
    assert resumed.code == 0, resumed.err
    assert "run 1/" not in resumed.err  # nothing is trained
    first, second = (json.loads((path / "results.json").read_text()) for path in (made, again))
    for arm, found in first["weighters"].items():
        other = second["weighters"][arm]
        for metric in METRICS:
            assert other["metrics"][metric] == found["metrics"][metric]
            if found["differences"]:
                assert other["differences"][metric] == found["differences"][metric]
    first, second = (pd.read_csv(path / "weights.csv") for path in (made, again))
    pd.testing.assert_frame_equal(second, first, rtol=1e-6)
    accuracy = read_all(records)[0].accuracy  # of all arms
    assert ((accuracy > 0) & (accuracy <= 1)).all()
    assert accuracy.shape == (3, folds or 1, 2, 3)
