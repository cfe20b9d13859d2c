"""`evaluate --unit`: studies and patients, of models and of anyone's predictions."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from site_data import prepare_site, write_site
from sklearn.metrics import roc_auc_score
from tests_support import QUICK as TRAINING
from tests_support import rows_of, valid

from deepchest_cli.config import TrainConfig
from deepchest_cli.data.shards import MANIFEST, read_shard, write_shard
from deepchest_cli.data.splits import SPLITS
from deepchest_cli.evaluation.operating_points import choose_thresholds
from deepchest_cli.files import sha256_of, write_json

QUICK = ("--bootstrap-replicates", 20, "--batch-size", 20)
FINDINGS = ("Effusion", "Mass", "Nodule", "Fracture")
SECTIONS = ("findings", "macro", "operating_points", "calibration", "subgroups", "units", "images",
            "patients", "images_per_unit", "units_with_differing_labels")  # fmt: skip


def add_studies(site, prefix="A"):
    """Name studies of two images, frontal and lateral, and two studies a patient.

    In every third of them the first image is of no study, and is one of its own.
    """
    path = site / "labels.csv"
    table = pd.read_csv(path, dtype=str)
    for name in table["image"]:
        (site / "images" / name).rename(site / "images" / f"{prefix}{name}")
    table["image"] = prefix + table["image"]
    numbers = np.arange(len(table))
    table["View"] = np.array(["PA", "Lateral"])[numbers % 2]
    alone = numbers % 6 == 0
    table["study_id"] = np.where(alone, "", table["patient_id"] + "/1")
    table["patient_id"] = [f"{prefix}{number // 4}" for number in numbers]
    table.to_csv(path, index=False)
    return site


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Shards whose images are of studies of one or two images."""
    root = tmp_path_factory.mktemp("studies")
    return prepare_site(add_studies(write_site(root / "a", 120)), root / "shards", views="all")


@pytest.fixture(scope="module")
def model(studies, tmp_path_factory):
    from conftest import Recorder

    from deepchest_cli.training.components import build_components
    from deepchest_cli.training.loop import Trainer
    from deepchest_cli.training.run_directory import create_run

    config = TrainConfig(
        data=(str(studies),), out=tmp_path_factory.mktemp("runs") / "run", **TRAINING
    )
    Trainer(build_components(config), create_run(config), Recorder([], [], [])).fit()
    return config.out


@pytest.fixture
def evaluate(deepchest, model, studies):
    words = ("evaluate", "--model", model, "--data", studies, "--no-store", *QUICK)
    return lambda *more: deepchest(*words, *more)


def document_of(outcome, schema="evaluate"):
    assert outcome.code == 0, outcome.err
    return valid(json.loads(outcome.out), schema)


@pytest.fixture
def saved(evaluate, tmp_path):
    """The table of the test images and that of the validation images."""
    paths = tmp_path / "test.csv", tmp_path / "validation.csv"
    for split, path in zip(("test", "validation"), paths, strict=True):
        assert evaluate("--split", split, "--save-predictions", path).code == 0
    return paths


def means(path):
    """Return the mean scores, largest labels and patient of each study, sorted."""
    columns = dict.fromkeys(FINDINGS, "mean") | {"Patient ID": "first"}
    columns |= {f"{name}_label": "max" for name in FINDINGS}
    return pd.read_csv(path).groupby("Study").agg(columns).sort_index()


def test_studies_against_scikit_learn(evaluate, saved, model):
    before = (model / "best.pt").read_bytes()
    document = document_of(evaluate("--json", "--unit", "study"))
    test, validation = means(saved[0]), means(saved[1])
    images = document_of(evaluate("--json"))
    assert document["units"] == len(test) < document["images"] == images["images"]
    assert document["patients"] == images["patients"] < len(test)
    assert (images["unit"], images["units"]) == ("image", images["images"])
    for name in ("Effusion", "Mass"):
        auroc = roc_auc_score(test[f"{name}_label"], test[name])
        assert document["findings"][name]["auroc"] == pytest.approx(auroc, abs=1e-12)
        assert images["findings"][name]["auroc"] != pytest.approx(auroc, abs=1e-6)
        labels = validation[f"{name}_label"].to_numpy(np.uint8)
        numbers = validation["Patient ID"].to_numpy(np.int64)
        chosen = choose_thresholds(labels, validation[name].to_numpy(), numbers)["youden"]
        point = document["operating_points"]["findings"][name]["youden"]
        assert point["threshold"] == pytest.approx(chosen, abs=1e-12)
        assert point["tp"] == ((test[name] >= chosen) & (test[f"{name}_label"] == 1)).sum()
    note = document["validation_fit"]["note"]
    assert f"Chosen on validation ({len(validation)} studies of" in note
    assert document["validation_fit"]["images"] == len(pd.read_csv(saved[1]))
    assert (model / "best.pt").read_bytes() == before


def test_thresholds_of_studies_replace_none_of_images(deepchest, model, studies, tmp_path):
    """With --store, which is the default: what a checkpoint keeps is for images."""
    import shutil

    run = shutil.copytree(model, tmp_path / "run")
    before = (run / "best.pt").read_bytes()
    words = ("evaluate", "--model", run, "--data", studies, *QUICK)
    assert deepchest(*words, "--unit", "study").code == 0
    assert (run / "best.pt").read_bytes() == before
    assert "now stored" in document_of(deepchest(*words, "--json"))["validation_fit"]["note"]
    kept = (run / "best.pt").read_bytes()
    assert deepchest(*words, "--unit", "patient").code == 0
    assert (run / "best.pt").read_bytes() == kept


@pytest.mark.parametrize("unit", ["study", "patient"])
def test_a_saved_table_is_scored_to_the_same_figures(deepchest, evaluate, saved, tmp_path, unit):
    weights = ("--view-weight", "lateral=0.3", "--view-weight", "PA=2")
    words = ("--unit", unit, *weights, "--json", "--bootstrap-replicates", 20)
    direct = document_of(evaluate(*words, "--save-predictions", tmp_path / "again.csv"))
    assert (tmp_path / "again.csv").read_bytes() == saved[0].read_bytes()  # images in any case
    assert direct["view_weights"] == {"L": 0.3, "PA": 2}
    both = tmp_path / "labels.csv"
    pd.concat([pd.read_csv(path) for path in saved]).drop(columns="split").to_csv(both, index=False)
    files = ("--predictions", saved[0], "--validation", saved[1], "--labels", both)
    again = document_of(deepchest("evaluate", *files, *words))
    for section in SECTIONS:
        assert again[section] == direct[section], section
    assert (
        f"validation {'studies of' if unit == 'study' else 'patients with'}"
        in (again["validation_fit"]["note"])
    )


def test_the_studies_may_stand_in_the_predictions_alone(deepchest, saved, tmp_path):
    table = pd.read_csv(saved[0])
    table.drop(columns=["Study", "Patient ID"]).to_csv(tmp_path / "labels.csv", index=False)
    words = ("evaluate", "--labels", tmp_path / "labels.csv", "--unit", "study", *QUICK, "--json")
    outcome = deepchest(*words, "--predictions", saved[0])
    document = document_of(outcome)
    assert document["units"] == document["patients"] == table["Study"].nunique()
    assert "every study counts as a patient of its own" in outcome.err
    table.drop(columns="Study").to_csv(tmp_path / "none.csv", index=False)
    refused = deepchest(*words, "--predictions", tmp_path / "none.csv")
    assert refused.code == 2
    assert "which images belong to one study is not known" in refused.err


def test_images_of_a_study_without_a_prediction_are_named(deepchest, saved, tmp_path):
    table = pd.read_csv(saved[0])
    first = table.loc[table["Study"].duplicated(keep=False), "Study"].iloc[0]
    cut = table.drop(index=table.index[table["Study"] == first][0])
    cut.to_csv(tmp_path / "cut.csv", index=False)
    words = ("evaluate", "--labels", saved[0], "--unit", "study", *QUICK)
    outcome = deepchest(*words, "--predictions", tmp_path / "cut.csv")
    assert outcome.code == 0
    said = "1 study has labeled images that are not scored and are missing in the mean:"
    assert f"{said} {first}" in " ".join(outcome.err.split())


def test_a_study_of_two_patients_is_refused(deepchest, saved, tmp_path):
    table = pd.read_csv(saved[0])
    table["Study"] = table["Study"].str.rpartition("/")[2]
    table.to_csv(tmp_path / "p.csv", index=False)
    words = ("--predictions", tmp_path / "p.csv", "--labels", tmp_path / "p.csv", *QUICK)
    outcome = deepchest("evaluate", *words, "--unit", "study")
    assert outcome.code == 2
    assert "1 study has images of several patients: 1." in outcome.err
    assert "PATIENT/STUDY" in outcome.err
    assert deepchest("evaluate", *words, "--unit", "patient").code == 0


def test_the_other_model_is_compared_on_the_same_studies(evaluate, model, saved, tmp_path):
    words = ("--unit", "study", "--view-weight", "lateral=0.5", "--json")
    scores = pd.read_csv(saved[0])
    noise = np.random.default_rng(0)
    for name in FINDINGS:
        scores[name] = noise.random(len(scores))
    scores.to_csv(tmp_path / "noise.csv", index=False)
    other = document_of(evaluate(*words, "--compare-to", tmp_path / "noise.csv"))
    means_of_noise = scores.assign(weight=np.where(scores["View"] == "L", 0.5, 1.0))
    products = means_of_noise[list(FINDINGS)].mul(means_of_noise["weight"], axis=0)
    sums = products.assign(weight=means_of_noise["weight"]).groupby(scores["Study"]).sum()
    labels = scores.groupby("Study")["Mass_label"].max()
    auroc = roc_auc_score(labels, sums["Mass"] / sums["weight"])
    found = other["compared_to"]["findings"]["Mass"]["auroc"]["difference"]
    assert found == pytest.approx(other["findings"]["Mass"]["auroc"] - auroc, abs=1e-12)
    same = document_of(evaluate(*words, "--compare-to", model))
    assert same["compared_to"]["macro"]["auroc"]["difference"] == 0


def test_what_the_terminal_says(evaluate):
    outcome = evaluate("--unit", "study", "--view-weight", "lateral=0.5")
    said = " ".join(outcome.out.split())
    assert " studies of " in said and " images of " in said
    assert "weights of views: L 0.5, others 1" in said
    assert "chosen on validation studies" in said
    said = " ".join(evaluate("--unit", "patient").out.split())
    assert " patients with " in said


def test_the_report_is_about_studies(evaluate, tmp_path):
    folder = tmp_path / "report"
    assert evaluate("--unit", "study", "--report", folder).code == 0
    page = (folder / "report.html").read_text()
    assert "The score of a study is the mean over the probabilities of its images" in page
    assert "Not shown: a study has several images." in page
    assert "Boxes are those of single images" in page
    assert '<th scope="col">Studies</th>' in page
    assert not (folder / "errors.png").exists()
    assert " studies of " in (folder / "model-card.md").read_text()
    groups = rows_of(folder / "subgroups.csv")
    assert any(int(row["units"]) < int(row["images"]) for row in groups)
    document = json.loads((folder / "results.json").read_text())
    assert len(rows_of(folder / "predictions.csv")) == document["images"] > document["units"]


def test_gates_are_about_the_units(evaluate):
    value = document_of(evaluate("--json", "--unit", "study"))["macro"]["auroc"]
    assert evaluate("--unit", "study", "--fail-under", f"auroc={value - 1e-9}").code == 0
    assert evaluate("--unit", "study", "--fail-under", f"auroc={value + 1e-9}").code == 3
    images = document_of(evaluate("--json"))["macro"]["auroc"]
    assert abs(images - value) > 1e-6  # or the gate of either would be that of the other


def test_thresholds_of_studies_are_carried_to_other_data(evaluate, deepchest, model, tmp_path):
    site = add_studies(write_site(tmp_path / "b", 60, seed=9), "B")
    other = prepare_site(site, tmp_path / "other", views="all")
    words = ("--unit", "study", "--json")
    both = document_of(evaluate("--data", other, *words), "external-validation")
    first, second = both["external_validation"]["data_sets"]
    assert (first["unit"], second["unit"]) == ("study", "study")
    assert first["units"] < first["images"] and second["units"] < second["images"]
    points = [one["findings"]["Mass"]["operating_point"]["threshold"] for one in (first, second)]
    assert points[0] == points[1]
    report = tmp_path / "report"
    assert evaluate("--data", other, "--unit", "study", "--report", report).code == 0
    assert '<th scope="col">Studies</th>' in (report / "report.html").read_text()
    alone = deepchest("evaluate", "--model", model, "--data", other, *QUICK, *words)
    document = document_of(alone)
    assert document["operating_points"]["findings"] == {}
    note = document["validation_fit"]["note"]
    assert "chosen on images, not on studies" in note and "as the first --data" in note


def test_studies_of_single_images_are_said_to_be_images(deepchest, trained, shards):
    words = ("evaluate", "--model", trained, "--data", shards, "--no-store", *QUICK)
    words += ("--no-localization",)
    images = document_of(deepchest(*words, "--json"))
    outcome = deepchest(*words, "--json", "--unit", "study")
    studies = document_of(outcome)
    assert "Every study has a single image: --unit study gives the metrics of" in outcome.err
    assert studies["findings"] == images["findings"]
    assert studies["operating_points"] == images["operating_points"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--view-weight", "PA=1"), "--view-weight goes with --unit study or patient"),
        (("--unit", "study", "--view-weight", "AP=1"), "view of --view-weight: 'AP'"),
        (("--unit", "study", "--view-weight", "PA=-1"), "should be a number from 0"),
        (("--unit", "study", "--view-weight", "PA=0", "--view-weight", "L=0"), "of weight 0"),
        (("--unit", "study", "--medmnist", "out"), "--medmnist is about single images"),
        (("--unit", "study", "--reference", "chexnet"), "--reference is about single images"),
        (("--unit", "patient", "--expert-labels", "e.csv"), "--expert-labels is about single"),
        (("--unit", "series"), "series"),
    ],
)
def test_what_does_not_go_with_a_unit_is_refused(evaluate, tmp_path, monkeypatch, more, message):
    monkeypatch.chdir(tmp_path)
    outcome = evaluate(*more)
    assert outcome.code == 2
    assert message in " ".join(outcome.err.split())
    assert not list(tmp_path.iterdir())


def divide_studies(folder):
    """Put every image of a prepared data set into a split of its own, whatever its study."""
    manifest = json.loads((folder / MANIFEST).read_text())
    for entry in manifest["shards"]:
        content = read_shard(folder / entry["file"])
        splits = np.array(SPLITS)[np.arange(len(content.images)) % len(SPLITS)]
        content = replace(content, columns={**content.columns, "split": splits})
        content = replace(content, images=np.array(content.images))  # the file is written anew
        write_shard(folder / entry["file"], content)
        entry["sha256"] = sha256_of(folder / entry["file"])
        entry["bytes"] = (folder / entry["file"]).stat().st_size
    write_json(folder / MANIFEST, manifest)


def test_a_study_in_two_splits_is_refused_before_anything_is_predicted(deepchest, model, tmp_path):
    """As an earlier version prepared them, whose splits knew nothing of studies."""
    site = add_studies(write_site(tmp_path / "b", 60, seed=9), "B")
    other = prepare_site(site, tmp_path / "other", views="all")
    divide_studies(other)
    words = ("evaluate", "--model", model, "--data", other, *QUICK)
    outcome = deepchest(*words, "--unit", "study")
    assert outcome.code == 2
    assert "studies have images in two splits" in outcome.err and "S1/1" in outcome.err
    assert deepchest(*words).code == 0
