"""`deepchest compare-weighters` on two data sets whose findings overlap in part."""

import json
import shutil

import numpy as np
import pytest
from page_structure import checked
from site_data import prepare_site, write_site
from tests_support import replaced, rows_of, valid

from deepchest_cli.commands.compare_weighters import compare_weighters
from deepchest_cli.comparison.output import writing
from deepchest_cli.config import CompareConfig
from deepchest_cli.data.merging import open_datasets
from deepchest_cli.evaluation.metrics import auroc
from deepchest_cli.evaluation.statistics import holm
from deepchest_cli.terminal import Terminal

ARMS = "equal,deepchest,uncertainty"
QUICK = (
    "--backbone", "small_cnn", "--batch-size", "16", "--epochs", "1", "--learning-rate", "1e-3",
    "--bootstrap-replicates", "100", "--cost-rounds", "2", "--device", "cpu",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    monkeypatch.setattr(writing, "_draw", lambda folder, figures: dict.fromkeys(figures, b"<svg/>"))


@pytest.fixture(scope="module")
def sites(shards, tmp_path_factory):
    """Data with NIH's findings, and a site that labels three of them and one more."""
    root = tmp_path_factory.mktemp("two-sites")
    return shards, prepare_site(write_site(root / "site", patients=60), root / "site-2")


@pytest.fixture(scope="module")
def folder(sites, tmp_path_factory):
    """A finished comparison of three seeds; not to be changed."""
    out = tmp_path_factory.mktemp("comparison") / "c"
    config = CompareConfig(
        data=tuple(map(str, sites)), weighters=ARMS, backbone="small_cnn", batch_size=16, epochs=2,
        patience=0, learning_rate=1e-3, bootstrap_replicates=100, cost_rounds=2, device="cpu",
        tasks="finding-by-source", source_sampling=("balanced",), out=out,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "_draw", lambda folder, figures: {})
        compare_weighters(config, Terminal(quiet=True))
    return out


def run(deepchest, sites, out, *more, seeds=1, arms="deepchest"):
    data = [part for site in sites for part in ("--data", site)]
    return deepchest(
        "compare-weighters", *data, "--out", out, "--weighters", arms, "--seeds", seeds,
        *replaced(QUICK, more),
    )  # fmt: skip


def results_in(folder):
    return valid(json.loads((folder / "results.json").read_text()), "compare-weighters")


def test_a_comparison_ends_with_verdicts_on_each_data_set(folder, sites):
    results, dataset = results_in(folder), open_datasets([str(site) for site in sites])
    names = [member.name for member in dataset.members]
    assert [one["name"] for one in results["data"]["data_sets"]] == names == ["shards", "site-2"]
    rows = dataset.rows("test")
    for label, entry in results["weighters"].items():
        assert list(entry["data_sets"]) == names
        table = np.load(folder / "runs" / label / "seed-1" / "test.npz")["probabilities"]
        own = []
        for number, name in enumerate(names):
            within = dataset.member[rows] == number
            known, labels = dataset.known[rows][within] == 1, dataset.labels[rows][within]
            found = [auroc(labels[k, i], table[within][k, i]) for i, k in enumerate(known.T)]
            own.append(float(np.nanmean(found)))
            by_seed = entry["data_sets"][name]["metrics"]["macro_auroc"]["by_seed"]
            assert by_seed[1] == pytest.approx(own[-1], abs=1e-9)
        mean = entry["metrics"]["macro_auroc"]["by_seed"][1]
        assert mean == pytest.approx(np.mean(own), abs=1e-9)
    others = [results["weighters"][label]["data_sets"] for label in ARMS.split(",")[1:]]
    found = [one[name]["differences"]["macro_loss"] for one in others for name in names]
    assert all(row["verdict"] in ("better", "worse", "inconclusive") for row in found)
    assert sum(row["p"] is not None for row in found) == 4
    p_values = [row["p"] for row in found]
    assert [row["p_holm"] for row in found] == pytest.approx(holm(p_values))
    assert results["weighters"]["equal"]["data_sets"]["shards"]["differences"] is None


def test_the_data_of_each_are_described(folder, sites):
    data, dataset = results_in(folder)["data"], open_datasets([str(site) for site in sites])
    for key in ("images", "training_images", "validation_images", "test_images", "test_patients"):
        assert data[key] == sum(one[key] for one in data["data_sets"])
    for member, one in zip(dataset.members, data["data_sets"], strict=True):
        assert one["sha256"] == member.sha256
        assert tuple(one["findings"]) == member.findings
    assert data["findings"]["Fracture"] == data["data_sets"][1]["findings"]["Fracture"]
    assert data["sha256"] == dataset.sha256


def test_tables_have_a_row_for_each_data_set(folder):
    results = results_in(folder)
    rows = rows_of(folder / "data-set-differences.csv")
    assert len(rows) == 2 * 2 * len(results["design"]["metrics"])
    assert rows[0]["data_set"] == "shards"
    assert {row["data_set"] for row in rows_of(folder / "data-set-metrics.csv")} == {
        "shards", "site-2"
    }  # fmt: skip
    assert {row["task"] for row in rows_of(folder / "weights.csv")} >= {
        "Effusion (shards)", "Effusion (site-2)", "Fracture (site-2)"
    }  # fmt: skip
    page = (folder / "report.html").read_text()
    assert "Results by data set" in checked(page).titles()


def test_the_best_epoch_is_chosen_by_the_mean_over_the_data_sets(folder):
    runs = results_in(folder)["weighters"]["equal"]["runs"]
    assert {one["criterion"] for one in runs} == {"validation AUROC, mean of 2 data sets"}


def test_resumed_data_sets_in_another_order_are_refused(folder, sites, deepchest, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "c")
    data = [part for site in reversed(sites) for part in ("--data", site)]
    outcome = deepchest("compare-weighters", "--resume", copy, *data)
    assert outcome.code == 2
    assert "The data sets are in another order than when" in " ".join(outcome.err.split())
    assert "Name them as before: --data" in outcome.err
    outcome = deepchest("compare-weighters", "--resume", copy)
    assert outcome.code == 0
    assert "nothing is left to train" in outcome.err
    assert "Macro AUROC, mean over 2 data sets, of 3 weighters on " in outcome.out
    assert "site-2: " in outcome.out


def test_a_single_task_model_trains_on_the_data_sets_that_label_its_finding(
    deepchest, sites, tmp_path
):
    outcome = run(
        deepchest, sites, tmp_path / "c", "--single-task", "--source-sampling", "balanced",
        "--tasks", "finding-by-source",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    dataset, results = open_datasets([str(site) for site in sites]), results_in(tmp_path / "c")
    number = 1 + dataset.findings.index("Fracture")
    alone = tmp_path / "c" / "single-task" / f"finding-{number:02d}" / "seed-0"
    rows = np.load(alone / "test.npz")["rows"]
    assert set(dataset.member[rows]) == {1}
    found = results["weighters"]["deepchest"]["delta_m"]["findings"]
    assert found["Fracture"] is not None
    assert found["Effusion"] is not None


def test_folds_test_every_radiograph_of_each_data_set_once(deepchest, sites, tmp_path):
    outcome = run(deepchest, sites, tmp_path / "c", "--folds", 2)
    assert outcome.code == 0, outcome.err
    data = results_in(tmp_path / "c")["data"]
    assert data["test_images"] == data["images"] == 80 + 120
    assert [one["test_images"] for one in data["data_sets"]] == [80, 120]


def test_parallel_runs_on_several_data_sets_give_the_same_results(
    folder, sites, deepchest, tmp_path
):
    outcome = run(
        deepchest, sites, tmp_path / "c", "--devices", "cpu,cpu", "--tasks", "finding-by-source",
        "--source-sampling", "balanced", "--epochs", "2", "--patience", "0",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    ours, theirs = results_in(tmp_path / "c"), results_in(folder)
    for label in ("equal", "deepchest"):
        for name, one in ours["weighters"][label]["data_sets"].items():
            of_three = theirs["weighters"][label]["data_sets"][name]["metrics"]["macro_auroc"]
            assert one["metrics"]["macro_auroc"]["by_seed"] == of_three["by_seed"][:1]


def test_learning_rates_are_tuned_by_the_mean_over_the_data_sets(deepchest, sites, tmp_path):
    outcome = run(deepchest, sites, tmp_path / "c", "--tune-learning-rate")
    assert outcome.code == 0, outcome.err
    assert "validation AUROC, mean of 2 data sets" in outcome.err
    assert len(results_in(tmp_path / "c")["design"]["tuning"]) == 6


def test_a_data_set_without_a_test_split_is_named(deepchest, shards, tmp_path):
    site = write_site(tmp_path / "site", patients=30)
    other = prepare_site(site, tmp_path / "no-test", test_fraction=0.0)
    outcome = run(deepchest, (shards, other), tmp_path / "c")
    assert outcome.code == 2
    assert f"{other} has no test split to compare on." in " ".join(outcome.err.split())
    assert not (tmp_path / "c").exists()


def test_costs_are_those_of_the_tasks(deepchest, sites):
    data = [part for site in sites for part in ("--data", site)]
    outcome = deepchest(
        "compare-weighters", *data, "--cost-only", "--weighters", "deepchest", "--tasks",
        "finding-by-source", *QUICK, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    costs = json.loads(outcome.out)["tables"][0]["costs"]["deepchest"]
    assert costs["state_bytes"] > 0
