import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from site_data import prepare_site, write_site
from tests_support import replaced, rows_of, untimed, valid

from deepchest_cli.config import TrainConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.training import precision
from deepchest_cli.training.components import build_components
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.run_directory import create_run

QUICK = (
    "--backbone", "small_cnn", "--batch-size", 16, "--learning-rate", 1e-3, "--epochs", 2,
    "--precision", "fp32",  # measurements of a busy machine may say another from time to time
)  # fmt: skip
STEPS = 3  # of an epoch


@pytest.fixture(scope="module")
def finished(shards, tmp_path_factory):
    """The folder of a run with the flags QUICK; not to be changed."""
    settings = {"backbone": "small_cnn", "batch_size": 16, "learning_rate": 1e-3, "epochs": 2}
    settings |= {"precision": "fp32"}
    config = TrainConfig(
        data=(str(shards),), out=tmp_path_factory.mktemp("runs") / "run", **settings
    )
    components = build_components(config)
    Trainer(components, create_run(components.config)).fit()
    return config.out


def test_results_on_stdout_and_one_plain_line_an_epoch_on_stderr(deepchest, shards, tmp_path):
    outcome = deepchest("train", "--data", shards, "--out", tmp_path / "run", *QUICK)
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[0] == str(tmp_path / "run")
    assert sum(line.startswith("epoch ") for line in outcome.err.splitlines()) == 2
    assert "\x1b" not in outcome.err


def test_json_and_quiet(deepchest, shards, tmp_path):
    arguments = ("--out", tmp_path / "run", *QUICK, "--json", "--quiet")
    outcome = deepchest("train", "--data", shards, *arguments)
    assert valid(json.loads(outcome.out), "train")["epochs"] == 2
    assert outcome.err == ""


def test_a_runs_own_configuration_repeats_it(deepchest, shards, tmp_path, finished):
    config = finished / "config.toml"
    repeated = deepchest("train", "--config", config, "--out", tmp_path / "again")
    assert repeated.code == 0, repeated.err
    assert untimed(tmp_path / "again" / "metrics.csv") == untimed(finished / "metrics.csv")


def test_weighter_options_arrive(deepchest, shards, tmp_path):
    options = ("--weighter-option", "decay=2", "--weighter-option", "raise-factor=1.3")
    outcome = deepchest("train", "--data", shards, "--out", tmp_path / "run", *QUICK, *options)
    assert outcome.code == 0, outcome.err
    last = untimed(tmp_path / "run" / "weights.csv")[-1]
    assert {float(value) for key, value in last.items() if key != "epoch"} <= {1.3, 0.5}


def test_cuda_without_a_gpu_is_an_error(deepchest, shards, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    outcome = deepchest("train", "--data", shards, "--device", "cuda", "--weighter", "deepchest")
    assert outcome.code == 2
    assert "--device auto" in outcome.err


def test_resume_refuses_what_contradicts_the_run(deepchest, finished, tmp_path):
    contradiction = deepchest("train", "--resume", finished, "--batch-size", 8)
    assert contradiction.code == 2
    assert "--batch-size is 8" in contradiction.err
    equal_to_the_default = deepchest("train", "--resume", finished, "--batch-size", 32)
    assert "--batch-size is 32" in equal_to_the_default.err
    assert deepchest("train", "--resume", tmp_path).code == 2


def test_resume_refuses_changed_data(deepchest, finished, tmp_path, nih_folder):
    prepare = ("prepare", "--source", nih_folder, "--data", tmp_path / "other", "--size", 32)
    assert deepchest(*prepare, "--seed", 7).code == 0
    run = tmp_path / "run"
    run.mkdir()
    (run / "last.pt").write_bytes((finished / "last.pt").read_bytes())
    lines = (finished / "config.toml").read_text().splitlines()
    (run / "config.toml").write_text(
        "\n".join([f'data = "{tmp_path / "other"}"', *(x for x in lines if x[:5] != "data ")])
    )
    outcome = deepchest("train", "--resume", run)
    assert outcome.code == 2
    assert "have changed" in outcome.err


def test_a_finished_run_resumes_to_its_summary(deepchest, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    outcome = deepchest("train", "--resume", run)
    assert outcome.code == 0, outcome.err
    assert "2 epochs" in outcome.out
    assert (run / "metrics.csv").read_bytes() == (finished / "metrics.csv").read_bytes()
    assert {path.name for path in run.glob("*.png")} == {"metrics.png", "weights.png"}


def test_one_line_begins_a_run_goes_on_with_it_and_finds_it_finished(
    deepchest, shards, tmp_path, finished, monkeypatch
):
    monkeypatch.setattr(precision, "measure_rates", lambda *_: precision.Rates(2.0, 1.0))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = tmp_path / "run"
    run.mkdir()  # as a process leaves it that is killed as it begins
    (run / "environment.json").write_text("{}")
    line = (
        "train",
        "--data",
        shards,
        *replaced(QUICK, ("--precision", "auto")),
        "--recipe",
        "default",
    )
    line = (*line, "--resume", "auto", "--out", run)
    begun = deepchest(*line)
    assert begun.code == 0, begun.err
    assert "Resumed" not in begun.err
    assert untimed(run / "metrics.csv") == untimed(finished / "metrics.csv")
    again = deepchest(*line)
    assert (again.code, again.out) == (0, begun.out)
    assert f"{run} has finished: nothing is left to train." in again.err
    assert deepchest("train", "--resume", "auto", "--out", run).out == begun.out
    for change in (("--epochs", 3), ("--recipe", "paper"), ("--data", tmp_path)):
        assert deepchest(*line[:1], *line[5:], *change).code == 2


def test_auto_needs_a_folder_that_is_its_own(deepchest, shards, finished, tmp_path):
    without = deepchest("train", "--resume", "auto")
    assert without.code == 2
    assert "--resume auto --out FOLDER" in without.err
    (tmp_path / "notes.txt").touch()
    strange = deepchest("train", "--data", shards, *QUICK, "--resume", "auto", "--out", tmp_path)
    assert strange.code == 2
    assert "holds other files (notes.txt)" in strange.err
    both = deepchest("train", "--resume", finished, "--out", tmp_path / "other")
    assert both.code == 2
    assert "--out names" in both.err


def test_data_that_moved_are_named_anew(deepchest, shards, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = shutil.copytree(finished, tmp_path / "run")
    text = (run / "config.toml").read_text().replace(str(shards), "data/mine")
    (run / "config.toml").write_text(text)
    lost = deepchest("train", "--resume", "run")
    assert lost.code == 2
    assert (
        f"data/mine is not a prepared data set: it has no manifest.json (the working directory "
        f"is {tmp_path})" in lost.err
    )
    assert "deepchest train --resume run --data FOLDER" in lost.err
    found = deepchest("train", "--resume", "run", "--data", shards)
    assert found.code == 0, found.err
    assert (run / "config.toml").read_bytes() == (finished / "config.toml").read_bytes()
    (run / "last.pt").unlink()  # with what the data could be compared
    assert deepchest("train", "--resume", "run", "--data", tmp_path).code == 2


# `deepchest` that receives a signal after a step of the run: SIGNAL STEP ARGUMENTS
SIGNALED = """
import itertools, signal, sys
from deepchest_cli.app import main
from deepchest_cli.training.step import TrainingStep
number, last = int(sys.argv.pop(1)), int(sys.argv.pop(1))
steps, take = itertools.count(1), TrainingStep.__call__
def step(self, *arguments, **options):
    taken = take(self, *arguments, **options)
    if next(steps) == last:
        signal.raise_signal(number)
    return taken
TrainingStep.__call__ = step
main()
"""


@pytest.mark.usefixtures("signals_arrive")
@pytest.mark.parametrize(
    # a killed process has nothing but what it saved before, at the end of an epoch
    ("number", "step", "code", "saved"),
    [(signal.SIGHUP, 2, 129, 2), (signal.SIGKILL, STEPS + 1, -signal.SIGKILL, STEPS)],
    ids=["hung up", "killed"],
)
def test_an_interrupted_process_goes_on(
    deepchest, shards, tmp_path, finished, monkeypatch, number, step, code, saved
):
    run = tmp_path / "run"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    line = (SIGNALED, int(number), step, "train", "--data", shards, "--out", run, *QUICK)
    done = subprocess.run(
        [sys.executable, "-c", *map(str, line)], capture_output=True, text=True, check=False
    )
    error = done.stderr
    assert done.returncode == code, error
    assert (f"deepchest train --resume {run}" in error) == (code != -signal.SIGKILL)
    resumed = deepchest("train", "--resume", run)
    assert resumed.code == 0, resumed.err
    assert f"Resumed after step {saved}." in resumed.err, resumed.err
    for table in ("metrics.csv", "weights.csv"):
        assert untimed(run / table) == untimed(finished / table)


def test_a_run_that_lost_its_state_is_not_begun_anew(deepchest, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "last.pt").unlink()
    before = (run / "best.pt").read_bytes()
    outcome = deepchest("train", "--resume", run)
    assert outcome.code == 2
    assert "lost its last.pt" in outcome.err
    assert (run / "best.pt").read_bytes() == before


def test_a_state_of_another_model_is_refused(deepchest, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    text = (run / "config.toml").read_text().replace("small_cnn", "mobilenet_v2")
    (run / "config.toml").write_text(text)
    outcome = deepchest("train", "--resume", run)
    assert outcome.code == 2
    assert "holds another model" in outcome.err


def test_data_without_a_validation_part_are_refused(deepchest, nih_folder, tmp_path):
    arguments = ("--source", nih_folder, "--data", tmp_path / "s", "--size", 32)
    assert deepchest("prepare", *arguments, "--validation-fraction", 0).code == 0
    outcome = deepchest("train", "--data", tmp_path / "s", "--out", tmp_path / "run", *QUICK)
    assert outcome.code == 2
    assert "no labeled validation split" in outcome.err
    assert "--validation-fraction 0.1" in outcome.err
    assert not (tmp_path / "run").exists()


def test_a_folder_called_latest_is_warned_of_and_the_run_goes_on(
    deepchest, shards, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("runs/latest").mkdir(parents=True)
    quick = ("--backbone", "small_cnn", "--max-steps", 2, "--quiet")
    outcome = deepchest("train", "--data", shards, *quick)
    assert outcome.code == 0
    run = outcome.out.splitlines()[0]
    assert outcome.err.startswith("Warning: runs/latest is a folder and not a link")
    assert f"--model {run}" in outcome.err
    evaluated = deepchest("evaluate", "--data", shards)
    assert evaluated.code == 2
    assert f"Name another run or checkpoint: --model {run}" in evaluated.err


def test_verbose_says_more_and_quiet_nothing(deepchest, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    plain, verbose, quiet = (
        deepchest("train", "--resume", run, *flags) for flags in ((), ("--verbose",), ("--quiet",))
    )
    assert plain.out == verbose.out == quiet.out != ""
    assert set(plain.err.splitlines()) < set(verbose.err.splitlines())
    assert "validation radiographs" in verbose.err
    assert plain.err
    assert quiet.err == ""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Another site's radiographs at 48 px, with four findings, of which one is new."""
    folder = tmp_path_factory.mktemp("site")
    written = write_site(folder / "images-and-labels", patients=60)
    return prepare_site(written, folder / "site", size=48)


def test_a_run_on_two_data_sets_says_what_they_are_and_how_well_each_does(
    deepchest, shards, site, tmp_path, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    data = ("--data", shards, "--data", site, "--tasks", "finding-by-source")
    sampling = ("--source-sampling", "balanced")
    run = tmp_path / "run"
    outcome = deepchest("train", *data, *sampling, "--out", run, *QUICK)
    assert outcome.code == 0, outcome.err
    splits = open_dataset(site).columns["split"].tolist()
    training, validation = splits.count("train"), splits.count("validation")
    said = " ".join(outcome.err.split())
    assert (
        f" site: {training} training and {validation} validation radiographs, 4 findings, "
        "resized from 48 px " in said
    )
    name = shards.name
    images = training + open_dataset(shards).columns["split"].tolist().count("train")
    half = -(-images // 2)
    assert f" Radiographs in an epoch: {half} of {name}, {images - half} of site " in said
    assert " 18 tasks: finding by source " in said
    assert said.count(f" AUROC: {name} 0.") == 2
    path, summary, _, head, *_ = outcome.out.splitlines()
    assert path == str(run)
    assert "validation AUROC, mean of 2 data sets 0." in summary
    columns = ("Data set", "training images", "validation images", "findings", "AUROC")
    assert head.split() == " ".join(columns).split()
    rows = {row.split()[0]: row.split()[1:] for row in outcome.out.splitlines()[4:] if row}
    assert rows["site"][:3] == [str(training), str(validation), "4"]
    assert rows["Fracture"][0] == rows["Edema"][1] == "–"
    assert {len(rows[finding]) for finding in ("Effusion", "Mass", "Nodule")} == {2}
    assert max(map(len, outcome.out.splitlines()[1:])) <= 80
    best = {row["source"]: row for row in rows_of(run / "metrics.csv") if row["best"] == "1"}
    assert rows["site"][3] == f"{float(best['site']['validation_auroc']):.3f}"
    assert rows["Mass"][1] == f"{float(best['site']['validation_auroc/Mass']):.3f}"
    assert {p.name for p in run.glob("*.png")} == {"metrics.png", "sources.png", "weights.png"}

    again = deepchest("train", "--config", run / "config.toml", "--out", tmp_path / "again")
    assert again.code == 0, again.err
    assert untimed(tmp_path / "again" / "metrics.csv") == untimed(run / "metrics.csv")
    finished = deepchest("train", "--resume", run, "--json", "--quiet")
    document = valid(json.loads(finished.out), "train")
    assert finished.err == ""
    assert [one["name"] for one in document["data_sets"]] == [name, "site"]
    assert document["data_sets"][1]["training_images"] == training
    assert set(document["data_sets"][1]["finding_auroc"]) == {
        *("Effusion", "Mass", "Nodule", "Fracture")
    }
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace(str(site), "lost"))
    lost = deepchest("train", "--resume", run)
    assert lost.code == 2
    assert f"--resume {run} --data FOLDER --data FOLDER" in " ".join(lost.err.split())


def test_images_in_both_data_sets_are_warned_of_once(deepchest, shards, nih_folder, tmp_path):
    labels = "image,patient_id,Effusion\n" + "".join(
        f"{path.name},{path.name[:8]},{number % 2}\n"
        for number, path in enumerate(sorted((nih_folder / "images").iterdir()))
    )
    (tmp_path / "labels.csv").write_text(labels)
    splits = open_dataset(shards).columns
    chosen = dict(zip(splits["image_index"], splits["split"], strict=True))
    (tmp_path / "splits.csv").write_text(
        "image,split\n" + "".join(f"{image},{split}\n" for image, split in chosen.items())
    )
    prepared = deepchest(
        *("prepare", "--source", nih_folder / "images", "--labels-csv", tmp_path / "labels.csv"),
        *("--data", tmp_path / "same", "--size", 32, "--split-scheme", tmp_path / "splits.csv"),
    )
    assert prepared.code == 0, prepared.err
    data = ("--data", shards, "--data", tmp_path / "same")
    outcome = deepchest("train", *data, "--out", tmp_path / "run", *QUICK)
    assert outcome.code == 0, outcome.err
    assert " ".join(outcome.err.split()).count("80 images are (by pixel hash) in both") == 1


def test_one_data_set_has_no_table_of_data_sets(deepchest, finished):
    outcome = deepchest("train", "--resume", finished)
    assert len(outcome.out.splitlines()) == 2
    assert "AUROC: " not in outcome.err
    document = json.loads(deepchest("train", "--resume", finished, "--json").out)
    (one,) = document["data_sets"]
    assert one["validation"]["auroc"] == document["best_score"]
    assert len(one["finding_auroc"]) == 14
    assert {row["source"] for row in rows_of(finished / "metrics.csv")} == {"all"}
