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
from study import (
    BASELINE,
    RAREST,
    main,
    results,
    simulated,
    step_sizes,
    tables,
    variances,
)
from study_records import SeedRecord, missing_seeds, ranks_within, read, read_all, to_half, write
from study_sample import IMAGES, NORMAL, POSITIVES, RECORDS, SAMPLE, bounds, draw, lay_out


@pytest.fixture(autouse=True)
def few_replicates(monkeypatch):
    monkeypatch.setattr(study, "REPLICATES", 100)


FINDINGS = tuple(POSITIVES)
ARMS = (BASELINE, "deepchest", "other")
ROOT = Path(__file__).parents[1]


def record(seed, images=400, shift=0.0, seeds=5, data="a"):
    """Return a record and the probabilities (A, N, T) that it is of; `other` is shifted."""
    random = np.random.default_rng([seed, images])
    about = {"runs": {}, "data_sha256": data, "config": {"first_seed": 0, "seeds": seeds}}
    labels = (np.random.default_rng(0).random((images, len(FINDINGS))) < 0.1).astype(np.uint8)
    fold = (random.permutation(images) % 3 + 1).astype(np.uint8)
    logits = random.normal(size=(images, len(FINDINGS))) + labels - 2
    each = [logits, logits + random.normal(size=logits.shape) / 50, logits + shift * labels]
    probabilities = 1 / (1 + np.exp(-np.stack(each).round(2)))  # some are the same
    weights = np.ones((3, 3, 15, len(FINDINGS)), dtype=np.float32)
    weights[1, :, -1, 0] = 3
    return probabilities, SeedRecord(
        seed, FINDINGS, ARMS, labels, np.arange(images, dtype=np.uint16) // 2, fold,
        np.stack([ranks_within(table, fold) for table in probabilities]),
        to_half(probabilities), weights, weights, about,
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


@pytest.mark.parametrize("edge", [0.0, 1e-9, 0.5, 1 - 1e-9, 1.0])
def test_as_many_ranks_as_there_may_be_keep_their_order_at_the_edges(edge):
    images = np.iinfo(np.uint16).max
    half = to_half(np.full((1, images, 1), edge))
    ranks = np.arange(1, images + 1, dtype=np.uint16).reshape(1, -1, 1)
    made = SeedRecord(**vars(record(0)[1]) | {"half": half, "ranks": ranks})
    found = made.probabilities(BASELINE)[:, 0]
    assert (np.diff(found) > 0).all()
    assert found[0] > 0
    assert found[-1] < 1
    assert found[0] > 0.5 or found[-1] < 0.5 or edge == 0.5
    above = to_half(np.array([[[min(edge * 1.001 + 1e-7, 1)]]])).astype(float)
    assert found[-1] < above or edge >= 1 - 1e-9


def written(folder, shift, seeds=5):
    for seed in range(seeds):
        write(record(seed, shift=shift)[1], folder)
    return read_all(folder)


def test_the_report_finds_an_effect_and_harm_and_the_spread(tmp_path):
    found = results(written(tmp_path, shift=-0.5))
    verdicts = {arm: rows["macro_auroc"]["verdict"] for arm, rows in found["differences"].items()}
    assert verdicts["other"] == "worse"
    assert verdicts["deepchest"] != "worse"
    assert set(found["harmed"]["other"]) == set(FINDINGS)
    assert found["harmed"]["deepchest"] == []
    assert found["spread"]["deepchest"][-1] == 3
    assert found["runs_spread_enough"] == {BASELINE: 0, "deepchest": 1, "other": 0}
    text = "\n".join(tables(found))
    assert "| `other` |" in text
    assert "| worse, not on weighting: the weights hardly spread |" in text
    [own] = [line for line in text.splitlines() if line.startswith("| `deepchest` |")][:1]
    assert "spread" not in own


def test_harm_is_a_significant_loss_however_small_corrected_over_all_pairs(tmp_path, monkeypatch):
    """Within the margin too, where a verdict on the whole would be that it is equivalent."""
    monkeypatch.setattr(study, "MARGIN", 0.5)
    found = results(written(tmp_path, shift=-0.5))
    assert found["differences"]["other"]["macro_auroc"]["verdict"] == "equivalent"
    assert set(found["harmed"]["other"]) == set(FINDINGS)
    rows = [row for table in found["finding_differences"].values() for row in table.values()]
    assert len(rows) == 2 * len(FINDINGS)
    smallest = min(row["p"] for row in rows)
    assert min(row["p_holm"] for row in rows) == pytest.approx(min(smallest * len(rows), 1))


def test_the_rarest_are_those_of_nih(tmp_path):
    assert set(RAREST) == set(sorted(POSITIVES, key=POSITIVES.__getitem__)[: len(RAREST)])
    records = written(tmp_path, shift=0)
    found = results(records)
    values = [per_finding("auroc", one.predictions("deepchest")) for one in records]
    columns = [FINDINGS.index(name) for name in RAREST]
    wanted = np.mean(values, axis=0)[columns].mean()
    assert found["metrics"]["deepchest"]["rarest_auroc"]["mean"] == pytest.approx(wanted)
    assert all(name in found["titles"]["rarest_auroc"] for name in RAREST)


def test_the_blind_look_has_variances_and_seeds_and_nothing_else(tmp_path):
    """A row for each arm, two lines of heading, and the number; of an effect of 0.5 no word."""
    folders = [tmp_path / "one", tmp_path / "other"]
    seen = []
    for folder, arm in zip(folders, ("deepchest", "other"), strict=True):
        for seed in range(4):
            made = record(seed, shift=-0.5)[1]
            kept = made.arms.index(BASELINE), made.arms.index(arm)
            parts = {name: getattr(made, name)[list(kept)] for name in ("ranks", "half", "weights")}
            write(SeedRecord(**vars(made) | parts | {"arms": (BASELINE, "a")}), folder)
        records = read_all(folder)
        seen.append("\n".join(variances(records)))
        row = results(records)["differences"]["a"]["macro_auroc"]
        by_seed, by_patient = (row[f"{name}_variance"] ** 0.5 for name in ("seed", "patient"))
        assert f"| `a` | {by_seed:.4f} | {by_patient:.4f} | " in seen[-1]
        assert seen[-1].count("\n") == 4
    assert seen[0] != seen[1]


def test_the_number_of_seeds_is_the_most_of_any_arm_within_bounds(tmp_path):
    text = "\n".join(variances(written(tmp_path, shift=-0.5)))
    needed = [line.split("|")[4].strip() for line in text.splitlines() if line.startswith("| `")]
    numbers = [int(one) if one.isdecimal() else study.MAX_SEEDS for one in needed]
    chosen = min(max(study.MIN_SEEDS, *numbers), study.MAX_SEEDS)
    assert text.endswith(f"from {study.MIN_SEEDS} to {study.MAX_SEEDS}: {chosen}")


def test_there_is_no_report_before_all_seeds_are_there(tmp_path, capsys):
    written(tmp_path, shift=-0.5, seeds=4)
    assert missing_seeds(read_all(tmp_path)) == [4]
    with pytest.raises(SystemExit, match="4 seeds of 5; missing: 4"):
        main(["report", "--records", str(tmp_path)])
    assert capsys.readouterr().out == ""
    write(record(4, shift=-0.5)[1], tmp_path)
    plot = tmp_path / "weights.png"
    main(["report", "--records", str(tmp_path), "--plot", str(plot)])
    assert "| worse" in capsys.readouterr().out
    assert plot.read_bytes().startswith(b"\x89PNG")
    write(record(5, shift=-0.5, seeds=8)[1], tmp_path)  # the number was raised
    assert missing_seeds(read_all(tmp_path)) == [6, 7]


def with_weights(seed, weights, optimizer="adamw"):
    """Return a record whose arm `deepchest` has some weights (E, T)."""
    made = record(seed, shift=-0.5)[1]
    config = {"learning_rate": 0.1, "schedule": "cosine", "warmup_steps": 3, "optimizer": optimizer}
    made.about["config"].update(config)
    made.about["runs"] = {"one": {"steps": 60}}
    made.weights[1] = weights
    return made


def test_adamw_moves_heads_as_far_at_any_weight_that_stays():
    weights = np.ones((15, len(FINDINGS)))
    weights[:, :2] = 3, 0.1
    weights[:, 2], weights[:, 3] = np.geomspace(1, 3, 15), np.geomspace(1, 0.3, 15)
    sizes = step_sizes([with_weights(0, weights)], "deepchest")
    assert sizes[[0, 1, 4]] == pytest.approx(1, abs=1e-4)
    assert sizes[2] > 1.05
    assert sizes[3] < 0.95


def test_sgd_moves_heads_by_their_weights():
    weights = np.linspace(0.5, 2, len(FINDINGS)) * np.ones((15, 1))
    sizes = step_sizes([with_weights(0, weights, "sgd")], "deepchest")
    assert sizes == pytest.approx(weights[0], abs=1e-4)


def test_differences_that_follow_the_sizes_of_steps_are_told(tmp_path, capsys):
    records = [with_weights(seed, np.ones((15, len(FINDINGS)))) for seed in range(5)]
    found = results(records)["finding_differences"]["deepchest"]
    signs = np.sign([found[name]["estimate"] for name in FINDINGS])
    for seed in range(5):  # those that have gained rise
        rising = np.linspace(1, 2, 15)[:, None] ** signs
        write(with_weights(seed, rising), tmp_path)
    main(["steps", "--records", str(tmp_path)])
    rows = capsys.readouterr().out.splitlines()
    assert rows[2].startswith("| `deepchest` | 0.")
    assert rows[2].endswith(f"| {len(FINDINGS)} of {len(FINDINGS)} |")
    assert " | – | 0 of 14 |" in rows[3]  # an arm whose weights are constant


def test_records_of_several_studies_are_not_read_together(tmp_path):
    with pytest.raises(SystemExit, match="There are no records"):
        read_all(tmp_path)
    written(tmp_path, shift=0, seeds=2)
    write(record(2, data="b")[1], tmp_path)
    with pytest.raises(SystemExit, match="seed 2 has other data or arms than seed 0"):
        read_all(tmp_path)


def test_the_page_says_what_the_sample_is(tmp_path):
    page = (ROOT / "docs/study.md").read_text()
    [made, *_] = read_all(RECORDS / "pilot")
    counts = dict(zip(made.findings, made.labels.sum(axis=0), strict=True))
    images = len(made.labels)
    assert f"{images} of {len(np.unique(made.patient))} patients" in page
    assert f"answering no to everything ({100 - 100 * made.labels.mean():.1f} %)" in page
    assert len(SAMPLE.read_text().split()) == images
    scaled = {name: POSITIVES[name] * images / IMAGES for name in counts}
    more = [name for name, count in counts.items() if count > np.ceil(scaled[name] * 1.02)]
    numbers = {7: "seven", 8: "eight", 9: "nine"}
    assert f"{numbers[len(more)]} findings are more frequent than in NIH" in page
    turned = [
        name for name in counts
        if (counts[name] > made.labels.sum() / len(counts))
        != (POSITIVES[name] > sum(POSITIVES.values()) / len(POSITIVES))
    ]  # fmt: skip
    assert turned == ["Nodule"]
    assert "so Nodule (" in page


def test_a_sample_is_laid_out_once(tmp_path, monkeypatch):
    source, out = tmp_path / "source", tmp_path / "out"
    (source / "images").mkdir(parents=True)
    names = ["b.png", "a.png"]
    for name in [*names, "c.png"]:
        (source / "images" / name).write_text(name)
    rows = "".join(f"{name},No Finding\n" for name in ("a.png", "b.png", "c.png"))
    (source / study_sample.TABLE).write_text(f"Image Index,Finding Labels\n{rows}")
    monkeypatch.setattr(study_sample, "SAMPLE", tmp_path / "sample.txt")
    study_sample.SAMPLE.write_text("\n".join(names))
    lay_out(source, out)
    assert sorted(path.read_text() for path in (out / "images").iterdir()) == ["a.png", "b.png"]
    assert pd.read_csv(out / study_sample.TABLE)["Image Index"].tolist() == names
    with pytest.raises(SystemExit, match="There is a data set in"):
        lay_out(source, out)


def test_the_sample_has_the_prevalences(monkeypatch):
    monkeypatch.setattr(study_sample, "MIN_POSITIVES", 18)
    random = np.random.default_rng(0)
    often = np.maximum(np.array(list(POSITIVES.values())) / 50_000, 0.03)
    with_finding = random.random((1500, len(FINDINGS))) < often
    names = ["|".join(np.array(FINDINGS)[row]) or "No Finding" for row in with_finding]
    index = [f"{number:08d}_000.png" for number in range(len(names))]
    table = pd.DataFrame({"Image Index": index, "Finding Labels": names})
    chosen = draw(table, seed=0)
    assert chosen == sorted(set(chosen))
    assert chosen == draw(table, seed=0)
    low, high = bounds(len(chosen), with_finding.sum(axis=0))
    labels = table[table["Image Index"].isin(chosen)]["Finding Labels"].str.get_dummies("|")
    counts = labels[list(FINDINGS)].sum().to_numpy()
    assert ((counts >= low) & (counts <= high)).all()


def test_the_rule_at_the_prevalences_of_nih():
    """Worked by hand: below the mean accuracy are the findings of more than the mean prevalence."""
    mean = sum(POSITIVES.values()) / len(POSITIVES)
    assert NORMAL < IMAGES
    for finding, weights in simulated(15).items():
        rises = POSITIVES[finding] > mean
        assert weights[0] == 1
        assert weights[-1] == pytest.approx(1.5 if rises else 1.05**-14)


def test_the_study_on_nih_has_the_arms_of_the_sample():
    whole = read_toml(ROOT / "docs/study.toml", CompareConfig)
    sample = read_toml(ROOT / "tests/benchmarks/study/training.toml", CompareConfig)
    shared = ("epochs", "keep", "margin", "weighters")
    assert [whole[name] for name in shared] == [sample[name] for name in shared]
    assert whole["margin"] == study.MARGIN
    arms = [arm.label for arm in parse_arms(whole["weighters"])]
    table = (ROOT / "docs/study.md").read_text()
    assert len(arms) == 1 + study.ARMS
    assert all(f"| `{arm}` |" in table for arm in arms)
