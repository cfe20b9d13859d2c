"""External validation on the command line: several data sets, of other findings and patients."""

import csv
import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import write_nih_folder
from sklearn.metrics import average_precision_score, roc_auc_score
from tests_support import blank_figures, next_step, rows_of, too_wide, valid

from deepchest_cli.commands.evaluate import evaluate as score
from deepchest_cli.config import EvaluateConfig, PrepareConfig
from deepchest_cli.data.preparation import plan_preparation, run_preparation
from deepchest_cli.terminal import Terminal

QUICK = ("--bootstrap-replicates", 20, "--batch-size", 20, "--no-localization")
# what the other hospital calls NIH's findings; the model does not know opacities
COLUMNS = {"Pleural Effusion": "Effusion", "mass": "Mass", "Lung Opacity": "Pneumonia"}
COLUMNS |= {"Hernia": "Hernia", "PNEUMONIA": "Pneumonia"}


def prepare(root, images, table, **settings):
    config = PrepareConfig(size="32", workers=1, labels_csv=table, **settings)
    plan = plan_preparation(config, images)
    run_preparation(plan, config, root, lambda *_: None)
    return root


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Radiographs of another hospital: a folder of shards, and its table of labels."""
    root = tmp_path_factory.mktemp("elsewhere")
    nih = write_nih_folder(root / "nih", patients=30, seed=7)
    lines = [",".join(["image", "patient_id", "split", *COLUMNS])]
    for row in rows_of(nih / "Data_Entry_2017_v2020.csv"):
        name = f"h-{row['Image Index']}"
        (nih / "images" / row["Image Index"]).rename(nih / "images" / name)
        found = row["Finding Labels"].split("|")
        cells = [str(int(theirs in found)) for theirs in COLUMNS.values()]
        cells[3] = "0"  # one class only
        cells[1] = "" if row["Follow-up #"] == "0" and int(row["Patient ID"]) % 5 == 0 else cells[1]
        split = "train" if int(row["Patient ID"]) % 3 == 0 else "test"
        lines.append(",".join([name, f"h{row['Patient ID']}", split, *cells]))
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    shards = prepare(root / "hospital", nih / "images", root / "labels.csv")
    return shards, root / "labels.csv", nih / "images"


@pytest.fixture(scope="module")
def fitted(trained, shards, tmp_path_factory):
    """A run with thresholds and calibration of its own validation split."""
    run = shutil.copytree(trained, tmp_path_factory.mktemp("fitted") / "run")
    with pytest.MonkeyPatch.context() as patch:  # the twelve images of validation hold few
        patch.setattr("deepchest_cli.evaluation.calibration.MIN_POSITIVES", 3)
        config = EvaluateConfig(model=(str(run),), data=(str(shards),), bootstrap_replicates=0)
        score(config, Terminal(quiet=True))
    return run


@pytest.fixture
def evaluate(deepchest, fitted):
    return lambda *more: deepchest("evaluate", "--model", fitted, *QUICK, *more)


@pytest.fixture(scope="module")
def reported(fitted, shards, elsewhere, tmp_path_factory):
    """The folder of a report on both data sets."""
    folder = tmp_path_factory.mktemp("external") / "report"
    config = EvaluateConfig(
        model=(str(fitted),),
        data=(str(shards), str(elsewhere[0])),
        split="all",
        bootstrap_replicates=200,
        localization=False,
        report=folder,
    )
    with blank_figures():
        score(config, Terminal(quiet=True))
    return folder


def test_shared_findings_are_scored_as_scikit_learn_does_on_the_merged_tables(reported, elsewhere):
    predictions = pd.read_csv(reported / elsewhere[0].name / "predictions.csv", dtype=str)
    labels = pd.read_csv(elsewhere[1], dtype=str)
    labels["Image Index"] = labels["image"].str.removesuffix(".png")
    predictions["Image Index"] = predictions["Image Index"].str.removesuffix(".png")
    merged = predictions.merge(labels, on="Image Index", suffixes=("", " label"))
    assert len(merged) == len(labels) == 60
    document = json.loads((reported / elsewhere[0].name / "results.json").read_text())
    assert set(document["findings"]) == {"Effusion", "Mass", "Pneumonia", "Hernia"}
    for ours, theirs in (
        ("Effusion", "Pleural Effusion"),
        ("Mass", "mass"),
        ("Pneumonia", "PNEUMONIA"),
    ):
        known = merged[theirs].notna()
        truth, scores = merged[theirs][known].astype(int), merged[ours][known].astype(float)
        found = document["findings"][ours]
        assert (found["known"], found["positives"]) == (known.sum(), truth.sum())
        assert found["auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
        precision = average_precision_score(truth, scores)
        assert found["average_precision"] == pytest.approx(precision, abs=1e-12)
    assert document["findings"]["Mass"]["known"] == 54


def test_what_either_side_lacks_is_named(evaluate, elsewhere):
    outcome = evaluate("--data", elsewhere[0], "--json")
    assert outcome.code == 0, outcome.err
    document = valid(json.loads(outcome.out), "evaluate")
    assert document["findings_not_predicted"] == ["Lung Opacity"]
    assert len(document["findings_not_labeled"]) == 10
    assert "Not predicted: Lung Opacity." in outcome.err
    assert f"Predicted, but not labeled in {elsewhere[0]}: Atelectasis, " in outcome.err
    assert document["findings"]["Hernia"]["auroc"] is None  # without a positive


def test_several_data_sets_in_one_document(reported, shards, elsewhere):
    document = valid(json.loads((reported / "results.json").read_text()), "external-validation")
    found, (own, other) = document["external_validation"], document["data_sets"]
    assert [one["data"] for one in found["data_sets"]] == [str(shards), str(elsewhere[0])]
    assert (own["split"], own["images"]) == ("test", 20)  # of the model's own data
    assert (other["split"], other["images"]) == ("all", 60)
    assert set(found["shared_findings"]) == {"Effusion", "Mass", "Pneumonia"}
    first, second = found["data_sets"]
    assert first["drop"] is None
    for name in found["shared_findings"]:
        drop = second["drop"]["findings"][name]
        one, two = (part["findings"][name]["auroc"] for part in found["data_sets"])
        assert drop["value"] == pytest.approx(one["value"] - two["value"])
        if one["low"] is not None:  # Newcombe's square-and-add for independent samples
            below = np.hypot(one["value"] - one["low"], two["high"] - two["value"])
            assert drop["value"] - drop["low"] == pytest.approx(below)
    means = [np.mean([p["findings"][n]["auroc"] for n in found["shared_findings"]])
             for p in document["data_sets"]]  # fmt: skip
    assert [part["macro_auroc"]["value"] for part in found["data_sets"]] == pytest.approx(means)
    assert second["drop"]["macro_auroc"]["value"] == pytest.approx(means[0] - means[1])
    assert second["drop"]["findings"]["Hernia"]["value"] is None
    assert own["macro"]["auroc"] == first["own_macro_auroc"]["value"]


def test_thresholds_and_calibration_are_carried_over_unchanged(reported, fitted, elsewhere):
    document = json.loads((reported / "results.json").read_text())
    kept = torch.load(fitted / "best.pt", weights_only=True)["validation_fit"]["findings"]
    own, other = document["external_validation"]["data_sets"]
    assert "kept in" in document["data_sets"][1]["validation_fit"]["note"]
    point = other["findings"]["Effusion"]["operating_point"]
    assert point["threshold"] == kept["Effusion"]["operating_points"]["youden"]
    assert point["threshold"] == own["findings"]["Effusion"]["operating_point"]["threshold"]
    predictions = pd.read_csv(reported / elsewhere[0].name / "predictions.csv")
    labels = pd.read_csv(elsewhere[1])
    labels["Image Index"] = labels["image"].str.removesuffix(".png")
    predictions["Image Index"] = predictions["Image Index"].str.removesuffix(".png")
    merged = predictions.merge(labels, on="Image Index", suffixes=("", " label"))
    present = merged["Pleural Effusion"] == 1
    caught = merged["Effusion"][present] >= point["threshold"]
    assert point["sensitivity"]["value"] == pytest.approx(caught.mean(), abs=1e-12)
    scaling = document["data_sets"][1]["calibration"]["findings"]["Effusion"]["scaling"]
    assert scaling == kept["Effusion"]["calibration"]
    # fewer than three positives on validation: no threshold, and why is said
    missing = [n for n, e in other["findings"].items() if e["operating_point"] is None]
    reasons = document["data_sets"][1]["operating_points"]["findings"]
    assert missing and all(reasons[name]["unavailable"]["youden"] for name in missing)


def test_the_report_of_several_data_sets(reported, elsewhere):
    files = {path.name for path in reported.iterdir()}
    assert files == {
        "auroc.png", "data-sets.csv", "report.html", "results.json", "shards", "hospital"
    }  # fmt: skip
    assert (reported / "shards" / "report.html").is_file()
    page = (reported / "report.html").read_text()
    assert page.count("<img") == 1 and 'src="http' not in page
    assert "not scored" in page and "nan" not in page.split("</style>")[1].split("data:image")[0]
    rows = rows_of(reported / "data-sets.csv")
    assert [row["finding"] for row in rows].count("macro") == 2
    effusion = [row for row in rows if row["finding"] == "Effusion"]
    assert [bool(row["auroc_drop"]) for row in effusion] == [False, True]
    assert effusion[0]["threshold"] == effusion[1]["threshold"] != ""


def test_table_and_csv_of_several_data_sets(evaluate, shards, elsewhere):
    both = ("--data", shards, "--data", elsewhere[0], "--split", "all")
    table = evaluate(*both)
    assert table.code == 0, table.err
    for text in ("Drop from", "Macro, 3 shared", "not scored", "a drop of", "sens."):
        assert text in table.out
    assert f"{elsewhere[0]}: Not predicted: Lung Opacity." in table.err
    rows = list(csv.DictReader(io.StringIO(evaluate(*both, "--format", "csv").out)))
    assert len({row["data_set"] for row in rows}) == 2
    assert len(rows) == 15 + 5


@pytest.mark.parametrize("width", [40, 80])
def test_the_screen_of_several_data_sets(evaluate, shards, elsewhere, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    both = ("--data", shards, "--data", elsewhere[0], "--split", "all")
    outcome = evaluate(*both)
    assert too_wide(outcome.out + outcome.err, width) == []
    for text in ("Macro, 3 shared", "not scored", "intercept", "Pleural_Thickening"):
        assert text in outcome.out
    assert "--verbose names them." in " ".join(outcome.out.split())
    _, *words = next_step(outcome.err)
    named = [str(word) for word in both]
    assert [word for word in words if word in named] == named and "--report" in words


def test_predictions_of_each_data_set_are_saved(evaluate, shards, elsewhere, tmp_path):
    words = ("--data", shards, "--data", elsewhere[0], "--split", "all")
    assert evaluate(*words, "--save-predictions", tmp_path / "scores.csv").code == 0
    counts = {path.name: len(rows_of(path)) for path in tmp_path.iterdir()}
    assert counts == {"scores-shards.csv": 20, "scores-hospital.csv": 60}
    refused = evaluate(*words, "--save-predictions", tmp_path / "scores.csv")
    assert (refused.code, "scores-shards.csv exists already" in refused.err) == (2, True)


def test_gates_hold_on_every_data_set(evaluate, shards, elsewhere):
    both = ("--data", shards, "--data", elsewhere[0], "--fail-under")
    assert evaluate(*both, "auroc=0").code == 0
    missed = evaluate(*both, "auroc=1.01")
    assert missed.code == 3
    assert f"on {shards};" in missed.err and f"on {elsewhere[0]}." in missed.err


def test_a_model_is_compared_on_each_data_set(evaluate, trained, shards, elsewhere):
    both = ("--data", shards, "--data", elsewhere[0])
    documents = json.loads(evaluate(*both, "--compare-to", trained, "--json").out)["data_sets"]
    assert [d["compared_to"]["macro"]["auroc"]["difference"] for d in documents] == [0, 0]


@pytest.mark.parametrize(
    "flags", [("--reference", "chexnet"), ("--expert-labels", "."), ("--medmnist", "m"),
              ("--compare-to", "scores.csv")]
)  # fmt: skip
def test_flags_about_one_data_set(evaluate, shards, elsewhere, tmp_path, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scores.csv").write_text("image,Mass\na,0.1\n")
    outcome = evaluate("--data", shards, "--data", elsewhere[0], *flags)
    assert (outcome.code, "goes with one --data" in outcome.err) == (2, True)


def test_the_same_data_twice_are_refused(evaluate, shards, tmp_path):
    copy = shutil.copytree(shards, tmp_path / "copy")
    outcome = evaluate("--data", shards, "--data", copy, "--allow-overlap")
    assert (outcome.code, "are the same data" in outcome.err) == (2, True)


@pytest.fixture(scope="module")
def again(elsewhere, tmp_path_factory):
    """Some of the other hospital's images again, in a table of one's own."""
    root = tmp_path_factory.mktemp("again")
    lines = elsewhere[1].read_text().splitlines()
    (root / "labels.csv").write_text("\n".join([lines[0], *lines[1:30]]) + "\n")
    return prepare(root / "again", elsewhere[2], root / "labels.csv")


def test_images_in_two_data_sets_are_refused_or_said(evaluate, elsewhere, again):
    both = ("--data", elsewhere[0], "--data", again, "--split", "all")
    refused = evaluate(*both)
    assert refused.code == 2
    assert f"29 images are (by pixel hash) in both {elsewhere[0]} and {again}" in refused.err
    allowed = evaluate(*both, "--allow-overlap", "--json")
    assert "no independent samples" in allowed.err
    document = valid(json.loads(allowed.out), "external-validation")
    second = document["external_validation"]["data_sets"][1]
    assert second["shares_images"] and second["drop"]["macro_auroc"]["value"] is not None
    assert second["drop"]["macro_auroc"]["low"] is None
    assert any("no independent samples" in note for note in document["data_sets"][1]["notes"])


def test_images_of_training_are_refused_among_other_data(evaluate, shards, elsewhere, tmp_path):
    """Some of the model's own training images in another hospital's table, under other names."""
    images, nih = shutil.copytree(elsewhere[2], tmp_path / "images"), shards.parent / "nih"
    lines = elsewhere[1].read_text().splitlines()
    for number in (1, 2, 3):
        shutil.copy(nih / "images" / f"{number:08d}_000.png", images / f"x{number}.png")
        lines.append(f"x{number}.png,x{number},test,0,0,0,0,0")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    mixed = prepare(tmp_path / "mixed", images, tmp_path / "labels.csv")
    outcome = evaluate("--data", mixed, "--split", "all")
    assert outcome.code == 2
    assert f"images or patients of {mixed}. Of 63 images to score, " in outcome.err


def test_without_a_kept_fit_nothing_is_chosen_on_other_data(deepchest, trained, elsewhere):
    outcome = deepchest("evaluate", "--model", trained, *QUICK, "--data", elsewhere[0], "--json")
    document = json.loads(outcome.out)
    assert document["operating_points"]["findings"] == {}
    note = document["validation_fit"]["note"]
    assert "the checkpoint keeps none. Evaluate on the model's own data first" in note


def test_other_data_get_the_fit_that_is_not_stored(deepchest, trained, shards, elsewhere):
    before = (trained / "best.pt").read_bytes()
    both = ("--data", elsewhere[0], "--data", shards, "--no-store", "--json")
    outcome = deepchest("evaluate", "--model", trained, *QUICK, *both)
    assert outcome.code == 0, outcome.err
    documents = json.loads(outcome.out)["data_sets"]
    assert {d["validation_fit"]["note"] for d in documents} == {"Chosen on validation; not stored."}
    assert all(d["validation_fit"]["images"] == 12 for d in documents)
    assert (trained / "best.pt").read_bytes() == before


@pytest.fixture
def files(reported, elsewhere, tmp_path):
    """The predictions for the other hospital as a file, and its labels."""
    path = tmp_path / "scores.csv"
    table = pd.read_csv(reported / elsewhere[0].name / "predictions.csv", dtype=str)
    table.drop(columns="split").to_csv(path, index=False)
    return path, elsewhere[1]


def test_files_of_predictions_give_the_same_numbers_as_the_model(deepchest, reported, files):
    words = ("--predictions", files[0], "--labels", files[1], "--bootstrap-replicates", 200)
    outcome = deepchest("evaluate", *words, "--json")
    assert outcome.code == 0, outcome.err
    document = valid(json.loads(outcome.out), "evaluate")
    expected = json.loads((reported / "results.json").read_text())["data_sets"][1]
    for name, values in expected["findings"].items():
        found, drawn = document["findings"][name], values.pop("intervals")
        intervals = found.pop("intervals")
        assert found == values
        # replicates draw patients by number, and the shards number them in another order
        assert intervals["auroc"]["low"] == pytest.approx(drawn["auroc"]["low"], abs=1e-12)
    assert document["findings_not_predicted"] == ["Lung Opacity"]


def test_predictions_without_a_label_are_counted_and_said(deepchest, files):
    with files[0].open("a") as file:
        width = len(rows_of(files[0])[0]) - 1
        file.writelines(f"unknown{n}{',0.5' * width}\n" for n in range(2))
    outcome = deepchest("evaluate", "--predictions", files[0], "--labels", files[1], "--json")
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert (document["images"], document["predictions_without_labels"]) == (60, 2)
    said = "Warning: 2 of 62 images of"
    assert said in outcome.err and "are not scored: unknown0, unknown1." in outcome.err


@pytest.mark.parametrize("which", [0, 1])
def test_an_alias_that_meets_two_columns_is_refused(deepchest, files, tmp_path, which):
    paths = list(files)
    table = pd.read_csv(files[which], dtype=str)
    name = "Effusion" if which == 0 else "Pleural Effusion"
    table["pleural  effusion"] = table[name]
    paths[which] = tmp_path / "twice.csv"
    table.to_csv(paths[which], index=False)
    outcome = deepchest("evaluate", "--predictions", paths[0], "--labels", paths[1])
    assert outcome.code == 2
    for text in ("twice.csv", repr(name), "'pleural  effusion'"):
        assert text in outcome.err


def test_split_all_of_a_file_of_predictions(deepchest, files, tmp_path):
    table = pd.read_csv(files[0], dtype=str)
    table["split"] = np.where(np.arange(len(table)) < 20, "validation", "test")
    table.to_csv(tmp_path / "splits.csv", index=False)
    words = ("--predictions", tmp_path / "splits.csv", "--labels", files[1], "--json", "--split")
    counts = {
        s: json.loads(deepchest("evaluate", *words, s).out)["images"] for s in ("test", "all")
    }
    assert counts == {"test": 40, "all": 60}
    refused = deepchest("evaluate", *words, "all", "--medmnist", tmp_path / "m")
    assert (refused.code, "of one split" in refused.err) == (2, True)
