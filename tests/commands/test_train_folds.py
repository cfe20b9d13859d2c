"""`deepchest train --folds`, and what other commands make of its folder."""

import json
import re
import shutil

import pytest
from tests_support import valid

from deepchest_cli.config import TrainConfig, to_toml
from deepchest_cli.files import locked, write_json, write_text

SHORT = ("--backbone", "small_cnn", "--weights", "none", "--batch-size", 16, "--epochs", 1)
SHORT += ("--image-size", 28, "--precision", "fp32", "--folds", 2)


@pytest.fixture(autouse=True)
def quick_figures(no_rendering):
    """Draw figures, and render none."""


def test_the_summary_is_out_of_fold_and_evaluate_gives_it_again(deepchest, few_shards, tmp_path):
    run = tmp_path / "runs" / "run"
    told = deepchest("train", "--data", few_shards, "--out", run, *SHORT, "--json")
    document = valid(json.loads(told.out), "train-folds")
    evaluation = valid({"schema_version": 2, **document["evaluation"]}, "evaluate")
    assert [one["run"] for one in document["folds"]] == [f"{run}/fold-1", f"{run}/fold-2"]
    assert re.findall(r"^Fold \d of \d$", told.err, re.MULTILINE) == ["Fold 1 of 2", "Fold 2 of 2"]
    again = deepchest("evaluate", "--model", run, "--format", "json")
    assert json.loads(again.out) == evaluation

    shown = deepchest("train", "--resume", run)
    assert shown.out.splitlines()[0] == str(run)
    assert re.search(r"out-of-fold: 80 images of 40 patients, by the models of 2 folds", shown.out)
    assert "mean of folds" in shown.out
    assert "has finished: nothing is left to train" in shown.err
    assert "never on its test patients" in shown.err
    assert shown.err.endswith(f"deepchest evaluate --model {run}\n")

    report = tmp_path / "report"
    shown = deepchest(
        "evaluate", "--model", run, "--report", report, "--save-predictions", tmp_path / "p.csv"
    )
    assert shown.code == 0, shown.err
    assert "each image is scored by the model that has not seen its patient" in shown.out
    assert {"report.html", "model-card.md", "roc.png"} <= {path.name for path in report.iterdir()}
    assert "Out-of-fold predictions" in (report / "report.html").read_text()
    (entry,) = json.loads(deepchest("runs", tmp_path, "--json").out)["runs"]
    assert (entry["state"], entry["macro_auroc"]) == ("finished", evaluation["macro"]["auroc"])
    assert (entry["runs"]["finished"], entry["model"]) == (2, str(run))
    site = ("recalibrate", "--data", few_shards, "--out", tmp_path / "copy")
    for command in (("export",), site):
        refused = deepchest(*command, "--model", run)
        assert refused.code == 2
        assert f"{run} has 2 models, one for each fold" in refused.err


def test_a_linear_probe_has_folds_too(deepchest, few_shards, tmp_path):
    told = deepchest(
        "train", "--data", few_shards, "--out", tmp_path / "run", *SHORT, "--linear-probe"
    )
    assert told.code == 0, told.err
    assert "out-of-fold: 80 images" in told.out
    assert (tmp_path / "run" / "fold-2" / "learning_rates.csv").is_file()


def test_several_data_sets_are_folded_together(deepchest, few_shards, site_shards, tmp_path):
    run, data = tmp_path / "run", ("--data", few_shards, "--data", site_shards)
    told = deepchest("train", *data, "--out", run, *SHORT, "--keep", "last")
    assert told.code == 0, told.err
    assert "out-of-fold: 260 images" in told.out
    assert "The last epoch of each fold's model was kept" in told.err
    found = json.loads(deepchest("evaluate", "--model", run, "--format", "json").out)
    assert found["folds"]["number"] == 2
    assert sum(found["folds"]["units"]) == 260


@pytest.mark.parametrize("data", ["moved", "other"])
def test_data_that_lie_elsewhere_are_named_once(deepchest, few_shards, shards, tmp_path, data):
    run, first = tmp_path / "run", shutil.copytree(few_shards, tmp_path / "first")
    assert deepchest("train", "--data", first, "--out", run, *SHORT).code == 0
    first.rename(tmp_path / "moved")
    gone = deepchest("evaluate", "--model", run)
    assert gone.code == 2
    assert f"name them once: deepchest train --resume {run} --data FOLDER" in gone.err
    there = tmp_path / "moved" if data == "moved" else shards
    told = deepchest("train", "--resume", run, "--data", there)
    if data == "other":
        assert told.code == 2
        assert "have changed since the run" in told.err
        return
    assert told.code == 0, told.err
    assert deepchest("evaluate", "--model", run).code == 0


def write_folds(folder, done, folds=3, auroc=None):
    """Write a run with folds of which some are done, without training."""
    folder.mkdir(parents=True)
    write_json(folder / "environment.json", {"deepchest": "0.2.0"})
    write_text(folder / "config.toml", to_toml(TrainConfig(folds=folds, epochs=2)))
    for number in range(1, done + 1):
        (folder / f"fold-{number}").mkdir()
        for name in ("best.pt", "predictions.npz"):
            (folder / f"fold-{number}" / name).write_bytes(b"done")
    if auroc is not None:
        write_json(folder / "results.json", {"macro": {"auroc": auroc}})
    return folder


def test_runs_lists_a_run_with_folds_as_one(deepchest, tmp_path):
    write_folds(tmp_path / "begun", 1)
    write_folds(tmp_path / "ended", 3, auroc=0.625)
    broken = write_folds(tmp_path / "broken", 3, auroc=0.5)
    (broken / "results.json").write_text("{")
    lost = write_folds(tmp_path / "lost", 2)
    (lost / "fold-2" / "best.pt").unlink()
    with locked(write_folds(tmp_path / "works", 0)):
        found = valid(json.loads(deepchest("runs", tmp_path, "--json").out), "runs")["runs"]
        rows = deepchest("runs", tmp_path).out.splitlines()
    entries = {entry["path"].rsplit("/", 1)[-1]: entry for entry in found}
    states = {name: (e["state"], e["runs"]["finished"]) for name, e in entries.items()}
    assert states == {
        "begun": ("interrupted", 1), "ended": ("finished", 3), "broken": ("damaged", 3),
        "lost": ("damaged", 2), "works": ("running", 0),
    }  # fmt: skip
    assert entries["ended"]["macro_auroc"] == 0.625
    assert entries["begun"]["resume"] == f"deepchest train --resume {tmp_path / 'begun'}"
    assert entries["begun"]["model"] is None
    assert entries["lost"]["reason"] == "fold-2/best.pt is missing."
    (row,) = (row for row in rows if "begun" in row)
    assert "1/3 folds" in row
