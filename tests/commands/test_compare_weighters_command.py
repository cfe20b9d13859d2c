import json
import math
import shutil
import signal
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from conftest import write_nih_folder
from killing import same_results
from page_structure import checked
from tests_support import next_step, replaced, rows_of, too_wide, valid

from deepchest_cli.commands.compare_weighters import check_gates, compare_weighters
from deepchest_cli.commands.compare_weighters_display import render_costs, render_results
from deepchest_cli.commands.next_steps import after_comparison, after_costs
from deepchest_cli.comparison.listing.search import list_runs
from deepchest_cli.comparison.output import writing
from deepchest_cli.comparison.running import checks
from deepchest_cli.comparison.running.comparison import train_comparison
from deepchest_cli.comparison.running.folder import extended_config, locked_folder
from deepchest_cli.comparison.running.shared_starts import verify_shared_starts
from deepchest_cli.config import CompareConfig, PrepareConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.merging import open_datasets
from deepchest_cli.data.preparation import plan_preparation, run_preparation
from deepchest_cli.errors import DeepChestError, GateError, InterruptedRunError, UsageError
from deepchest_cli.interruption import InterruptionError
from deepchest_cli.terminal import Terminal
from deepchest_cli.training import precision
from deepchest_cli.training.components import build_components
from deepchest_cli.training.resume import saved_config

QUICK = (
    "--backbone", "small_cnn", "--batch-size", "16", "--epochs", "1", "--learning-rate", "1e-3",
    "--bootstrap-replicates", "100", "--cost-rounds", "2",
)  # fmt: skip
ARMS = "equal,deepchest,uncertainty,deepchest+uncertainty"
FILES_OF_0_1 = Path(__file__).parents[1] / "files" / "version-0.1"


def run(deepchest, shards, out, *more, arms=ARMS, seeds=3):
    return deepchest(
        "compare-weighters", "--data", shards, "--out", out, "--weighters", arms,
        "--seeds", seeds, *replaced(QUICK, more),
    )  # fmt: skip


def config_of(shards, arms=ARMS, **more):
    """Return the configuration that `run` gives."""
    return CompareConfig(
        data=(str(shards),), weighters=arms, backbone="small_cnn", batch_size=16, epochs=1,
        learning_rate=1e-3, bootstrap_replicates=100, cost_rounds=2, **more,
    )  # fmt: skip


def results_in(folder):
    return valid(json.loads((folder / "results.json").read_text()), "compare-weighters")


@pytest.fixture(scope="module")
def folder(shards, tmp_path_factory):
    """A finished comparison; not to be changed."""
    out = tmp_path_factory.mktemp("comparison") / "c"
    compare_weighters(config_of(shards, out=out), Terminal(quiet=True))
    return out


@pytest.fixture(scope="module")
def small(folder, shards, tmp_path_factory):
    """The same comparison with two weighters only; not to be changed."""
    out = shutil.copytree(folder, tmp_path_factory.mktemp("small") / "c")
    for label in ARMS.split(",")[2:]:
        shutil.rmtree(out / "runs" / label)
    for path in (out / "results.json", out / "costs.json"):
        path.unlink()
    text = (out / "config.toml").read_text()
    (out / "config.toml").write_text(text.replace(ARMS, "equal,deepchest"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "_draw", write_empty_plots)
        compare_weighters(config_of(shards, "deepchest", resume=out), Terminal(quiet=True))
    return out


def write_empty_plots(folder, figures):
    for name in figures:
        (folder / f"{name}.png").touch()
    return dict.fromkeys(figures, b"<svg/>")


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    """Save the time of drawing plots, except for those of the fixture `folder`."""
    monkeypatch.setattr(writing, "_draw", write_empty_plots)


@pytest.fixture(scope="module")
def three_findings(shards, tmp_path_factory):
    """The radiographs of `shards` with three of their findings."""
    root, dataset = tmp_path_factory.mktemp("three"), open_dataset(shards)
    write_nih_folder(root)
    names = [str(name) for name in dataset.columns["image_index"]]
    table = root / "labels.csv"
    rows = [
        f"{name},{name[:8]},{','.join(map(str, labels[:3]))}"
        for name, labels in zip(names, dataset.labels.tolist(), strict=True)
    ]
    table.write_text("\n".join([f"Path,patient,{','.join(dataset.findings[:3])}", *rows]))
    config = PrepareConfig(
        labels_csv=table, patient_column="patient", size="32", workers=1, validation_fraction=0.2
    )
    run_preparation(plan_preparation(config, root / "images"), config, root / "s", lambda *_: None)
    return root / "s"


def test_a_comparison_leaves_what_it_promises(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.toml", "environment.json", "results.json", "report.html", "costs.json", "runs",
        "metrics.csv", "differences.csv", "finding-metrics.csv", "finding-differences.csv",
        "costs.csv", "claims.csv", "weights.csv", "differences.png", "findings.png", "cost.png",
        "weights.png",
    }  # fmt: skip
    results = results_in(folder)
    assert list(results["weighters"]) == ARMS.split(",")
    # its runs have one epoch, in which all weights are 1
    assert [claim["verdict"] for claim in results["claims"]] == ["not measured"] * 5
    moved = "weights had not moved before the kept epoch of any run of deepchest, so that it was"
    assert f"{moved} equal weighting." in results["claims"][0]["result"]
    rows = rows_of(folder / "claims.csv")
    assert {row["subject"] for row in rows if row["claim"] == "accuracy"} == {"uncertainty"}
    row = results["weighters"]["deepchest"]["differences"]["macro_auroc"]
    # for the same reason its models are those of equal weighting
    assert row["untested"] == "the difference is the same in every seed and for every patient"
    assert (row["estimate"], row["low"], row["verdict"]) == (0, None, "inconclusive")
    by_seed = [results["weighters"][n]["metrics"]["macro_auroc"] for n in ("deepchest", "equal")]
    assert row["estimate"] == pytest.approx(by_seed[0]["mean"] - by_seed[1]["mean"])
    assert not list(folder.rglob("last.pt"))


def test_a_finished_comparison_is_one_line_of_the_list_of_runs(folder):
    (entry,) = list_runs([folder], own_runs=True).entries
    assert (entry.state, entry.weighters, entry.resume) == (
        "finished",
        tuple(ARMS.split(",")),
        None,
    )
    assert (entry.runs.finished, entry.runs.failed, entry.runs.planned) == (12, 0, 12)
    of_best = [run.macro_auroc for run in entry.own_runs if run.weighter == entry.weighter]
    assert entry.macro_auroc == pytest.approx(sum(of_best) / 3)
    assert [run.state for run in entry.own_runs] == ["finished"] * 12


def test_the_report_needs_no_network_and_names_every_weighter(folder):
    text = (folder / "report.html").read_text()
    page = unescape(text)
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "src=" in page
    assert page.count("src=") == page.count('src="data:image/svg+xml;base64,')
    assert {row[0] for row in checked(text).tables[0].rows} == set(ARMS.split(","))
    assert all(sentence in page for sentence in results_in(folder)["summary"])


def test_all_weighters_of_a_seed_began_alike_and_saw_the_same(folder):
    results = results_in(folder)
    starts = results["shared_starts"]
    assert [start["runs"] for start in starts] == [4, 4, 4]
    for kind in ("initial_weights_sha256", "batches_sha256"):
        hashes = [
            {run[kind] for entry in results["weighters"].values() for run in entry["runs"]
             if run["seed"] == seed}
            for seed in range(3)
        ]  # fmt: skip
        assert [len(found) for found in hashes] == [1, 1, 1]
        assert len(set.union(*hashes)) == 3


def test_the_same_comparison_gives_the_same_results(small, deepchest, shards, tmp_path):
    outcome = run(deepchest, shards, tmp_path / "again", "--json", arms="deepchest")
    assert outcome.code == 0
    assert same_results(valid(json.loads(outcome.out), "compare-weighters"), results_in(small))


def test_resume_trains_only_new_runs(folder, deepchest, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "c")
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("run.json")}
    # of a process that was killed when a run's record was there and its state not yet removed
    place = copy / "runs/deepchest/seed-1"
    attempt = place.rename(f"{place}.attempt-3")
    (attempt / "last.pt").touch()
    outcome = deepchest("compare-weighters", "--resume", copy, "--weighters", "dwa", "--seeds", 1)
    assert outcome.code == 0
    assert "run 15/15  dwa, seed 2" in outcome.err
    assert "equal, seed" not in outcome.err
    assert not attempt.exists()
    after = {path: path.stat().st_mtime_ns for path in copy.rglob("run.json")}
    assert before.items() <= after.items()
    assert len(after) == 15
    assert not list(copy.rglob("last.pt"))
    old, new = results_in(folder), results_in(copy)
    assert new["weighters"]["deepchest"]["metrics"] == old["weighters"]["deepchest"]["metrics"]
    assert list(new["weighters"]) == [*ARMS.split(","), "dwa"]  # nothing is dropped
    assert [len(look["weighters"]) for look in new["design"]["interim_analyses"]] == [4, 5]
    assert "changed after an interim analysis, 1 time" in outcome.out


class StopAt:
    """A comparison's observer that sends this process a signal in the middle of a run."""

    def __init__(self, progress):
        self.progress = progress

    def on_progress(self, done, total):
        if done > self.progress:
            signal.raise_signal(signal.SIGTERM)

    def on_run(self, job, record, done, total):
        pass

    def on_note(self, text):
        pass

    def on_warning(self, text):
        raise AssertionError(text)


def test_an_interrupted_comparison_resumes_to_the_same_results(small, deepchest, shards, tmp_path):
    out = tmp_path / "c"
    config = config_of(shards, "deepchest", out=out)
    with (
        pytest.raises(InterruptedRunError) as info,
        train_comparison(config, StopAt(3.3)),
    ):
        pass
    assert info.value.hint == f"Resume with: deepchest compare-weighters --resume {out}"
    assert len(list(out.rglob("run.json"))) == 3
    assert len(list(out.rglob("test.npz"))) == 3  # each run predicts the test split at its end
    (under_way,) = out.rglob("last.pt")
    (under_way.parent / ".last.pt.1.tmp").touch()  # of a process that was killed while writing
    assert deepchest("compare-weighters", "--resume", out).code == 0
    assert same_results(results_in(out), results_in(small))
    assert not list(out.rglob(".*.tmp"))


@pytest.mark.usefixtures("signals_arrive")
def test_a_signal_when_a_run_has_nothing_left_to_save_is_not_lost(shards, tmp_path):
    class StopAfter(StopAt):
        def on_run(self, job, record, done, total):
            if done == self.progress:
                signal.raise_signal(signal.SIGUSR2)

    out = tmp_path / "c"
    config = config_of(shards, "dwa", seeds=1, out=out)
    for done in (1, 2):  # there is another run, and there is none
        with (
            pytest.raises(InterruptedRunError) as info,
            train_comparison(config, StopAfter(done)),
        ):
            pass
        assert info.value.exit_code == 128 + signal.SIGUSR2
        assert len(list(out.rglob("run.json"))) == done
        assert not list(out.rglob("last.pt"))
        config = extended_config(replace(config, out=None, resume=out))


@pytest.mark.parametrize(
    ("interruption", "code"), [(KeyboardInterrupt(), 130), (InterruptionError(129), 129)]
)
def test_an_interruption_after_training_says_how_to_go_on(shards, tmp_path, interruption, code):
    out = tmp_path / "a name with spaces"
    with pytest.raises(InterruptedRunError) as info, locked_folder(config_of(shards, out=out)):
        raise interruption
    assert info.value.hint.endswith(f"--resume '{out}'")
    assert info.value.exit_code == code


def test_a_lost_checkpoint_names_the_run_to_begin_again(folder, deepchest, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "c")
    lost = copy / "runs" / "deepchest" / "seed-1"
    (lost / "run.json").unlink()  # its last.pt was used up when it finished
    outcome = deepchest("compare-weighters", "--resume", copy)
    assert outcome.code == 2
    assert f"Remove the folder {lost} and continue with --resume" in outcome.err


def test_another_configuration_is_refused(folder, deepchest):
    outcome = deepchest("compare-weighters", "--resume", folder, "--epochs", 3)
    assert outcome.code == 2
    assert "--epochs is 3" in outcome.err


def test_a_comparison_of_version_0_1_is_refused(deepchest):
    folder = FILES_OF_0_1 / "comparison"
    outcome = deepchest("compare-weighters", "--resume", folder)
    assert outcome.code == 2
    assert "was started by deepchest 0.1.0" in outcome.err
    assert "start a new one in another folder" in outcome.err
    with pytest.raises(UsageError, match="started by deepchest 0.1.0"):
        saved_config(folder, CompareConfig)


def test_a_folder_that_exists_is_refused(folder, deepchest, shards):
    outcome = run(deepchest, shards, folder)
    assert outcome.code == 2
    assert f"--resume {folder}" in outcome.err


def test_changed_data_are_refused(folder, deepchest, tmp_path, nih_folder):
    copy = shutil.copytree(folder, tmp_path / "c")
    deepchest(
        "prepare", "--source", nih_folder, "--data", tmp_path / "d", "--size", 32, "--seed", 9
    )
    outcome = deepchest("compare-weighters", "--resume", copy, "--data", tmp_path / "d")
    assert outcome.code == 2
    assert "have changed" in outcome.err


def test_other_weights_or_batches_are_refused(small, shards):
    config = extended_config(config_of(shards, "deepchest", resume=small))
    with train_comparison(config, StopAt(math.inf)) as comparison:
        jobs, records = zip(*comparison.runs, strict=True)
    refused = {
        "other weights or saw other batches": (
            {"initial_weights_sha256": "0"},
            {"batches_sha256": ("0" * 64,)},
        ),
        "was computed on": ({"precision": "fp16"}, {"device": "cuda"}),
    }
    for words, changes in refused.items():
        for change in changes:
            changed = [*records[:1], replace(records[1], **change), *records[2:]]
            with pytest.raises(DeepChestError, match=words):
                verify_shared_starts(list(zip(jobs, changed, strict=True)))


def test_runs_of_other_settings_are_not_compared(folder, deepchest, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "c")
    text = (copy / "config.toml").read_text()
    (copy / "config.toml").write_text(text.replace("learning_rate = 0.001", "learning_rate = 0.01"))
    outcome = deepchest("compare-weighters", "--resume", copy, "--seeds", 4)
    assert outcome.code == 2
    assert "was trained with other settings" in outcome.err
    assert not list(copy.rglob("seed-3"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", b"null"),
        ("run.json", b"{"),
        ("test.npz", b""),
        ("test.npz", b"PK\x03\x04"),
        ("weights.csv", b"Hernia\nmany\n"),
    ],
)
def test_damaged_files_of_a_run_are_named(small, deepchest, tmp_path, name, content):
    copy = shutil.copytree(small, tmp_path / "c")
    place = copy / "runs" / "deepchest" / "seed-1"
    (place / name).write_bytes(content)
    outcome = deepchest("compare-weighters", "--resume", copy)
    assert outcome.code == 1
    assert f"{place / name} is damaged" in outcome.err
    assert "continue with --resume" in outcome.err


@pytest.mark.parametrize("name", ["results.json", "costs.json"])
def test_damaged_results_are_computed_anew(small, deepchest, tmp_path, name):
    copy = shutil.copytree(small, tmp_path / "c")
    for content in ("", "{}"):
        (copy / name).write_text(content)
        assert deepchest("compare-weighters", "--resume", copy).code == 0
        assert same_results(results_in(copy), results_in(small))


def test_a_fold_that_cannot_be_trained_on_is_refused_at_the_start(deepchest, shards, tmp_path):
    outcome = run(deepchest, shards, tmp_path / "c", "--folds", 2, "--batch-size", 500)
    assert outcome.code == 2
    assert "Seed 0, fold 1 of 2: --batch-size 500" in outcome.err
    assert not (tmp_path / "c").exists()


def test_more_folds_than_patients_are_refused_at_the_start(deepchest, shards, tmp_path):
    first = np.unique(open_dataset(shards).columns["patient_id"])[:4]

    def few_patients(folders):
        dataset = open_datasets(folders)
        dataset.columns["split"][~np.isin(dataset.columns["patient_id"], first)] = ""
        return dataset

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "open_datasets", few_patients)
        outcome = run(deepchest, shards, tmp_path / "c", "--folds", 5, "--batch-size", 2)
    assert outcome.code == 2
    assert "Seed 0, fold 5 of 5: " in outcome.err and "fewer patients than folds" in outcome.err
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("flags", [("--fail-if-inferior", "dwa"), ("--folds", 3), ("--out", "c")])
def test_costs_alone_meet_no_gate(deepchest, shards, flags):
    outcome = deepchest(
        "compare-weighters", "--data", shards, "--weighters", "dwa", "--cost-only", *flags
    )
    assert outcome.code == 2
    assert f"{flags[0]} does not go with --cost-only" in outcome.err


WILD = "fixed[weights=" + ",".join(
    f"{name}:1e38" for name in (
        "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia",
        "Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening",
        "Hernia",
    )
) + "]"  # fmt: skip


def test_a_weighter_that_diverges_is_reported_and_the_others_go_on(deepchest, shards, tmp_path):
    outcome = run(
        deepchest, shards, tmp_path / "c", "--optimizer", "sgd", arms=f"deepchest,{WILD}", seeds=1
    )
    assert outcome.code == 0
    assert "diverged" in outcome.out
    results = results_in(tmp_path / "c")
    statuses = [entry["status"] for entry in results["weighters"].values()]
    assert statuses == ["finished", "finished", "diverged"]
    assert "is not finite" in results["weighters"][WILD]["runs"][0]["error"]


def test_only_when_all_diverge_the_command_fails(deepchest, shards, tmp_path):
    wild = ("--optimizer", "sgd", "--learning-rate", "1e9")
    outcome = run(deepchest, shards, tmp_path / "c", *wild, arms="deepchest", seeds=1)
    assert outcome.code == 1
    assert "No weighter has finished all its runs" in outcome.err


def test_one_seed_has_no_test_and_says_why(deepchest, shards, tmp_path):
    outcome = run(deepchest, shards, tmp_path / "c", arms="deepchest", seeds=1)
    assert outcome.code == 0
    assert "not tested, because a test takes 3 or more seeds" in outcome.out
    row = results_in(tmp_path / "c")["weighters"]["deepchest"]["differences"]["macro_auroc"]
    assert (row["p"], row["low"], row["verdict"]) == (None, None, "inconclusive")


@pytest.mark.parametrize(
    ("label", "low", "met"),
    [
        ("uncertainty", 0.01, True),
        ("uncertainty", -0.0049, True),
        ("uncertainty", -0.0051, False),
        ("uncertainty", None, False),
        ("equal", None, True),
    ],
)
def test_a_gate_is_how_much_worse_a_weighter_may_be_at_worst(label, low, met):
    row = {"estimate": 0.02, "single_low": low, "untested": "nothing is known"}
    rows = None if label == "equal" else {"macro_auroc": row}
    results = {"weighters": {label: {"differences": rows}}, "design": {"baseline": "equal"}}
    config = CompareConfig(fail_if_inferior=(label,), margin=0.005)
    if met:
        check_gates(results, config)
    else:
        with pytest.raises(GateError, match=f"quality gate was not met.*{label}"):
            check_gates(results, config)


def test_a_gate_ends_a_comparison_with_its_own_code(small, deepchest, tmp_path, monkeypatch):
    # a test split this small would not be tested
    monkeypatch.setattr("deepchest_cli.evaluation.statistics.MIN_PATIENTS", 1)
    copy = shutil.copytree(small, tmp_path / "c")
    for seed, path in enumerate(sorted((copy / "runs" / "deepchest").glob("*/test.npz"))):
        content = dict(np.load(path))
        shape = content["probabilities"].shape
        content["probabilities"] = np.random.default_rng(seed).random(shape)
        np.savez(path, **content)
    for margin, code in ((0, 3), (1, 0)):
        flags = ("--resume", copy, "--fail-if-inferior", "deepchest", "--margin", margin)
        outcome = deepchest("compare-weighters", *flags)
        assert outcome.code == code
        assert ("at worst -" in outcome.err) is (code == 3)
    # a margin that is changed after the results were seen is disclosed
    assert [one["margin"] for one in results_in(copy)["design"]["interim_analyses"]] == [
        CompareConfig.margin, 0, 1
    ]  # fmt: skip


def test_a_gate_needs_seeds_for_an_interval(deepchest, shards, tmp_path):
    gate = ("--fail-if-inferior", "deepchest")
    outcome = run(deepchest, shards, tmp_path / "c", *gate, arms="deepchest", seeds=2)
    assert outcome.code == 2
    assert "takes 3 or more seeds. Found 2." in outcome.err
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    "gate",
    [
        ("dwa",),
        ("deepchest=0.1",),
        ("deepchest", "--margin", "-1"),
        ("deepchest", "--margin", "nan"),
        ("equal",),  # the baseline is never below itself
    ],
)
def test_a_gate_that_cannot_be_met_or_missed_is_refused(folder, deepchest, gate):
    assert deepchest("compare-weighters", "--resume", folder, "--fail-if-inferior", *gate).code == 2


def test_folds_score_every_radiograph_once(deepchest, shards, tmp_path):
    more = ("--folds", 3, "--first-seed", 7)
    outcome = run(deepchest, shards, tmp_path / "c", *more, arms="deepchest", seeds=1)
    assert outcome.code == 0
    dataset, tested = open_dataset(shards), []
    for fold in (1, 2, 3):
        name = f"seed-7-fold-{fold}"
        rows = {
            tuple(np.load(tmp_path / "c" / "runs" / arm / name / "test.npz")["rows"])
            for arm in ("equal", "deepchest")
        }
        assert len(rows) == 1  # the same folds for all
        tested.append(dataset.columns["patient_id"][list(rows.pop())])
    assert sum(map(len, tested)) == len(dataset.labels)
    assert len(set.union(*map(set, tested))) == sum(len(set(patients)) for patients in tested)
    results = results_in(tmp_path / "c")
    assert results["data"]["test_images"] == len(dataset.labels)
    assert results["design"]["seeds"] == [7]
    assert (
        "a positive and a negative image of the same fold"
        in (tmp_path / "c/report.html").read_text()
    )


def test_rates_are_chosen_on_validation_from_one_grid(deepchest, shards, tmp_path):
    out = tmp_path / "c"
    outcome = run(deepchest, shards, out, "--tune-learning-rate", arms="dwa", seeds=1)
    assert outcome.code == 0
    assert "nothing is left to train" not in outcome.err
    design = results_in(out)["design"]
    assert len(design["tuning"]) == 6
    for label in ("equal", "dwa"):
        tried = [row for row in design["tuning"] if row["weighter"] == label]
        assert [row["learning_rate"] for row in tried] == pytest.approx([1e-3 / 3, 1e-3, 3e-3])
        best = max(row["validation_score"] for row in tried)
        chosen = [r for r in tried if r["learning_rate"] == design["learning_rates"][label]]
        assert chosen[0]["validation_score"] == best


def test_single_task_models_are_the_baseline_of_delta_m(deepchest, three_findings, tmp_path):
    out = tmp_path / "c"
    assert run(deepchest, three_findings, out, "--single-task", arms="dwa", seeds=1).code == 0
    results = results_in(out)
    found = results["weighters"]["dwa"]["delta_m"]
    assert len(list((out / "single-task").iterdir())) == 3
    defined = [value for value in found["findings"].values() if value is not None]
    assert found["mean"] == pytest.approx(np.mean(defined))
    assert found["worst_finding"]["percent"] == min(defined)


def test_parallel_runs_give_the_same_results(folder, deepchest, shards, tmp_path):
    more = ("--devices", "cpu,cpu")
    outcome = run(deepchest, shards, tmp_path / "c", *more, arms="deepchest", seeds=1)
    assert outcome.code == 0
    sequential, parallel = (
        results_in(place)["weighters"]["deepchest"]["metrics"]["macro_auroc"]["by_seed"][0]
        for place in (folder, tmp_path / "c")
    )
    assert parallel == pytest.approx(sequential, abs=0.02)  # by other numbers of threads


def test_rates_are_not_chosen_by_patients_whom_folds_test_on(deepchest, shards, tmp_path):
    outcome = run(deepchest, shards, tmp_path / "c", "--folds", 3, "--tune-learning-rate")
    assert outcome.code == 2
    assert "does not go with --folds" in outcome.err


def test_a_run_that_cannot_begin_is_reported_and_the_others_go_on(
    deepchest, shards, tmp_path, monkeypatch
):
    def short_of_memory(config, **more):
        if config.weighter == "dwa":
            raise RuntimeError("out of memory")
        return build_components(config, **more)

    monkeypatch.setattr("deepchest_cli.comparison.running.run.build_components", short_of_memory)
    outcome = run(deepchest, shards, tmp_path / "c", arms="dwa,rlw", seeds=1)
    assert outcome.code == 0
    results = results_in(tmp_path / "c")
    assert results["weighters"]["dwa"]["status"] == "failed"
    error = results["weighters"]["dwa"]["runs"][0]["error"]
    assert error.startswith("Out of memory: out of memory. Free memory on cpu")
    assert "continue with --resume" in error
    assert list(results["costs"]) == ["equal", "rlw"]


def test_all_runs_take_one_precision_whatever_later_measurements_say(
    deepchest, shards, tmp_path, monkeypatch
):
    found = iter([precision.Rates(1.0, 2.0)])  # the first says bf16, all later ones fp32
    monkeypatch.setattr(
        precision, "measure_rates", lambda *_: next(found, precision.Rates(2.0, 1.0))
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert run(deepchest, shards, tmp_path / "c", arms="rlw", seeds=2).code == 0
    assert 'precision = "bf16"' in (tmp_path / "c" / "config.toml").read_text()
    records = [json.loads(path.read_text()) for path in (tmp_path / "c").rglob("run.json")]
    assert [record["precision"] for record in records] == ["bf16"] * 4


def test_costs_alone(deepchest, shards):
    outcome = deepchest(
        "compare-weighters", "--data", shards, "--weighters", "dwa,upgrad", *QUICK, "--cost-only",
        "--cost-tasks", "2,5", "--json",
    )  # fmt: skip
    assert outcome.code == 0
    tables = valid(json.loads(outcome.out), "compare-weighters")["tables"]
    assert [table["findings"] for table in tables] == [2, 5]
    assert tables[0]["costs"]["equal"]["ratio"] == 1
    for cost in (cost for table in tables for cost in table["costs"].values()):
        assert len(cost["step_seconds_by_round"]) == 2
        assert cost["steps_back_to_back"] == 1  # a CPU has finished a step when it returns
        assert cost["synchronized_ratio"] == cost["ratio"]


def test_costs_of_a_version_that_had_one_time_a_step_are_measured_anew(folder, shards, tmp_path):
    out = shutil.copytree(folder, tmp_path / "c")
    kept = json.loads((out / "costs.json").read_text())
    device, rounds, _, *labels = kept["measured"]
    kept["measured"] = [device, rounds, *labels]
    for cost in kept["costs"].values():
        for key in [key for key in cost if key.startswith("synchronized") or "back" in key]:
            del cost[key]
    (out / "costs.json").write_text(json.dumps(kept))
    config = extended_config(config_of(shards, resume=out))
    compare_weighters(config, Terminal(quiet=True))
    assert results_in(out)["costs"]["equal"]["synchronized_ratio"] == 1


@pytest.mark.parametrize(
    "flags", [("--cost-tasks", "2"), ("--cost-only", "--cost-tasks", "two"), ("--weighters", "dwq")]
)
def test_wrong_use(deepchest, shards, tmp_path, flags):
    outcome = deepchest("compare-weighters", "--data", shards, "--out", tmp_path / "c", *flags)
    assert outcome.code == 2
    assert not (tmp_path / "c").exists()


def test_the_tables_are_those_of_the_results(folder):
    rows = rows_of(folder / "differences.csv")
    assert len(rows) == 3 * 7
    found = results_in(folder)["weighters"]["uncertainty"]["differences"]["macro_loss"]
    mine = next(r for r in rows if (r["weighter"], r["metric"]) == ("uncertainty", "macro_loss"))
    assert float(mine["estimate"]) == found["estimate"]


LONG = (
    "deepchest[signal=auroc,split=validation,floor=0.5]",
    "deepchest[signal=f1,split=validation,floor=0.5]",
    "a_file_of_a_long_name.py:AClassOfALongNameToo",
)


def with_long_labels(results):
    """Return results with long labels, one of them tested."""
    changed = json.loads(json.dumps(results))
    labels = dict(zip(ARMS.split(",")[1:], LONG, strict=True))
    for key in ("weighters", "costs"):
        changed[key] = {labels.get(name, name): one for name, one in changed[key].items()}
    row = changed["weighters"][LONG[0]]["differences"]["macro_auroc"]
    row |= {"low": -0.0034, "high": 0.0046, "p": 0.9, "p_holm": 0.9, "seeds_needed": 7}
    return changed


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_results_fit_the_terminal(folder, capfd, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    results = with_long_labels(results_in(folder))
    render_results(results, Path("c"), Terminal())
    out, err = capfd.readouterr()
    assert too_wide(out + err, width) == []
    lines = [line.strip() for line in out.splitlines()]
    assert "Claims of the paper's abstract" in lines and "accuracy: not measured" in lines
    assert results["claims"][0]["quote"] not in " ".join(lines)
    assert all(sentence in " ".join(lines) for sentence in results["summary"])
    text = "".join(lines)
    assert all(label in text for label in LONG)
    if width >= 80:
        heading, *rows = (line.split() for line in lines[lines.index("") + 1 :][:5])
        difference = ["difference", "(95", "%", "interval)"]
        assert heading[:7] == ["weighter", "verdict", "AUROC", *difference]
        assert {"baseline", "inconclusive"} <= {word for row in rows for word in row}
        assert sum("(-0.0034 to +0.0046)" in " ".join(row) for row in rows) == 1
        hidden = " ".join(err.split())
        assert "More columns with --verbose, or in a wider window: " in hidden
        assert all(name in hidden for name in ("mean rank", "rarest tertile"))


def test_with_verbose_there_are_all_columns_and_what_the_claims_rest_on(folder, capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    results = results_in(folder)
    render_results(results, Path("c"), Terminal(verbose=True))
    out, err = capfd.readouterr()
    assert too_wide(out, 80) == []
    assert "More columns" not in err
    joined = " ".join(out.split())
    columns = ("p (Holm)", "macro AP", "step time", "SD across seeds", "worst finding", "mean rank")
    assert all(name in joined for name in columns)
    for claim in results["claims"]:
        assert claim["quote"] in joined and claim["result"] in joined


@pytest.mark.parametrize("width", [40, 80, 120])
def test_costs_fit_the_terminal(folder, capfd, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    costs = with_long_labels(results_in(folder))["costs"]
    render_costs([{"backbone": "small_cnn", "findings": 14, "costs": costs}], Terminal())
    out, err = capfd.readouterr()
    assert too_wide(out + err, width) == []
    if width >= 80:
        assert "step time (95 % interval)  peak memory" in out


def test_the_command_that_follows_is_that_of_the_result(folder):
    results, config, c = results_in(folder), CompareConfig(), Path("my c")
    resume = "deepchest compare-weighters --resume 'my c'"
    rows = {
        label: entry["differences"]["macro_auroc"]
        for label, entry in results["weighters"].items()
        if entry["differences"]
    }
    for row in rows.values():
        row["seeds_needed"] = None
    first = "runs/equal/seed-0/config.toml"
    assert after_comparison(results, c, config) == f"deepchest train --config 'my c/{first}'"
    rows["uncertainty"] |= {"verdict": "better", "estimate": 0.01}
    rows["deepchest"] |= {"verdict": "better", "estimate": 0.02}
    first = "runs/deepchest/seed-0/config.toml"
    assert after_comparison(results, c, config) == f"deepchest train --config 'my c/{first}'"
    rows["deepchest"] |= {"verdict": "inconclusive", "seeds_needed": 9}
    assert after_comparison(results, c, config) == f"{resume} --seeds 9"
    results["design"]["seeds"] = [0]
    assert after_comparison(results, c, config) == f"{resume} --seeds 3"
    results["weighters"]["equal"]["status"] = "failed"
    assert after_comparison(results, c, config) == resume


def test_the_comparison_after_its_costs_has_the_same_flags():
    config = CompareConfig(
        data=("a b", "c"), weighters="dwa", cost_only=True, cost_tasks="2,5", cost_backbones="x"
    )
    command = "deepchest compare-weighters --data 'a b' --data c --weighters dwa"
    assert after_costs(config) == command


def test_a_comparison_ends_with_the_next_step(folder, deepchest):
    outcome = deepchest("compare-weighters", "--resume", folder)
    step = next_step(outcome.err)
    assert step[:2] == ["deepchest", "train"]
    assert Path(step[-1]).is_file()
    assert "Next step" not in deepchest("compare-weighters", "--resume", folder, "--json").err
