"""The interim report of a comparison of which runs are missing."""

import json
import math
import shutil
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from page_structure import checked
from tests_support import blank_figures, valid

from deepchest_cli.commands.compare_weighters import check_interim_gates, compare_weighters
from deepchest_cli.commands.compare_weighters_display import render_interim
from deepchest_cli.comparison.analysis.description import complete_seeds
from deepchest_cli.comparison.analysis.document import build_results
from deepchest_cli.comparison.analysis.interim import build_interim
from deepchest_cli.comparison.output.writing import write_comparison, write_interim
from deepchest_cli.comparison.running.comparison import TrainedComparison, verify_shared_starts
from deepchest_cli.comparison.running.jobs import (
    arm_jobs,
    parse_arms,
    single_task_jobs,
    tuning_jobs,
)
from deepchest_cli.comparison.running.run import RunRecord, read_record
from deepchest_cli.config import CompareConfig
from deepchest_cli.data.merging import open_datasets
from deepchest_cli.errors import GateError
from deepchest_cli.terminal import Terminal
from deepchest_cli.training.resume import saved_config

ARMS = "equal,uncertainty,dwa"  # jobs 1 to 3 are of seed 0, 4 to 6 of seed 1, 7 to 9 of seed 2
HOSTILE = '<script>alert("1")</script>'


@pytest.fixture(scope="module")
def folder(shards, tmp_path_factory):
    """A finished comparison; not to be changed."""
    out = tmp_path_factory.mktemp("comparison") / "c"
    config = CompareConfig(
        data=(str(shards),), out=out, weighters=ARMS, backbone="small_cnn", batch_size=16,
        epochs=1, max_steps=2, bootstrap_replicates=100, cost_rounds=2, device="cpu",
    )  # fmt: skip
    with blank_figures():
        compare_weighters(config, Terminal(quiet=True))
    return out


@pytest.fixture
def copy(folder, tmp_path):
    """The comparison before its report."""
    shutil.copytree(folder, tmp_path / "c")
    for name in ("results.json", "report.html"):
        (tmp_path / "c" / name).unlink()
    return tmp_path / "c"


def part_of(folder, *dropped, config=None):
    """Return what a folder holds as if jobs, by their numbers, had not been run."""
    config = config or saved_config(folder, CompareConfig)
    dataset, arms = open_datasets(config.data), parse_arms(config.weighters)
    jobs = arm_jobs(config, arms, folder, {})
    ended = [(job, read_record(job.folder)) for i, job in enumerate(jobs, 1) if i not in dropped]
    runs = [(job, record) for job, record in ended if record is not None]
    recorded = {job.folder for job, _ in runs}
    return TrainedComparison(
        folder=folder,
        config=config,
        dataset=dataset,
        arms=arms,
        runs=runs,
        single_task=[],
        tuning=[],
        learning_rates=dict.fromkeys((arm.label for arm in arms), config.learning_rate),
        shared_starts=verify_shared_starts(runs),
        newly_trained=0,
        missing=tuple(job for job in jobs if job.folder not in recorded),
        numbers={job.folder: i for i, job in enumerate(jobs, 1)},
    )


def written(comparison):
    """Write an interim report; returns what is in interim.json, and the page in a line."""
    write_interim(comparison, build_interim(comparison))
    document = json.loads((comparison.folder / "interim.json").read_text())
    page = (comparison.folder / "interim.html").read_text()
    return valid(document, "interim"), " ".join(unescape(page).split())


def keys_of(value):
    """Return the keys of all mappings in a document."""
    if isinstance(value, dict):
        return set(value) | {key for one in value.values() for key in keys_of(one)}
    return {key for one in value for key in keys_of(one)} if isinstance(value, list) else set()


def test_means_are_those_of_the_seeds_whose_runs_have_finished(copy, folder):
    document, _ = written(part_of(copy, 1, 5, 8, 9))
    assert document["progress"] == {
        "planned": 9, "finished": 5, "diverged": 0, "failed": 0, "missing": 4
    }  # fmt: skip
    whole = json.loads((folder / "results.json").read_text())["weighters"]
    expected = {"equal": [1, 2], "uncertainty": [0], "dwa": [0, 1]}
    assert list(document["weighters"]) == list(expected)
    for label, seeds in expected.items():
        entry = document["weighters"][label]
        assert entry["complete_seeds"] == seeds
        assert entry["progress"]["missing"] == 3 - len(seeds)
        assert [run["seed"] for run in entry["runs"]] == seeds
        for metric, found in entry["metrics"].items():
            values = [whole[label]["metrics"][metric]["by_seed"][seed] for seed in seeds]
            assert found["by_seed"] == values
            assert found["mean"] == pytest.approx(np.mean(values), abs=1e-12)
            sd = None if len(seeds) == 1 else pytest.approx(np.std(values, ddof=1), abs=1e-12)
            assert found["sd"] == sd
    assert document["missing"][1] == {
        "run": "uncertainty, seed 1", "folder": "runs/uncertainty/seed-1", "job": 5
    }  # fmt: skip


def read_page(folder):
    return checked((folder / "interim.html").read_text())


def test_nothing_is_compared(copy):
    document, page = written(part_of(copy, 9))
    compared = {
        "differences", "finding_differences", "estimate", "low", "high", "p", "p_holm", "verdict",
        "claims", "mean_rank", "delta_m", "costs",
    }  # fmt: skip
    assert not keys_of(document) & compared
    for words in ("Verdict", "Difference to", "p (Holm)", "CI", "Mean rank", "Ranking"):
        assert words not in page
    sentence = "looking at differences early, and then stopping or adding seeds, raises the rate of"
    assert sentence in document["summary"][1] and document["summary"][1] in page


def test_the_page_shows_progress_means_and_what_is_missing(copy):
    _, page = written(part_of(copy, 1, 5, 8, 9))
    assert "5 of 9 runs have finished, 4 are missing." in page
    read = read_page(copy)
    assert ["uncertainty", "3", "1", "0", "0", "2"] in read.rows("Progress")
    assert ["uncertainty, seed 1", "5"] in [row[:2] for row in read.rows("Missing runs")]
    assert read.titles() == [
        "Progress", "Means over complete seeds", "Missing runs", "Experimental design",
        "Controlled conditions", "Runs", "Settings and versions",
    ]  # fmt: skip
    assert "predicted once by each run</dd>" in page  # and not "after all training"
    assert "Synthetic" not in page and "http" not in page


def test_runs_that_diverged_or_failed_are_named_with_their_errors(copy):
    comparison = part_of(copy, 9)
    ends = {2: ("diverged", f"the loss is NaN {HOSTILE}"), 4: ("failed", "Out of memory.")}
    for number, (status, error) in ends.items():
        job, record = comparison.runs[number - 1]
        comparison.runs[number - 1] = job, replace(record, status=status, error=error)
    tuning = tuning_jobs(comparison.config, comparison.arms, copy)[:1]
    tried = replace(comparison.runs[0][1], status="diverged", error="the loss is inf")
    document, _ = written(replace(comparison, tuning=[(tuning[0], tried)]))
    assert document["summary"][0] == (
        "6 of 9 runs have finished, 1 diverged, 1 failed, 1 is missing."
    )
    assert document["errors"] == [
        {"run": tuning[0].name, "status": "diverged", "error": "the loss is inf"},
        {"run": "uncertainty, seed 0", "status": "diverged", "error": f"the loss is NaN {HOSTILE}"},
        {"run": "equal, seed 1", "status": "failed", "error": "Out of memory."},
    ]
    assert document["progress"]["planned"] == 9
    assert document["weighters"]["equal"]["complete_seeds"] == [0, 2]
    assert document["weighters"]["uncertainty"]["complete_seeds"] == [1, 2]
    assert "Diverged and failed runs" in read_page(copy).titles()
    assert "<script" not in (copy / "interim.html").read_text()


def test_a_seed_is_complete_with_all_of_its_folds(tmp_path):
    config, arms = CompareConfig(weighters="dwa", seeds=2, folds=2), parse_arms("dwa")
    jobs = arm_jobs(config, arms, tmp_path, {})
    record = RunRecord("finished", "", 0.1, "")
    for job in jobs:
        comparison = TrainedComparison(
            folder=tmp_path, config=config, dataset=None, arms=arms,
            runs=[(one, record) for one in jobs if one != job], single_task=[], tuning=[],
            learning_rates={}, shared_starts=[], newly_trained=0, missing=(job,),
        )  # fmt: skip
        for arm in arms:
            seeds = [1 - job.config.seed] if arm == job.arm else [0, 1]
            assert complete_seeds(comparison, arm) == seeds
        assert [arm.label for arm in comparison.finished_arms] == [
            arm.label for arm in arms if arm != job.arm
        ]


def test_missing_single_task_models_leave_the_weighters_finished(copy):
    comparison = part_of(copy)
    config, findings = comparison.config, comparison.dataset.findings
    alone = single_task_jobs(config, findings[:2], copy, {})
    comparison = replace(comparison, missing=tuple(alone))
    assert len(comparison.finished_arms) == 3
    document, _ = written(comparison)
    assert document["single_task"]["missing"] == document["progress"]["missing"] == 6
    assert document["weighters"]["equal"]["progress"]["missing"] == 0
    assert document["missing"][0]["job"] is None
    assert ["Single-task models", "6", "0"] in [row[:3] for row in read_page(copy).rows("Progress")]


def tuned_in_part(copy):
    """Return a comparison of which two runs that choose learning rates have ended."""
    comparison = part_of(copy)
    jobs = tuning_jobs(comparison.config, comparison.arms, copy)
    record = comparison.runs[0][1]
    return replace(
        comparison, runs=[], tuning=[(job, record) for job in jobs[:2]], missing=tuple(jobs[2:]),
        shared_starts=[], numbers={},
    )  # fmt: skip


def test_an_unfinished_tuning_has_progress_and_no_metrics(copy):
    document, page = written(tuned_in_part(copy))
    sentence = "2 of 9 runs that choose learning rates have finished, 7 are missing."
    assert document["stage"] == "tuning" and document["summary"][0] == sentence
    assert document["weighters"]["equal"]["progress"]["finished"] == 2
    assert {entry["metrics"] for entry in document["weighters"].values()} == {None}
    rate = document["missing"][0]["run"].rpartition(", learning rate ")[2]
    assert float(rate) == pytest.approx(3 * CompareConfig.learning_rate, rel=0.01)
    assert "<dd>not chosen yet</dd>" in page
    assert "Means over complete seeds" not in page and "Controlled conditions" not in page


def finish(comparison):
    results = write_comparison(comparison, build_results(comparison, {}))
    valid(json.loads((comparison.folder / "results.json").read_text()), "compare-weighters")
    return results


def looks_at(results):
    looks = results["design"]["interim_analyses"]
    return [(len(look["seeds"]), look["missing_runs"]) for look in looks]


def test_the_report_replaces_an_interim_one_and_says_that_there_was_one(copy, no_rendering):
    written(part_of(copy, 9))
    written(part_of(copy, 8, 9))
    results = finish(part_of(copy))
    assert not list(copy.glob("interim.*"))
    assert looks_at(results) == [(3, 1)]
    assert not any("after an interim analysis" in text for text in results["summary"])
    page = " ".join((copy / "report.html").read_text().split())
    assert "An interim report, without differences and verdicts, was written when 1 run was" in page
    assert "predicted once by each run</dd>" in page
    assert looks_at(finish(part_of(copy))) == [(3, 1)]


def test_a_design_that_changes_after_an_interim_report_is_disclosed(copy, no_rendering):
    fewer = replace(saved_config(copy, CompareConfig), seeds=2)
    written(part_of(copy, 1, config=fewer))
    written(part_of(copy, 9))
    results = finish(part_of(copy))
    assert looks_at(results) == [(2, 1), (3, 1)]
    assert any("after an interim analysis, 1 time:" in text for text in results["summary"])


def test_an_interim_report_after_results_adds_nothing_to_what_was_seen(copy, no_rendering):
    finish(part_of(copy))
    document, _ = written(part_of(copy, 9))
    assert looks_at(document) == looks_at(finish(part_of(copy))) == [(3, 0)]


def test_a_report_without_metrics_is_no_interim_analysis(copy, no_rendering):
    for comparison in (tuned_in_part(copy), part_of(copy, *range(1, 10))):
        document, _ = written(comparison)
        assert looks_at(document) == []
    results = finish(part_of(copy))
    assert looks_at(results) == [(3, 0)]
    page = (copy / "report.html").read_text()
    assert "predicted once by each run, after all training" in page


def test_analyses_of_results_without_the_number_of_missing_runs_are_kept(copy, no_rendering):
    results = finish(part_of(copy))
    look = results["design"]["interim_analyses"][0]
    del look["missing_runs"]  # as version 0.1 wrote them
    look["margin"] = 0.5
    (copy / "results.json").write_text(json.dumps(results))
    assert looks_at(finish(part_of(copy))) == [(3, 0), (3, 0)]


def test_the_screen_fits_80_columns_and_names_the_missing_jobs(copy, capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    document = build_interim(part_of(copy, 1, 5, 7, 8, 9))
    render_interim(document, copy, Terminal())
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("Macro AUROC of 3 weighters on 20 test radiographs of 10 patients")
    table = [line.split() for line in lines[lines.index("") + 1 :][:4]]
    assert table[0] == ["weighter", "runs", "seeds", "macro", "AUROC", "SD"]
    assert [row[:7] for row in table[1:]] == [
        [label, str(n), "of", "3", str(n), "of", "3"]
        for label, n in (("equal", 1), ("uncertainty", 1), ("dwa", 2))
    ]
    mean = document["weighters"]["dwa"]["metrics"]["macro_auroc"]["mean"]
    assert table[3][7] == f"{mean:.4f}" and table[1][8] == "–"
    assert "Missing: jobs 1, 5, 7 to 9." in lines
    assert " ".join(lines).endswith(f"Interim report: {copy}/interim.html")
    assert max(map(len, lines[:-1])) <= 80


def test_the_screen_fits_80_columns_with_long_labels_and_many_runs(copy, capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    document = build_interim(part_of(copy, *range(1, 9)))
    progress = {"planned": 100, "finished": 10, "diverged": 0, "failed": 0, "missing": 90}
    long = {**document["weighters"]["equal"], "progress": progress}
    document["weighters"]["fixed[weights=" + "Mass:0.071," * 9 + "]"] = long
    document["errors"] = [{"run": "dwa, seed 1", "status": "failed", "error": "no " * 60}] * 9
    for row in document["missing"]:
        row["job"] = None
    render_interim(document, copy, Terminal())
    lines = capfd.readouterr().out.splitlines()
    assert "Missing: equal, seed 0; uncertainty, seed 0; dwa, seed 0; equal, seed 1;" in lines
    assert "uncertainty, seed 1 and 3 more." in lines
    text = "".join(line.strip() for line in lines)
    assert "[1] fixed[weights=" + "Mass:0.071," * 9 + "]" in text
    assert sum(line.startswith("dwa, seed 1 failed: no") for line in lines) == 5
    assert max(map(len, lines[:-1])) <= 80


def test_a_gate_is_not_met_while_runs_are_missing(copy):
    comparison = part_of(copy, 1)
    document = build_interim(comparison)
    check_interim_gates(document, comparison.config)
    check_interim_gates(document, replace(comparison.config, fail_if_inferior=("equal",)))
    gated = replace(comparison.config, fail_if_inferior=("dwa",))
    with pytest.raises(GateError, match="dwa was not tested: 1 run is missing") as error:
        check_interim_gates(document, gated)
    assert error.value.exit_code == 3


def test_undefined_metrics_are_null(copy):
    comparison = part_of(copy, 9)
    none = np.zeros_like(comparison.dataset.labels)
    comparison = replace(comparison, dataset=replace(comparison.dataset, labels=none))
    document, page = written(comparison)
    assert document["weighters"]["dwa"]["metrics"]["macro_auroc"]["mean"] is None
    assert not math.isnan(document["weighters"]["dwa"]["metrics"]["macro_loss"]["mean"])
    assert "– ± –" in page
