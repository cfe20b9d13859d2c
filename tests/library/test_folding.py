"""A run with a model for each fold of the patients: its folder, its predictions, its resumption."""

import json
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from killing import KilledError, killed_at
from sklearn.metrics import roc_auc_score
from tests_support import untimed, valid

import deepchest_cli
from deepchest_cli.config import TrainConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.reader import ImageReader
from deepchest_cli.errors import InterruptedRunError, UsageError
from deepchest_cli.evaluation.fold_predictions import load_probabilities, predictions_of
from deepchest_cli.evaluation.predictions import predict_rows
from deepchest_cli.evaluation.validation_fit import fit_on_validation
from deepchest_cli.files import locked, to_json
from deepchest_cli.library.tracking import tracking
from deepchest_cli.model.checkpoint import find_checkpoint, load_model, read_checkpoint
from deepchest_cli.model.fold_runs import PREDICTIONS
from deepchest_cli.reporter import Recorder
from deepchest_cli.schemas import versioned
from deepchest_cli.training.progress import Observer
from deepchest_cli.training.tracking import observer
from deepchest_cli.training.tracking.base import Group
from deepchest_cli.training.tracking.observer import Tracking

FOLDS = 3
SHORT = {"backbone": "small_cnn", "epochs": 2, "batch_size": 16, "image_size": 28}
SHORT |= {"precision": "fp32", "weights": "none", "folds": FOLDS}


@pytest.fixture(scope="module")
def run(few_shards, tmp_path_factory):
    """A finished run with three folds; not to be changed."""
    return deepchest_cli.train(few_shards, out=tmp_path_factory.mktemp("runs") / "run", **SHORT)


def test_each_fold_is_a_run_and_each_image_has_the_score_of_its_own(run, few_shards):
    assert [one.folder.name for one in run.folds] == ["fold-1", "fold-2", "fold-3"]
    assert [len(one.history) for one in run.folds] == [2, 2, 2]
    assert run.history.index.names == ["fold", "epoch"]
    assert len(run.history) == 6
    dataset, table = open_dataset(few_shards), run.out_of_fold
    assert table["Image Index"].tolist() == dataset.columns["image_index"].tolist()
    assert (table.groupby("Patient ID")["fold"].nunique() == 1).all()
    for number, one in enumerate(run.folds, 1):
        view = dataset.folded(number - 1, FOLDS, 0)
        tested = table[table["fold"] == number]
        assert tested.index.tolist() == view.rows("test").tolist()
        settings = read_checkpoint(one.folder / "best.pt")["origin"]["data_sets"][0]["settings"]
        assert settings["split_scheme"] == f"fold {number} of 3, seed 0"


def test_the_scores_are_those_of_the_folds_models(run, few_shards):
    dataset, table = open_dataset(few_shards), run.out_of_fold
    for number, one in enumerate(run.folds, 1):
        view = dataset.folded(number - 1, FOLDS, 0)
        rows, model = view.rows("test"), load_model(one.folder, torch.device("cpu"))
        reader = ImageReader(view, torch.device("cpu"))
        expected = predict_rows(model.classifier, reader, rows, 64).probabilities
        found = table.loc[rows, list(model.classifier.architecture.findings)]
        np.testing.assert_array_equal(found, expected)


def test_the_auroc_ranks_images_within_their_fold(run):
    table = run.out_of_fold
    document = run.summary.evaluation
    for name in document["findings"]:
        above = pairs = 0.0
        for _, own in table.groupby("fold"):
            labels = own[f"{name}_label"]
            weight = labels.sum() * (len(own) - labels.sum())
            if weight:
                above += weight * roc_auc_score(labels, own[name])
                pairs += weight
        assert document["findings"][name]["auroc"] == pytest.approx(above / pairs, abs=1e-12)
    assert run.auroc == document["macro"]["auroc"]
    folds = document["folds"]
    assert (folds["number"], sum(folds["units"])) == (3, len(table))
    assert folds["macro"]["mean"] == pytest.approx(np.mean(folds["macro"]["auroc"]))
    assert folds["macro"]["sd"] == pytest.approx(np.std(folds["macro"]["auroc"], ddof=1))
    assert any("never on its test patients" in note for note in document["notes"])


def test_evaluation_by_the_folders_name_is_that_of_the_training(run):
    found = run.evaluate()
    text = (run.folder / "results.json").read_text()
    valid(json.loads(text), "evaluate")
    assert json.loads(to_json(versioned(found.document))) == json.loads(text)
    assert to_json(run.summary.evaluation) == to_json(found.document)
    columns = ["Image Index", "fold", "Effusion", "Mass_label"]
    assert found.predictions[columns].values.tolist() == run.out_of_fold[columns].values.tolist()
    assert found.macro["auroc"].item() == run.auroc
    by_patient = run.evaluate(unit="patient", bootstrap_replicates=20).document
    assert (by_patient["units"], sum(by_patient["folds"]["units"])) == (40, 40)


def test_thresholds_and_calibration_are_those_of_each_fold(run, few_shards):
    dataset, table = open_dataset(few_shards), run.out_of_fold
    fits = []
    for number, one in enumerate(run.folds):
        view = dataset.folded(number, FOLDS, 0)
        scores = load_probabilities(one.folder / PREDICTIONS, view, "", "validation")
        validation = predictions_of(view, view.rows("validation"), scores)
        fits.append(fit_on_validation(validation, "platt", view.sha256))
        stored = load_model(one.folder, torch.device("cpu")).validation_fit
        assert stored["images"] == len(scores)
        assert to_json(stored["findings"]) == to_json(fits[-1].to_plain()["findings"])
    found = run.evaluate(bootstrap_replicates=0).document["operating_points"]["findings"]
    for name, entry in found.items():
        each = np.array([fit.threshold(name, "youden") for fit in fits])
        if np.isnan(each).any():
            assert entry["youden"] is None
            assert entry["unavailable"]["youden"].startswith("fold ")
            continue
        positive = table[name] >= each[table["fold"] - 1]
        present = table[f"{name}_label"] == 1
        assert entry["youden"]["tp"] == (positive & present).sum()
        assert entry["youden"]["fp"] == (positive & ~present).sum()


def test_the_folders_name_is_an_ensemble_for_other_images(run, site_shards, few_shards, nih_folder):
    image, folders = nih_folder / "images" / "00000001_000.png", [one.folder for one in run.folds]
    whole, named = (deepchest_cli.predict(image, model) for model in (run.folder, folders))
    assert whole.probabilities.equals(named.probabilities)
    assert len(whole[0].models) == FOLDS
    assert run.model().predict(image)[0].probabilities == whole[0].probabilities
    with pytest.raises(UsageError, match="were trained on patients of") as refused:
        run.evaluate(data=few_shards)
    assert "Leave data out to score each image" in refused.value.hint
    assert f"deepchest evaluate --model {run.folder}." in refused.value.hint
    seen = run.evaluate(data=few_shards, allow_overlap=True, bootstrap_replicates=0)
    assert seen.document["overlap"]["training_images"] > 0


def test_what_is_about_one_model_names_one(run, few_shards, tmp_path):
    for refused in (
        lambda: deepchest_cli.train(few_shards, weights=run.folder, out=tmp_path / "r"),
        lambda: find_checkpoint(run.folder),
    ):
        with pytest.raises(UsageError, match="has 3 models, one for each fold") as error:
            refused()
        assert str(run.folder / "fold-1") in error.value.hint
    with pytest.raises(UsageError, match="Each fold has plots of its own"):
        run.plot()
    with pytest.raises(UsageError, match="is fold 2 of a run whose folds go on together") as error:
        deepchest_cli.train(resume=run.folder / "fold-2")
    assert error.value.hint == f"Resume with: deepchest train --resume {run.folder}"
    with pytest.raises(UsageError, match="^folds is 4, but"):
        deepchest_cli.train(resume=run.folder, folds=4)
    with pytest.raises(UsageError, match="^split train: of"):
        run.evaluate(split="train")
    with pytest.raises(UsageError, match="are scored by themselves"):
        deepchest_cli.evaluate([run.folder, run.folder / "fold-1"])
    with pytest.raises(UsageError, match="it was trained on patients whom folds of"):
        run.evaluate(compare_to=run.folder / "fold-1")


def test_two_runs_of_the_same_folds_are_compared_out_of_fold(run):
    found = run.evaluate(compare_to=run.folder, bootstrap_replicates=20)
    assert found.document["compared_to"]["macro"]["auroc"]["difference"] == 0


def test_a_file_of_out_of_fold_predictions_is_ranked_as_a_whole_and_says_so(run):
    table = run.folder / "out-of-fold.csv"
    found = deepchest_cli.evaluate(predictions=table, labels=table, bootstrap_replicates=0)
    assert list(found.document["findings"]) == ["Effusion", "Mass", "Nodule"]
    assert found.document["folds"] is None
    assert any("images of different folds are ranked together" in one for one in found.warnings)


def test_a_finished_run_trains_nothing(run):
    before = {path: path.stat().st_mtime_ns for path in run.folder.glob("fold-*/*")}
    again = deepchest_cli.train(resume=run.folder)
    assert f"{run.folder} has finished: nothing is left to train." in again.notes
    assert {path: path.stat().st_mtime_ns for path in run.folder.glob("fold-*/*")} == before
    assert to_json(again.summary.to_plain()) == to_json(run.summary.to_plain())


def test_a_run_shows_its_folds(run):
    assert "Evaluation on out-of-fold predictions:" in run.evaluate()._repr_html_()
    html = run._repr_html_()
    assert f"3 of 3 folds begun, out-of-fold AUROC {run.auroc:.4f}" in html


def assert_equal_folds(one, other):
    """Two finished runs hold the same models, predictions and tables."""
    for name in ("out-of-fold.csv", "config.toml", *(f"fold-{n}/best.pt" for n in (1, 2, 3))):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for number in range(1, FOLDS + 1):
        ours, theirs = (untimed(run / f"fold-{number}" / "metrics.csv") for run in (one, other))
        assert ours == theirs
    assert not list(one.rglob(".*"))


# in the first fold, and after its predictions; tests/slow has other writes
@pytest.mark.parametrize("write", [12, 22])
def test_a_run_killed_at_a_write_ends_as_an_undisturbed_one(run, few_shards, tmp_path, write):
    folder = tmp_path / "run"
    with pytest.raises(KilledError), killed_at(write):
        deepchest_cli.train(few_shards, out=folder, resume="auto", **SHORT)
    again = deepchest_cli.train(few_shards, out=folder, resume="auto", **SHORT)
    assert_equal_folds(folder, run.folder)
    assert again.auroc == run.auroc


class Interrupting(Observer):
    """Interrupts in the first step of the second run that it observes."""

    def __init__(self):
        self.steps = 0

    def on_step(self, report):
        self.steps += 1
        if self.steps == 5:
            signal.raise_signal(signal.SIGINT)


def test_an_interrupted_run_goes_on_in_its_fold(run, few_shards, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(InterruptedRunError) as interrupted:
        deepchest_cli.train(few_shards, out=folder, observers=[Interrupting()], **SHORT)
    assert interrupted.value.hint == f"Go on with: train(resume='{folder}')"
    there = deepchest_cli.load_run(folder)
    assert [len(one.history) for one in there.folds] == [2, 0]
    assert np.isnan(there.auroc)
    with pytest.raises(UsageError, match="1 of its 3 folds are done") as unfinished:
        there.out_of_fold  # noqa: B018
    assert unfinished.value.hint == f"Go on with: deepchest train --resume {folder}"
    with pytest.raises(UsageError, match="1 of its 3 folds are done"):
        there.evaluate()
    again = deepchest_cli.train(resume=folder)
    assert "Resumed after step 1." in again.notes
    assert_equal_folds(folder, run.folder)


def test_a_fold_that_has_lost_its_model_is_trained_again_as_the_error_says(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    (folder / "fold-2" / "best.pt").unlink()
    for function, given in (("evaluate", {"model": folder}), ("train", {"resume": folder})):
        with pytest.raises(UsageError, match=r"fold-2/best.pt is missing") as lost:
            getattr(deepchest_cli, function)(**given)
        assert f"Remove the folder {folder / 'fold-2'}, and train" in lost.value.hint
    shutil.rmtree(folder / "fold-2")
    deepchest_cli.train(resume=folder)
    assert_equal_folds(folder, run.folder)


def test_a_run_of_a_version_with_other_flags_is_scored_too(run, tmp_path):
    old = shutil.copytree(run.folder, tmp_path / "old")
    with (old / "config.toml").open("a") as file:
        file.write("tensorboard = false\n")
    found = deepchest_cli.evaluate(old, bootstrap_replicates=0)
    assert found.document["macro"]["auroc"] == run.auroc


def test_the_runs_of_folds_are_tracked_as_a_group(run, monkeypatch):
    seen = []

    class Seen(Tracking):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            seen.append((self.subject.name, self.subject.group))

        def open(self):
            """Open nothing."""

        def close(self, outcome):
            """Log nothing: the run is that of all tests."""

    monkeypatch.setattr(observer, "Tracking", Seen)
    config = TrainConfig(track=("tensorboard",))
    with tracking(replace(config, folds=3, fold=2), run.folder / "fold-2", Recorder()):
        pass
    with tracking(config, run.folder, Recorder()):
        pass
    assert seen == [("run, fold 2", Group("run")), ("run", None)]


def test_a_run_that_trains_is_not_begun_twice(few_shards, tmp_path, run):
    with locked(run.folder), pytest.raises(UsageError, match="is working in"):
        deepchest_cli.train(resume=run.folder)


def test_files_of_the_whole_run_that_are_gone_or_damaged_are_written_again(run, tmp_path):
    copy = deepchest_cli.load_run(shutil.copytree(run.folder, tmp_path / "copy"))
    (copy.folder / "out-of-fold.csv").unlink()
    (copy.folder / "results.json").write_text("{")
    assert np.isnan(copy.auroc)
    with pytest.raises(UsageError, match="out-of-fold.csv is missing") as raised:
        _ = copy.out_of_fold
    assert f"train(resume='{copy}')" in raised.value.hint
    again = deepchest_cli.train(resume=copy)
    assert again.auroc == run.auroc
    assert again.out_of_fold.equals(run.out_of_fold)


@pytest.mark.parametrize("folds", [10**9, 10**30])
def test_more_folds_than_images(few_shards, folds):
    with pytest.raises(UsageError, match="has fewer patients than folds"):
        deepchest_cli.train(few_shards, **SHORT | {"folds": folds})
