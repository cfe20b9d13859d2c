import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from killing import KilledError, assert_equal_comparisons, killed_at
from tests_support import replaced, rows_of, valid

from deepchest_cli.commands.compare_weighters import check_gates, compare_weighters
from deepchest_cli.comparison.analysis.results import same_results
from deepchest_cli.comparison.running.comparison import compared
from deepchest_cli.comparison.running.fairness import common_starts
from deepchest_cli.comparison.running.folder import opened, widened
from deepchest_cli.config import CompareConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.errors import DeepChestError, GateError, InterruptedRunError
from deepchest_cli.interruption import InterruptionError
from deepchest_cli.terminal import Terminal
from deepchest_cli.training import precision
from deepchest_cli.training.components import build_components

QUICK = (
    "--backbone", "small_cnn", "--batch-size", "16", "--epochs", "1", "--learning-rate", "1e-3",
    "--bootstrap-replicates", "100", "--cost-rounds", "2",
)  # fmt: skip
ARMS = "equal,deepchest,uncertainty,deepchest+uncertainty"


def run(deepchest, shards, out, *more, arms=ARMS, seeds=3):
    return deepchest(
        "compare-weighters", "--data", shards, "--out", out, "--weighters", arms,
        "--seeds", seeds, *replaced(QUICK, more),
    )  # fmt: skip


def config_of(shards, **more):
    """Return what `run` asks for."""
    return CompareConfig(
        data=shards, weighters=ARMS, backbone="small_cnn", batch_size=16, epochs=1,
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


def test_a_comparison_leaves_what_it_promises(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.toml", "environment.json", "results.json", "report.html", "costs.json", "runs",
        "quality.csv", "differences.csv", "findings.csv", "finding-differences.csv", "costs.csv",
        "weights.csv", "differences.png", "findings.png", "cost.png", "weights.png",
    }  # fmt: skip
    results = results_in(folder)
    assert list(results["weighters"]) == ARMS.split(",")
    assert len(results["claims"]) == 5
    row = results["weighters"]["deepchest"]["differences"]["macro_auroc"]
    assert row["low"] <= row["estimate"] <= row["high"]
    by_seed = [results["weighters"][n]["quality"]["macro_auroc"] for n in ("deepchest", "equal")]
    assert row["estimate"] == pytest.approx(by_seed[0]["mean"] - by_seed[1]["mean"])
    assert not list(folder.rglob("last.pt"))


def test_the_report_needs_no_network_and_names_every_weighter(folder):
    page = unescape((folder / "report.html").read_text())
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "src=" in page
    assert page.count("src=") == page.count('src="data:image/svg+xml;base64,')
    assert all(f"<td>{label}</td>" in page for label in ARMS.split(","))
    assert all(sentence in page for sentence in results_in(folder)["summary"])


def test_all_weighters_of_a_seed_began_alike_and_saw_the_same(folder):
    results = results_in(folder)
    starts = results["starts"]
    assert [start["runs"] for start in starts] == [4, 4, 4]
    for kind in ("initial_weights", "batches"):
        hashes = [
            {run[kind] for entry in results["weighters"].values() for run in entry["runs"]
             if run["seed"] == seed}
            for seed in range(3)
        ]  # fmt: skip
        assert [len(found) for found in hashes] == [1, 1, 1]
        assert len(set.union(*hashes)) == 3


def test_the_same_comparison_gives_the_same_results(folder, deepchest, shards, tmp_path):
    outcome = run(deepchest, shards, tmp_path / "again", "--json")
    assert outcome.code == 0
    assert same_results(valid(json.loads(outcome.out), "compare-weighters"), results_in(folder))


def test_going_on_trains_only_what_is_new(folder, deepchest, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "c")
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("run.json")}
    # of a process that was killed when a run's record was there and its state not yet removed
    (next(iter(before)).parent / "last.pt").touch()
    outcome = deepchest("compare-weighters", "--resume", copy, "--weighters", "dwa", "--seeds", 1)
    assert outcome.code == 0
    assert "run 15/15  dwa, seed 2" in outcome.err
    assert "equal, seed" not in outcome.err
    after = {path: path.stat().st_mtime_ns for path in copy.rglob("run.json")}
    assert before.items() <= after.items()
    assert len(after) == 15
    assert not list(copy.rglob("last.pt"))
    old, new = results_in(folder), results_in(copy)
    assert new["weighters"]["deepchest"]["quality"] == old["weighters"]["deepchest"]["quality"]
    assert list(new["weighters"]) == [*ARMS.split(","), "dwa"]  # nothing is dropped
    assert [len(look["weighters"]) for look in new["design"]["looks"]] == [4, 5]
    assert "added after results had been seen, 1 time" in outcome.out


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


def test_an_interrupted_comparison_goes_on_to_the_same_results(folder, deepchest, shards, tmp_path):
    out = tmp_path / "c"
    config = config_of(shards, out=out)
    with (
        pytest.raises(InterruptedRunError) as info,
        compared(config, StopAt(5.3), lambda *_: None),
    ):
        pass
    assert info.value.hint == f"Go on with: deepchest compare-weighters --resume {out}"
    assert len(list(out.rglob("run.json"))) == 5
    assert not list(out.rglob("test.npz"))  # the test part waits for the end
    (under_way,) = out.rglob("last.pt")
    (under_way.parent / ".last.pt.1.tmp").touch()  # of a process that was killed while writing
    assert deepchest("compare-weighters", "--resume", out).code == 0
    assert same_results(results_in(out), results_in(folder))
    assert not list(out.rglob(".*.tmp"))


def test_a_comparison_killed_again_and_again_ends_as_an_undisturbed_one(
    deepchest, shards, tmp_path
):
    line = ("--weighters", "deepchest", "--seeds", 1, *QUICK, "--resume", "auto", "--out")
    line = ("compare-weighters", "--data", shards, *line)
    undisturbed = deepchest(*line, tmp_path / "undisturbed")
    assert undisturbed.code == 0, undisturbed.err
    out, kills = tmp_path / "killed", 0
    for write in range(8, 100, 4):  # more and more: what is only drawn begins anew each time
        try:
            with killed_at(write):
                ended = deepchest(*line, out)
            break
        except KilledError:
            kills += 1
    assert ended.code == 0
    assert kills >= 3
    assert_equal_comparisons(out, tmp_path / "undisturbed")
    assert same_results(results_in(out), results_in(tmp_path / "undisturbed"))
    assert not list(out.rglob(".*"))
    copy = shutil.copytree(shards, tmp_path / "moved")
    again = deepchest(*(copy if word is shards else word for word in line), out, "--json")
    assert again.code == 0
    assert f"{out} has finished: nothing is left to train." in again.err
    assert json.loads(again.out)["data"]["folder"] == str(copy)


@pytest.mark.usefixtures("signals_arrive")
def test_a_signal_when_a_run_has_nothing_left_to_save_is_not_lost(shards, tmp_path):
    class StopAfter(StopAt):
        def on_run(self, job, record, done, total):
            if done == self.progress:
                signal.raise_signal(signal.SIGUSR2)

    out = tmp_path / "c"
    config = replace(config_of(shards, out=out), weighters="dwa", seeds=1)
    for done in (1, 2):  # there is another run, and there is none
        with (
            pytest.raises(InterruptedRunError) as info,
            compared(config, StopAfter(done), lambda *_: None),
        ):
            pass
        assert info.value.exit_code == 128 + signal.SIGUSR2
        assert len(list(out.rglob("run.json"))) == done
        assert not list(out.rglob("last.pt"))
        config = widened(replace(config, out=None, resume=out))


@pytest.mark.parametrize(
    ("interruption", "code"), [(KeyboardInterrupt(), 130), (InterruptionError(129), 129)]
)
def test_an_interruption_after_training_says_how_to_go_on(shards, tmp_path, interruption, code):
    out = tmp_path / "a name with spaces"
    with pytest.raises(InterruptedRunError) as info, opened(config_of(shards, out=out)):
        raise interruption
    assert info.value.hint.endswith(f"--resume '{out}'")
    assert info.value.exit_code == code


def test_a_lost_checkpoint_names_the_run_to_begin_again(folder, deepchest, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "c")
    lost = copy / "runs" / "deepchest" / "seed-1"
    (lost / "run.json").unlink()  # its last.pt was used up when it finished
    outcome = deepchest("compare-weighters", "--resume", copy)
    assert outcome.code == 2
    assert f"Remove the folder {lost} and go on with --resume" in outcome.err


def test_another_configuration_is_refused(folder, deepchest):
    outcome = deepchest("compare-weighters", "--resume", folder, "--epochs", 3)
    assert outcome.code == 2
    assert "--epochs is 3" in outcome.err


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


def test_other_weights_or_batches_are_found_out(folder, shards):
    class Nobody(StopAt):
        def on_progress(self, done, total):
            pass

    config = widened(config_of(shards, resume=folder))
    with compared(config, Nobody(0), lambda *_: None) as found:
        jobs, records = zip(*found.runs, strict=True)
    found_out = {
        "other weights or saw other batches": ({"initial_weights": "0"}, {"batches": ("0" * 64,)}),
        "was computed on": ({"precision": "fp16"}, {"device": "cuda"}),
    }
    for words, changes in found_out.items():
        for change in changes:
            changed = [*records[:1], replace(records[1], **change), *records[2:]]
            with pytest.raises(DeepChestError, match=words):
                common_starts(jobs, changed)


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
def test_damaged_files_of_a_run_are_named(folder, deepchest, tmp_path, name, content):
    copy = shutil.copytree(folder, tmp_path / "c")
    place = copy / "runs" / "deepchest" / "seed-1"
    (place / name).write_bytes(content)
    outcome = deepchest("compare-weighters", "--resume", copy)
    assert outcome.code == 1
    assert f"{place / name} is damaged" in outcome.err
    assert "go on with --resume" in outcome.err


@pytest.mark.parametrize("name", ["results.json", "costs.json"])
def test_what_can_be_made_again_is(folder, deepchest, tmp_path, name):
    copy = shutil.copytree(folder, tmp_path / "c")
    for content in ("", "{}"):
        (copy / name).write_text(content)
        assert deepchest("compare-weighters", "--resume", copy).code == 0
        assert same_results(results_in(copy), results_in(folder))


def test_a_fold_that_cannot_be_trained_on_is_refused_at_the_start(deepchest, shards, tmp_path):
    outcome = run(deepchest, shards, tmp_path / "c", "--folds", 2, "--batch-size", 500)
    assert outcome.code == 2
    assert "Fold 1 of 2: --batch-size 500" in outcome.err
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
    assert statuses == ["compared", "compared", "diverged"]
    assert "is not finite" in results["weighters"][WILD]["runs"][0]["error"]


def test_only_when_all_diverge_the_command_fails(deepchest, shards, tmp_path):
    wild = ("--optimizer", "sgd", "--learning-rate", "1e9")
    outcome = run(deepchest, shards, tmp_path / "c", *wild, arms="deepchest", seeds=1)
    assert outcome.code == 1
    assert "No weighter has finished all its runs" in outcome.err


def test_one_seed_has_no_test_and_says_why(deepchest, shards, tmp_path):
    outcome = run(deepchest, shards, tmp_path / "c", arms="deepchest", seeds=1)
    assert outcome.code == 0
    assert "too few seeds for a test, which takes 3 or more" in outcome.out
    row = results_in(tmp_path / "c")["weighters"]["deepchest"]["differences"]["macro_auroc"]
    assert (row["p"], row["low"], row["verdict"]) == (None, None, "inconclusive")


@pytest.mark.parametrize(
    ("label", "estimate", "met"),
    [
        ("uncertainty", 0.01, True),
        ("uncertainty", -0.0049, True),
        ("uncertainty", -0.0051, False),
        ("uncertainty", float("nan"), False),
        ("equal", None, True),
    ],
)
def test_a_gate_is_how_much_worse_a_weighter_may_be(label, estimate, met):
    rows = None if estimate is None else {"macro_auroc": {"estimate": estimate}}
    results = {"weighters": {label: {"differences": rows}}, "design": {"baseline": "equal"}}
    config = CompareConfig(fail_if_inferior=(label,), margin=0.005)
    if met:
        check_gates(results, config)
    else:
        with pytest.raises(GateError, match=f"quality gate was not met.*{label}"):
            check_gates(results, config)


def test_a_gate_ends_a_comparison_with_its_own_code(folder, deepchest):
    estimates = {
        label: entry["differences"]["macro_auroc"]["estimate"]
        for label, entry in results_in(folder)["weighters"].items()
        if entry["differences"]
    }
    label = min(estimates, key=estimates.__getitem__)
    flags = ("--resume", folder, "--fail-if-inferior", label, "--margin", 0)
    outcome = deepchest("compare-weighters", *flags)
    assert outcome.code == (3 if estimates[label] < 0 else 0)
    assert ("quality gate" in outcome.err) is (estimates[label] < 0)


@pytest.mark.parametrize(
    "gate",
    [("dwa",), ("deepchest=0.1",), ("deepchest", "--margin", "-1"), ("equal", "--margin", "nan")],
)
def test_a_gate_that_cannot_be_met_or_missed_is_refused(folder, deepchest, gate):
    assert deepchest("compare-weighters", "--resume", folder, "--fail-if-inferior", *gate).code == 2


def test_folds_score_every_radiograph_once(deepchest, shards, tmp_path):
    arms = "deepchest,uncertainty"
    more = ("--folds", 3, "--first-seed", 7)
    outcome = run(deepchest, shards, tmp_path / "c", *more, arms=arms, seeds=1)
    assert outcome.code == 0
    dataset, tested = open_dataset(shards), []
    for fold in (1, 2, 3):
        name = f"seed-7-fold-{fold}"
        rows = {
            tuple(np.load(tmp_path / "c" / "runs" / arm / name / "test.npz")["rows"])
            for arm in ("equal", "deepchest", "uncertainty")
        }
        assert len(rows) == 1  # the same folds for all
        tested.append(dataset.columns["patient_id"][list(rows.pop())])
    assert sum(map(len, tested)) == len(dataset.labels)
    assert len(set.union(*map(set, tested))) == sum(len(set(patients)) for patients in tested)
    results = results_in(tmp_path / "c")
    assert results["data"]["tested_images"] == len(dataset.labels)
    assert results["design"]["seeds"] == [7]
    assert "scored by as many models as there are folds" in (tmp_path / "c/report.html").read_text()


def test_rates_are_chosen_on_validation_from_one_grid(deepchest, shards, tmp_path):
    out = tmp_path / "c"
    assert run(deepchest, shards, out, "--tune-learning-rate", arms="dwa", seeds=1).code == 0
    design = results_in(out)["design"]
    assert len(design["tuning"]) == 6
    for label in ("equal", "dwa"):
        tried = [row for row in design["tuning"] if row["weighter"] == label]
        assert [row["learning_rate"] for row in tried] == pytest.approx([1e-3 / 3, 1e-3, 3e-3])
        best = max(row["validation"] for row in tried)
        chosen = [r for r in tried if r["learning_rate"] == design["learning_rates"][label]]
        assert chosen[0]["validation"] == best


def test_single_task_models_are_the_base_of_delta_m(deepchest, shards, tmp_path):
    out = tmp_path / "c"
    assert run(deepchest, shards, out, "--single-task", arms="dwa", seeds=1).code == 0
    results = results_in(out)
    found = results["weighters"]["dwa"]["delta_m"]
    assert len(list((out / "single-task").iterdir())) == 14
    defined = [value for value in found["findings"].values() if value is not None]
    assert found["mean"] == pytest.approx(np.mean(defined))
    assert found["worst"]["change"] == min(defined)


def test_runs_side_by_side_give_the_same(folder, deepchest, shards, tmp_path):
    outcome = run(deepchest, shards, tmp_path / "c", "--devices", "cpu,cpu", seeds=1)
    assert outcome.code == 0
    alone, beside = (
        results_in(place)["weighters"]["deepchest"]["quality"]["macro_auroc"]["by_seed"][0]
        for place in (folder, tmp_path / "c")
    )
    assert beside == pytest.approx(alone, abs=0.02)  # by other numbers of threads


@pytest.mark.usefixtures("signals_arrive")
def test_an_interruption_ends_all_that_works_side_by_side(shards, tmp_path):
    out = tmp_path / "c"
    words = ("--devices", "cpu,cpu", "--seeds", "1", "--epochs", "500", "--patience", "0")
    process = subprocess.Popen(
        [sys.executable, "-m", "deepchest_cli", "compare-weighters", "--data", shards, "--out", out,
         "--weighters", "dwa", *replaced(QUICK, words)],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    begun = [out / "runs" / name / "seed-0" / "metrics.csv" for name in ("equal", "dwa")]
    try:
        wait_until(lambda: all(path.is_file() for path in begun), process)
        os.killpg(process.pid, signal.SIGUSR1)  # as a batch system warns: all processes
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGUSR1
    assert f"deepchest compare-weighters --resume {out}" in said
    assert "Traceback" not in said
    assert len(list(out.rglob("last.pt"))) == 2  # both can go on
    assert not list(out.rglob("run.json"))


def wait_until(condition, process):
    """Wait for a process to do something; it must not end before."""
    deadline = time.monotonic() + 90
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)


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
    assert results["weighters"]["dwa"]["runs"][0]["error"] == "out of memory"
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
    assert {len(cost["seconds"]) for t in tables for cost in t["costs"].values()} == {2}


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
    mine = next(r for r in rows if (r["weighter"], r["quantity"]) == ("uncertainty", "macro_loss"))
    assert float(mine["estimate"]) == found["estimate"]
