import csv
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from page_structure import checked
from sklearn.metrics import roc_auc_score
from tests_support import replaced, rows_of, valid

from deepchest_cli.commands.evaluate import evaluate as score
from deepchest_cli.config import EvaluateConfig, PrepareConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.preparation import plan_preparation, run_preparation
from deepchest_cli.evaluation.input_from_files import TRAINING_WARNINGS
from deepchest_cli.evaluation.reading.medmnist import read_medmnist, write_medmnist
from deepchest_cli.model.checkpoint import load_model
from deepchest_cli.model.reference import short_hashes
from deepchest_cli.prediction.input_checks import TRAINING_IMAGE_WARNINGS
from deepchest_cli.terminal import Terminal

QUICK = ("--bootstrap-replicates", 20, "--batch-size", 20)
MAPLESS = "--no-localization"  # where no map is asserted: gradients take their time


@pytest.fixture
def run(trained, tmp_path):
    """A run of its own, whose checkpoint may be written into."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture(scope="module")
def evaluated(trained, shards, tmp_path_factory):
    """A run that has its validation fit, so that evaluations read and do not write it."""
    run = shutil.copytree(trained, tmp_path_factory.mktemp("evaluated") / "run")
    config = EvaluateConfig(
        model=(str(run),), data=(str(shards),), bootstrap_replicates=0, localization=False
    )
    score(config, Terminal(quiet=True))
    return run


@pytest.fixture
def evaluate(deepchest, evaluated, shards):
    words = ("evaluate", "--model", evaluated, "--data", shards, MAPLESS)
    return lambda *more: deepchest(*words, *replaced(QUICK, more))


@pytest.fixture
def evaluate_anew(deepchest, run, shards):
    words = ("evaluate", "--model", run, "--data", shards, MAPLESS)
    return lambda *more: deepchest(*words, *replaced(QUICK, more))


def test_table(evaluate):
    outcome = evaluate()
    assert outcome.code == 0, outcome.err
    for text in ("AUROC", "Hernia", "Macro mean", "(all-negative)", "weighted F1"):
        assert text in outcome.out


def test_json_validates_and_agrees_with_csv(evaluate):
    document = valid(json.loads(evaluate("--format", "json").out), "evaluate")
    assert json.loads(evaluate("--json").out) == document
    rows = list(csv.DictReader(io.StringIO(evaluate("--format", "csv").out)))
    assert [row["finding"] for row in rows] == [*document["findings"], "macro"]
    assert rows[-1]["auroc_low"]
    for row in rows[:-1]:
        figure = document["findings"][row["finding"]]["auroc"]
        assert row["auroc"] == ("" if figure is None else str(figure))


def test_undefined_figures_are_null_and_said(evaluate):
    document = json.loads(evaluate("--json", "--split", "validation").out)
    nulls = [name for name, v in document["findings"].items() if v["auroc"] is None]
    assert nulls, "the part is meant to lack a finding"
    assert {e["finding"] for e in document["undefined"] if e["metric"] == "auroc"} == set(nulls)
    assert "Undefined" in evaluate("--split", "validation").out


def test_gates(evaluate):
    assert evaluate("--fail-under", "auroc=0.0").code == 0
    missed = evaluate("--fail-under", "auroc=1.01", "--json")
    assert missed.code == 3
    assert "below 1.01" in missed.err
    assert json.loads(missed.out)["images"] == 20
    assert evaluate("--fail-under", "aurok=1").code == 2
    assert evaluate("--fail-under", "auroc").code == 2


def test_several_gates_and_the_worst_finding(evaluate):
    assert evaluate("--fail-under", "auroc=0.0,worst_auroc=0").code == 0
    missed = evaluate("--fail-under", "auroc=0,worst-auroc=1.5")
    assert missed.code == 3
    assert "worst_auroc (" in missed.err


def test_out_is_not_overwritten(evaluate, tmp_path):
    path = tmp_path / "deep" / "results.json"
    assert evaluate("--out", path).code == 0
    assert valid(json.loads(path.read_text()), "evaluate")
    assert evaluate("--out", path).code == 2
    assert evaluate("--out", path, "--force").code == 0


def test_missing_model_and_data(deepchest, run, shards, tmp_path):
    no_model = deepchest("evaluate", "--model", tmp_path / "x", "--data", shards)
    assert (no_model.code, f"--model {run}" in no_model.err) == (2, True)  # the newest beside it
    alone = deepchest("evaluate", "--model", tmp_path / "none" / "x", "--data", shards)
    assert (alone.code, "deepchest train" in alone.err) == (2, True)
    no_data = deepchest("evaluate", "--model", run, "--data", tmp_path / "x")
    assert (no_data.code, "deepchest prepare" in no_data.err) == (2, True)


def test_splits_are_not_mixed(deepchest, run, nih_folder, tmp_path):
    arguments = ("--source", nih_folder, "--data", tmp_path / "r", "--size", 32)
    assert deepchest("prepare", *arguments, "--split-scheme", "random").code == 0
    outcome = deepchest("evaluate", "--model", run, "--data", tmp_path / "r")
    assert outcome.code == 2
    assert "is split otherwise (split_scheme, " in outcome.err
    assert "are training images" in outcome.err


def test_seeds_of_a_split_are_not_mixed(deepchest, run, nih_folder, tmp_path):
    """NIH's test part is the same under every seed; the parts carved from the rest are not."""
    arguments = ("--source", nih_folder, "--data", tmp_path / "r", "--size", 32, "--seed", 5)
    assert deepchest("prepare", *arguments).code == 0
    evaluate = ("evaluate", "--model", run, "--data", tmp_path / "r", *QUICK, MAPLESS, "--split")
    assert deepchest(*evaluate, "test").code == 0
    refused = deepchest(*evaluate, "validation")
    assert refused.code == 2
    assert ", seed)" in refused.err


@pytest.fixture(scope="module")
def twin(shards, tmp_path_factory):
    """The radiographs of the trained run again, under a table of one's own."""
    root, nih = tmp_path_factory.mktemp("twin"), shards.parent / "nih"
    lines = ["image,patient_id,Mass," + ",".join(FINDINGS[:4])]
    for row in rows_of(nih / "Data_Entry_2017_v2020.csv"):
        found = row["Finding Labels"].split("|")
        cells = [str(int(name in found)) for name in ("Mass", *FINDINGS[:4])]
        lines.append(",".join([row["Image Index"], row["Patient ID"], *cells]))
    extra = [name for name in FINDINGS if name not in ("Mass", *FINDINGS[:4])]
    lines = [lines[0] + "," + ",".join(extra), *(line + ",0" * len(extra) for line in lines[1:])]
    (root / "twin.csv").write_text("\n".join(lines))
    config = PrepareConfig(size="32", workers=1, labels_csv=root / "twin.csv", test_fraction=0.4)
    plan = plan_preparation(config, nih / "images")
    run_preparation(plan, config, root / "shards", lambda *_: None)
    return root / "shards"


def overlap_of(twin, run):
    """Return how many test images of the twin are in the run's training and validation data."""
    (kept,) = load_model(run, torch.device("cpu")).training_images
    dataset = open_dataset(twin)
    numbers = short_hashes(dataset.pixel_hash[dataset.rows("test")])
    counts = [int(np.isin(numbers, kept[part]).sum()) for part in ("training", "validation")]
    assert min(counts) > 0
    return counts


def test_training_images_under_another_table_are_refused(deepchest, run, twin):
    training, validation = overlap_of(twin, run)
    refused = deepchest("evaluate", "--model", run, "--data", twin, *QUICK)
    assert refused.code == 2
    assert f"{training} are training images (by pixel hash)" in refused.err
    assert f"{validation} are validation images" in refused.err
    assert "--allow-overlap" in refused.err


def test_an_overlap_that_is_allowed_is_said_in_every_output(
    deepchest, run, twin, tmp_path, without_plots
):
    training, validation = overlap_of(twin, run)
    words = ("evaluate", "--model", run, "--data", twin, *QUICK, MAPLESS, "--allow-overlap")
    table = deepchest(*words, "--compare-to", run, "--report", tmp_path / "r")
    assert table.code == 0, table.err
    said = f"{training} are training images"
    for text in (table.out, table.err, *map(Path.read_text, (tmp_path / "r").glob("*.[mh][dt]*"))):
        assert said in text
    assert f"--compare-to {run}: Overlap" in table.err
    document = valid(json.loads((tmp_path / "r" / "results.json").read_text()), "evaluate")
    found = document["overlap"]
    assert (found["training_images"], found["validation_images"]) == (training, validation)
    assert said in document["compared_to"]["caution"]
    assert document["source"] == "csv" and document["synthetic"] is None


def test_the_other_model_of_a_comparison_may_not_have_seen_the_images(
    deepchest, run, twin, tmp_path
):
    """The first model was trained elsewhere; the second one on just these."""
    other = torch.load(run / "best.pt", weights_only=True)
    other["training_images"] = [{k: v[:0] for k, v in other["training_images"][0].items()}]
    torch.save(other, tmp_path / "other.pt")
    words = ("evaluate", "--model", tmp_path / "other.pt", "--data", twin, *QUICK, MAPLESS)
    assert deepchest(*words).code == 0
    for more in (("--compare-to", run), ("--model", run)):
        refused = deepchest(*words, *more)
        assert (refused.code, "are training images" in refused.err) == (2, True)


def test_the_models_own_training_images_are_called_so(evaluate):
    for split in ("train", "validation"):
        outcome = evaluate("--split", split)
        assert outcome.code == 0
        said = [
            line for line in outcome.err.splitlines() if "has" not in line and "have" not in line
        ]
        assert len([line for line in said if line.startswith("Warning")]) == 1
    assert "optimistic" in outcome.out


def test_data_of_another_size_are_refused(deepchest, run, nih_folder, tmp_path):
    arguments = ("--source", nih_folder, "--data", tmp_path / "s", "--size", 48)
    assert deepchest("prepare", *arguments).code == 0
    outcome = deepchest("evaluate", "--model", run, "--data", tmp_path / "s")
    assert outcome.code == 2
    assert "--size 32" in outcome.err


def test_data_without_a_finding_of_the_model_are_refused(deepchest, trained, shards, tmp_path):
    content = torch.load(trained / "best.pt", weights_only=True)
    content["architecture"]["findings"] = [f"Other {place}" for place in range(14)]
    torch.save(content, tmp_path / "other.pt")
    outcome = deepchest("evaluate", "--model", tmp_path / "other.pt", "--data", shards)
    assert outcome.code == 2
    assert f"{shards} labels none of the findings of {tmp_path / 'other.pt'}" in outcome.err


def test_models_and_data_of_one_kind_need_no_warning(evaluate):
    assert "Warning" not in evaluate().err


@pytest.mark.parametrize(
    ("model_is_synthetic", "warning"),
    [
        (True, "trained on synthetic radiographs; these are real"),
        (False, "trained on real radiographs; these are synthetic"),
    ],
)
def test_synthetic_and_real_are_told_apart(
    deepchest, trained, shards, tmp_path, model_is_synthetic, warning
):
    model, data = torch.load(trained / "best.pt", weights_only=True), tmp_path / "shards"
    model["origin"]["data_sets"][0]["source"]["synthetic"] = model_is_synthetic
    torch.save(model, tmp_path / "model.pt")
    shutil.copytree(shards, data)
    manifest = json.loads((data / "manifest.json").read_text())
    manifest["source"]["synthetic"] = not model_is_synthetic
    (data / "manifest.json").write_text(json.dumps(manifest))
    outcome = deepchest(
        "evaluate", "--model", tmp_path / "model.pt", "--data", data, *QUICK, MAPLESS
    )
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("Warning") == 1
    assert warning in outcome.err


def test_thresholds_and_calibration_are_stored_once(evaluate_anew, run):
    before = (run / "best.pt").read_bytes()
    unstored = json.loads(evaluate_anew("--json", "--no-store").out)
    assert "not stored" in unstored["validation_fit"]["note"]
    assert (run / "best.pt").read_bytes() == before
    first = json.loads(evaluate_anew("--json").out)
    assert "now stored" in first["validation_fit"]["note"]
    stored = (run / "best.pt").read_bytes()
    assert stored != before
    second = json.loads(evaluate_anew("--json").out)
    assert "kept in" in second["validation_fit"]["note"]
    assert (run / "best.pt").read_bytes() == stored
    assert second["model"]["sha256"] == first["model"]["sha256"] != unstored["model"]["sha256"]
    assert second["operating_points"] == first["operating_points"] == unstored["operating_points"]
    other = json.loads(evaluate_anew("--json", "--calibration", "temperature").out)
    assert "now stored" in other["validation_fit"]["note"]


def test_a_checkpoint_that_cannot_be_written_is_a_warning(evaluate_anew, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device", "best.pt")

    monkeypatch.setattr("deepchest_cli.evaluation.model_fits.store_validation_fit", full)
    outcome = evaluate_anew()
    assert outcome.code == 0
    assert "could not be stored" in outcome.err


def test_nothing_is_chosen_on_the_part_that_is_scored(evaluate):
    document = json.loads(evaluate("--json", "--split", "validation").out)
    assert document["operating_points"]["findings"] == {}
    assert "would be chosen on" in document["validation_fit"]["note"]
    assert "No operating points" in evaluate("--split", "validation").out


def test_thresholds_of_other_data_are_not_made_up(deepchest, run, nih_folder, tmp_path):
    """NIH's test part fits a model of another seed; that seed's validation part does not."""
    arguments = ("--source", nih_folder, "--data", tmp_path / "r", "--size", 32, "--seed", 5)
    assert deepchest("prepare", *arguments).code == 0
    outcome = deepchest(
        "evaluate", "--model", run, "--data", tmp_path / "r", *QUICK, MAPLESS, "--json"
    )
    document = json.loads(outcome.out)
    assert "not what the model was trained on" in document["validation_fit"]["note"]
    assert document["calibration"]["macro"]["after"] is None


def test_several_models_are_averaged(deepchest, run, shards, tmp_path):
    other = torch.load(run / "best.pt", weights_only=True)
    other["tensors"] = {
        k: v * 0.9 if v.is_floating_point() else v for k, v in other["tensors"].items()
    }
    torch.save(other, tmp_path / "other.pt")
    tables = []
    for models in ([run], [tmp_path / "other.pt"], [run, tmp_path / "other.pt"]):
        named = [word for model in models for word in ("--model", model)]
        folder = tmp_path / f"scores-{len(tables)}"
        more = ("--data", shards, *QUICK, MAPLESS, "--no-store", "--medmnist", folder)
        outcome = deepchest("evaluate", *named, *more, "--out", tmp_path / "out.json", "--force")
        assert outcome.code == 0, outcome.err
        tables.append(read_medmnist(next(folder.iterdir()))[1])
    assert "mean of models" in outcome.out
    one, two, mean = tables
    np.testing.assert_allclose(mean, (one + two) / 2, rtol=0, atol=1e-15)
    document = valid(json.loads((tmp_path / "out.json").read_text()), "evaluate")
    assert document["model"] is None
    assert len(document["models"]) == 2
    assert "not stored" in document["validation_fit"]["note"]


def test_models_of_other_findings_make_no_ensemble(deepchest, run, shards, tmp_path):
    content = torch.load(run / "best.pt", weights_only=True)
    content["architecture"]["findings"][0] = "Fracture"
    torch.save(content, tmp_path / "other.pt")
    models = ("--model", run, "--model", tmp_path / "other.pt")
    refused = deepchest("evaluate", *models, "--data", shards)
    assert (refused.code, "other findings" in refused.err) == (2, True)


@pytest.fixture
def without_plots(monkeypatch):
    """Leave plots out of reports, where only their texts are asserted."""
    monkeypatch.setattr("deepchest_cli.evaluation.output.folder.report_figures", lambda *_: {})


FILES = (
    "calibration.csv", "confusion.png", "differences.csv", "errors.png", "findings.csv",
    "localization.csv", "model-card.md", "operating-points.csv", "precision-recall.png",
    "predictions.csv", "reliability.csv", "reliability.png", "report.html", "results.json",
    "roc.png", "subgroups.csv",  # no group has enough patients for a plot
)  # fmt: skip


@pytest.fixture(scope="module")
def reported(trained, shards, tmp_path_factory):
    """The folder of a report with everything, made once."""
    root = tmp_path_factory.mktemp("reported")
    run = shutil.copytree(trained, root / "run")
    config = EvaluateConfig(
        model=(str(run),),
        data=(str(shards),),
        report=root / "report",
        compare_to=run,
        seed=3,
        bootstrap_replicates=20,
    )
    with pytest.MonkeyPatch.context() as patch:  # the twelve images of validation hold few
        patch.setattr("deepchest_cli.evaluation.calibration.MIN_POSITIVES", 3)
        score(config, Terminal(quiet=True))
    return root


def test_a_report_is_complete_and_stands_alone(reported):
    folder = reported / "report"
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    document = valid(json.loads((folder / "results.json").read_text()), "evaluate")
    assert document["compared_to"]["macro"]["auroc"]["difference"] == 0
    assert document["localization"]["boxes"] == 1
    page = (folder / "report.html").read_text()
    assert 'src="http' not in page and page.count("href=") == page.count('href="#')
    assert len(checked(page).images) == 5
    assert "$" not in page.split("</style>")[1].split("data:image")[0]
    assert "not recognized as a whole published test split" in page
    card = (folder / "model-card.md").read_text()
    assert "shufflenet_v2_x0_5" in card
    assert "not for clinical use" in card
    assert "nan" not in card.lower().replace("finding", "")


def test_a_report_is_not_overwritten(deepchest, reported, shards):
    words = ("evaluate", "--model", reported / "run", "--data", shards, *QUICK)
    refused = deepchest(*words, "--report", reported / "report")
    assert (refused.code, "--force" in refused.err) == (2, True)


def test_a_models_own_predictions_from_a_file_score_the_same(deepchest, reported, nih_folder):
    """The labels come from NIH's table, the scores from the report: order and form are others."""
    folder = reported / "report"
    labels = nih_folder / "Data_Entry_2017_v2020.csv"
    words = ("--predictions", folder / "predictions.csv", "--labels", labels, "--seed", 3, *QUICK)
    outcome = deepchest("evaluate", *words, "--json")
    assert outcome.code == 0, outcome.err
    document = valid(json.loads(outcome.out), "evaluate")
    expected = json.loads((folder / "results.json").read_text())
    assert document["findings"] == expected["findings"]
    assert document["macro"] == expected["macro"]
    assert document["labels_without_predictions"] == 60
    assert document["validation_fit"]["note"].startswith(
        "There are no predictions for a validation split"
    )
    assert document["baseline"]["images"] == 60
    assert "60 images of" in outcome.err


@pytest.fixture
def files(tmp_path, nih_folder):
    """Made-up scores for all of NIH's rows, in parts by patient, and their labels."""
    labels = nih_folder / "Data_Entry_2017_v2020.csv"
    chance, lines = np.random.default_rng(0), ["split,Mass,Image Index,Effusion"]
    for row in rows_of(labels):
        part = "test" if int(row["Patient ID"]) % 2 else "validation"
        mass, effusion = (0.3 * (f in row["Finding Labels"]) for f in ("Mass", "Effusion"))
        scores = chance.random(2) * 0.7 + (mass, effusion)
        lines.append(f"{part},{scores[0]},{row['Image Index']},{scores[1]}")
    (tmp_path / "scores.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "scores.csv", labels


def test_a_file_with_a_column_of_parts(deepchest, files):
    outcome = deepchest(
        "evaluate", "--predictions", files[0], "--labels", files[1], *QUICK, "--json"
    )
    document = valid(json.loads(outcome.out), "evaluate")
    assert document["images"] == 40
    assert document["validation_fit"]["images"] == 40
    point = document["operating_points"]["findings"]["Effusion"]["sensitivity_90"]
    assert point["tp"] + point["fn"] == document["findings"]["Effusion"]["positives"]
    assert document["findings"].keys() == {"Mass", "Effusion"}


def test_a_report_of_a_file(deepchest, files, tmp_path):
    words = ("--predictions", files[0], "--labels", files[1], "--report", tmp_path / "report")
    assert deepchest("evaluate", *words, *QUICK).code == 0
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == set(FILES) - {"errors.png", "differences.csv", "localization.csv"}
    assert "the model is not known" in (tmp_path / "report" / "model-card.md").read_text()


def test_patients_in_two_parts_are_refused(deepchest, files):
    text = files[0].read_text().splitlines()
    for number, line in enumerate(text):
        if line.startswith("test") and "_001" in line:
            text[number] = line.replace("test", "validation", 1)
    files[0].write_text("\n".join(text))
    refused = deepchest("evaluate", "--predictions", files[0], "--labels", files[1])
    assert refused.code == 2
    assert "20 patients are in both" in refused.err
    assert "Split by patient" in refused.err


def test_a_file_of_validation(deepchest, files, tmp_path):
    lines = files[0].read_text().splitlines()
    for part in ("test", "validation"):
        kept = [line.split(",", 1)[1] for line in lines if line.startswith((part, "split"))]
        (tmp_path / f"{part}.csv").write_text("\n".join(kept))
    words = ("--predictions", tmp_path / "test.csv", "--labels", files[1], *QUICK, "--json")
    apart = json.loads(
        deepchest("evaluate", *words, "--validation", tmp_path / "validation.csv").out
    )
    whole = json.loads(deepchest("evaluate", "--predictions", files[0], *words[2:]).out)
    assert apart["operating_points"] == whole["operating_points"]
    assert apart["calibration"] == whole["calibration"]


def test_two_files_are_compared(deepchest, files, tmp_path):
    lines = files[0].read_text().splitlines()
    worse = [
        lines[0],
        *(f"{line.rpartition(',')[0]},0.5" for line in lines[1:]),
    ]
    (tmp_path / "worse.csv").write_text("\n".join(worse))
    words = ("evaluate", "--predictions", files[0], "--labels", files[1], *QUICK)
    outcome = deepchest(*words, "--compare-to", tmp_path / "worse.csv")
    assert "Difference to" in outcome.out
    document = json.loads(deepchest(*words, "--compare-to", tmp_path / "worse.csv", "--json").out)
    found = document["compared_to"]["findings"]
    auroc = document["findings"]["Effusion"]["auroc"]
    assert found["Effusion"]["auroc"]["difference"] == pytest.approx(auroc - 0.5, abs=1e-12)
    assert found["Mass"]["auroc"] == {  # without a positive
        "difference": None, "low": None, "high": None, "p": None, "p_holm": None,
        "verdict": "not measured",
        "not_tested": "fewer than 10 patients with or without the finding (0 and 20)",
    }  # fmt: skip


def test_differences_across_images_are_refused(deepchest, files, tmp_path):
    lines = files[0].read_text().splitlines()
    (tmp_path / "fewer.csv").write_text("\n".join(lines[:-3]))
    words = ("evaluate", "--predictions", files[0], "--labels", files[1])
    refused = deepchest(*words, "--compare-to", tmp_path / "fewer.csv")
    assert refused.code == 2
    assert "not on the same images" in refused.err


def test_published_results_of_another_split_are_refused(evaluate):
    refused = evaluate("--reference", "chexnet")
    assert refused.code == 2
    assert "random split" in refused.err
    assert "do not compare" in refused.err
    assert "0.818" in refused.err
    assert "Did you mean 'chexnet'" in evaluate("--reference", "chexnot").err


def test_medmnists_layout_is_written_and_read_again(evaluate, deepchest, shards, tmp_path):
    document = json.loads(evaluate("--json", "--medmnist", tmp_path / "m").out)
    (path,) = (tmp_path / "m").iterdir()
    auroc, accuracy = (document["macro"][metric] for metric in ("auroc", "accuracy"))
    assert path.name == (f"chestxray14_test_[AUC]{auroc:.3f}_[ACC]{accuracy:.3f}@deepchest.csv")
    assert evaluate("--medmnist", tmp_path / "m").code == 2
    dataset = open_dataset(shards)
    labels = dataset.labels[dataset.rows("test")]
    np.savez(tmp_path / "chestmnist.npz", test_labels=labels)
    words = ("--predictions", path, "--labels", tmp_path / "chestmnist.npz", *QUICK, "--json")
    outcome = deepchest("evaluate", *words)
    again = json.loads(outcome.out)
    assert again["macro"]["auroc"] == auroc
    assert again["patients"] == again["images"] == 20
    assert "every image counts as a patient of its own" in outcome.err
    assert "claims" not in outcome.err
    path.rename(tmp_path / "chestmnist_test_[AUC]0.999_[ACC]0.900@x.csv")
    claimed = tmp_path / "chestmnist_test_[AUC]0.999_[ACC]0.900@x.csv"
    outcome = deepchest("evaluate", "--predictions", claimed, *words[2:])
    assert "claims auroc 0.999" in outcome.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--predictions", "a.csv"), "needs --labels"),
        (("--predictions", "a.csv", "--labels", "b.csv", "--model", "c"), "both given"),
        (("--labels", "b.csv"), "goes with --predictions"),
        (("--validation", "b.csv"), "goes with --predictions"),
        (("--logits",), "goes with --predictions"),
        (
            ("--predictions", "a.csv", "--labels", "b.csv", "--data", "c", "--data", "d"),
            "--data and --predictions are both given",
        ),
        (("--predictions", "a.csv", "--labels", "b.csv"), "b.csv is not there"),
    ],
)
def test_flags_that_do_not_go_together(deepchest, words, message):
    refused = deepchest("evaluate", *words)
    assert (refused.code, message in refused.err) == (2, True)


def test_without_replicates_there_are_no_intervals(evaluate):
    outcome = evaluate("--bootstrap-replicates", 0)
    assert outcome.code == 0, outcome.err
    assert "95 % interval" not in outcome.out


def test_the_seed_fixes_every_interval(evaluate):
    one, same, other = (evaluate("--json", "--seed", seed).out for seed in (1, 1, 2))
    one, same, other = map(json.loads, (one, same, other))
    for document in (one, same, other):  # what the first evaluation stored
        document.pop("validation_fit"), document.pop("model"), document.pop("models")
    assert one == same != other


def test_a_single_model_may_be_named_in_a_file(deepchest, run, shards, tmp_path):
    (tmp_path / "c.toml").write_text(
        f'model = "{run}"\ndata = "{shards}"\nbootstrap_replicates = 5\n'
    )
    outcome = deepchest("evaluate", "--config", tmp_path / "c.toml", "--json")
    assert json.loads(outcome.out)["bootstrap_replicates"] == 5


def test_predictions_from_standard_input(deepchest, files, monkeypatch):
    named = deepchest("evaluate", "--predictions", files[0], "--labels", files[1], *QUICK, "--json")
    stream = io.TextIOWrapper(io.BytesIO(files[0].read_bytes()))
    monkeypatch.setattr(sys, "stdin", stream)
    piped = deepchest("evaluate", "--predictions", "-", "--labels", files[1], *QUICK, "--json")
    assert json.loads(piped.out)["findings"] == json.loads(named.out)["findings"]


def test_medmnists_parts_are_told_apart(deepchest, tmp_path):
    """The parts count from 0 each, and are other images."""
    chance = np.random.default_rng(0)
    labels = {part: (chance.random((60, 14)) < 0.3).astype(np.uint8) for part in ("val", "test")}
    np.savez(tmp_path / "chestmnist.npz", **{f"{part}_labels": v for part, v in labels.items()})
    paths = {}
    for part, values in labels.items():
        paths[part] = tmp_path / f"chestmnist_{part}_[AUC]0.500_[ACC]0.500@x.csv"
        write_medmnist(paths[part], FINDINGS, chance.random((60, 14)) * 0.5 + 0.3 * values)
    words = ("--predictions", paths["test"], "--labels", tmp_path / "chestmnist.npz", *QUICK)
    more = ("--validation", paths["val"], "--compare-to", paths["test"], "--json")
    outcome = deepchest("evaluate", *words, *more)
    document = valid(json.loads(outcome.out), "evaluate")
    assert document["validation_fit"]["images"] == 60
    assert document["compared_to"]["macro"]["auroc"]["difference"] == 0
    assert document["label_version"] == "2017"


@pytest.mark.parametrize("flag", ["--compare-to", "--expert-labels"])
def test_what_is_compared_with_has_to_be_there(evaluate, tmp_path, flag):
    refused = evaluate(flag, tmp_path / "none")
    assert (refused.code, f"{flag}: " in refused.err) == (2, True)


def test_labels_that_know_nothing_of_the_patients(deepchest, tmp_path):
    """No patients, no metadata, one image without a known label, a finding without a positive."""
    (tmp_path / "scores.csv").write_text("id,Rib,Spine\na,0.9,0.1\nb,0.2,0.2\nc,0.4,0.3\n")
    (tmp_path / "labels.csv").write_text("id,Spine,Rib,No Finding\na,0,1,0\nb,0,0,1\nc,0,,0\n")
    words = ("--predictions", tmp_path / "scores.csv", "--labels", tmp_path / "labels.csv")
    outcome = deepchest("evaluate", *words, *QUICK, "--report", tmp_path / "r", "--json")
    assert outcome.code == 0, outcome.err
    document = valid(json.loads(outcome.out), "evaluate")
    assert document["findings"]["Rib"]["auroc"] == 1
    assert document["findings"]["Rib"]["known"] == 2
    assert document["findings"]["Spine"]["auroc"] is None
    assert document["subgroups"]["groups"] == []
    assert document["baseline"] is None
    assert not (tmp_path / "r" / "subgroups.png").exists()
    assert "Spine" in deepchest("evaluate", *words, *QUICK).out.split("Undefined")[1]


def test_a_fit_that_cannot_be_read_is_made_anew(evaluate_anew, run):
    content = torch.load(run / "best.pt", weights_only=True)
    torch.save({**content, "validation_fit": {"of": "another version"}}, run / "best.pt")
    assert "now stored" in json.loads(evaluate_anew("--json").out)["validation_fit"]["note"]


def test_a_report_that_cannot_be_drawn_leaves_the_earlier_one(
    deepchest, files, tmp_path, monkeypatch
):
    words = ("--predictions", files[0], "--labels", files[1], "--report", tmp_path / "r")
    words = ("evaluate", *words, *QUICK)
    assert deepchest(*words).code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()}

    def broken(*arguments):
        raise OSError("no fonts")

    monkeypatch.setattr("deepchest_cli.evaluation.output.folder.roc_figure", broken)
    assert deepchest(*words, "--force").code == 1
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()}


def test_a_findings_name_is_no_formula(deepchest, tmp_path):
    rows = [f"{n},0.{n % 9 + 1}" for n in range(40)]
    (tmp_path / "p.csv").write_text("image,a$x^$b\n" + "\n".join(rows))
    labels = [f"{n},{n % 2}" for n in range(40)]
    (tmp_path / "l.csv").write_text("image,a$x^$b\n" + "\n".join(labels))
    words = ("evaluate", "--predictions", tmp_path / "p.csv", "--labels", tmp_path / "l.csv")
    outcome = deepchest(*words, "--report", tmp_path / "r", "--bootstrap-replicates", "5")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "r" / "report.html").is_file()


def test_parts_of_medmnist_are_told_by_their_names(deepchest, tmp_path):
    import numpy as np

    chance = np.random.default_rng(0)
    labels = {f"{p}_labels": chance.integers(0, 2, (30, 14)) for p in ("train", "val", "test")}
    np.savez(tmp_path / "chestmnist.npz", **labels)
    rows = "".join(",".join([str(n), *["0.5"] * 14]) + "\n" for n in range(30))
    name = "chestmnist_{}_[AUC]0.500_[ACC]0.500@x.csv"
    for part in ("val", "test"):
        (tmp_path / name.format(part)).write_text(rows)
    test, validation = (tmp_path / name.format(part) for part in ("test", "val"))
    words = (
        "evaluate",
        "--predictions",
        test,
        "--labels",
        tmp_path / "chestmnist.npz",
        "--bootstrap-replicates",
        "2",
    )
    for flag, path in (("--validation", test), ("--compare-to", validation)):
        refused = deepchest(*words, flag, path)
        assert refused.code == 2 and "by its name" in refused.err
    assert deepchest(*words, "--validation", validation).code == 0


def test_published_means_do_not_stand_beside_fewer_findings(deepchest, files):
    outcome = deepchest(
        "evaluate", "--predictions", files[0], "--labels", files[1], *QUICK, "--json"
    )
    assert json.loads(outcome.out)["references"]["rows"] == []


def test_without_data_those_of_training_are_scored(
    deepchest, shards, trained, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    outcome = deepchest("evaluate", "--model", trained, "--no-store", *QUICK, MAPLESS, "--json")
    assert outcome.code == 0, outcome.err
    assert f"No data set was named; using the data of {trained}: {shards}." in outcome.err
    assert json.loads(outcome.out)["data"] == str(shards)


def test_data_that_are_not_there_are_looked_for_where_the_model_was_trained(
    deepchest, trained, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    content = torch.load(trained / "best.pt", weights_only=True)
    first = {**content["origin"]["data_sets"][0], "data": "a"}
    content["origin"]["data_sets"] = [first, {**first, "data": "b"}]
    torch.save(content, tmp_path / "moved.pt")
    outcome = deepchest("evaluate", "--model", tmp_path / "moved.pt")
    assert outcome.code == 2
    assert f"(the working directory is {tmp_path})" in outcome.err
    assert "The model was trained on a, b: --data a --data b" in outcome.err


def test_the_default_data_in_place_of_those_of_training_are_named(
    deepchest, trained, shards, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    content = torch.load(trained / "best.pt", weights_only=True)
    content["origin"]["data_sets"] = [{**content["origin"]["data_sets"][0], "data": "a"}]
    torch.save(content, tmp_path / "moved.pt")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shards").symlink_to(shards)
    outcome = deepchest("evaluate", "--model", "moved.pt", "--no-store", *QUICK, MAPLESS)
    assert outcome.code == 0, outcome.err
    said = "data/shards is scored instead of what moved.pt was trained on, not found: a."
    assert said in outcome.err


def test_all_images_are_not_scored_where_one_of_several_models_was_trained_on_them(
    deepchest, run, shards, tmp_path
):
    content = torch.load(run / "best.pt", weights_only=True)
    first = content["origin"]["data_sets"][0]
    content["origin"]["data_sets"] = [{**first, "sha256": "0" * 64}]
    content["training_images"] = None
    torch.save(content, tmp_path / "other.pt")
    words = ("--data", shards, "--split", "all", *QUICK, MAPLESS, "--json", "--allow-overlap")
    for models in ((run, tmp_path / "other.pt"), (tmp_path / "other.pt", run)):
        flags = [word for model in models for word in ("--model", model)]
        outcome = deepchest("evaluate", *flags, *words)
        assert outcome.code == 0, outcome.err
        document = json.loads(outcome.out)
        assert document["split"] == "test"
        assert document["overlap"]["training_images"] == 0


def test_warnings_stand_in_every_output(deepchest, files, tmp_path, without_plots):
    lines = files[0].read_text().splitlines()
    (tmp_path / "flat.csv").write_text(
        "\n".join([lines[0], *(f"{line.rpartition(',')[0]},0.5" for line in lines[1:])])
    )
    words = ("--predictions", tmp_path / "flat.csv", "--labels", files[1], *QUICK)
    outcome = deepchest("evaluate", *words, "--report", tmp_path / "r")
    assert outcome.code == 0
    assert "Warning: All images have the same score for Effusion" in outcome.err
    assert "Whether the model was trained on these images is not known" in outcome.err
    for name in ("report.html", "model-card.md", "results.json"):
        assert "All images have the same score for Effusion" in (tmp_path / "r" / name).read_text()
    logits = deepchest("evaluate", *words, "--logits")
    assert "lie from 0 to 1, as probabilities do" in logits.err


def test_patients_of_a_files_training_rows_are_refused_unless_allowed(deepchest, files):
    text = files[0].read_text().splitlines()
    moved = [
        line.replace("test", "train", 1) if line.startswith("test") and "_001" in line else line
        for line in text
    ]
    files[0].write_text("\n".join(moved))
    words = ("evaluate", "--predictions", files[0], "--labels", files[1], *QUICK)
    refused = deepchest(*words)
    assert refused.code == 2
    assert "of 20 images to score, 20 show patients of the training" in refused.err
    allowed = deepchest(*words, "--allow-overlap", "--json")
    assert valid(json.loads(allowed.out), "evaluate")["overlap"]["shared_patients"] == 20
    assert "optimistic" in allowed.err
    training = deepchest(*words, "--split", "train")
    assert (training.code, "These are training images" in training.err) == (0, True)


def test_validation_is_not_given_where_it_is_scored(deepchest, files):
    words = ("--predictions", files[0], "--labels", files[1], "--validation", files[0])
    refused = deepchest("evaluate", *words, "--split", "validation")
    assert (refused.code, "the validation split itself is scored" in refused.err) == (2, True)


def test_a_model_counts_once_in_an_ensemble(deepchest, run, shards, tmp_path):
    shutil.copy(run / "best.pt", tmp_path / "copy.pt")
    words = ("--model", run, "--model", tmp_path / "copy.pt", "--data", shards)
    refused = deepchest("evaluate", *words)
    assert (refused.code, "is the same model as" in refused.err) == (2, True)


def test_the_fit_of_another_model_is_made_anew(evaluate_anew, run):
    evaluate_anew()
    content = torch.load(run / "best.pt", weights_only=True)
    content["validation_fit"]["source"] = "0" * 64
    torch.save(content, run / "best.pt")
    assert "now stored" in json.loads(evaluate_anew("--json").out)["validation_fit"]["note"]


def test_findings_that_a_model_does_not_predict_are_named(deepchest, run, shards, tmp_path):
    content = torch.load(run / "best.pt", weights_only=True)
    architecture = content["architecture"]
    architecture["findings"] = architecture["findings"][:-1]
    content["tensors"] = {
        name: value[:-1] if value.shape[:1] == (14,) else value
        for name, value in content["tensors"].items()
    }
    torch.save(content, tmp_path / "fewer.pt")
    outcome = deepchest(
        "evaluate", "--model", tmp_path / "fewer.pt", "--data", shards, *QUICK, MAPLESS
    )
    assert outcome.code == 0, outcome.err
    assert "Not predicted: Hernia." in outcome.err


PROVENANCE = {
    "data", "data_sha256", "labels", "labels_without_predictions", "model", "models", "notes",
    "overlap", "predictions", "source", "split_scheme", "synthetic", "validation_fit",
    "localization_note", "label_version",
}  # fmt: skip


def measured(document):
    return {key: value for key, value in document.items() if key not in PROVENANCE}


def test_saved_predictions_give_the_same_numbers_to_the_last_bit(
    evaluate, deepchest, nih_folder, tmp_path
):
    test, validation = tmp_path / "test.csv", tmp_path / "validation.csv"
    shards = json.loads(evaluate("--save-predictions", test, "--json").out)
    assert evaluate("--split", "validation", "--save-predictions", validation).code == 0
    labels = nih_folder / "Data_Entry_2017_v2020.csv"
    words = ("evaluate", "--predictions", test, *QUICK, "--json", "--labels")
    files = json.loads(deepchest(*words, labels, "--validation", validation).out)
    assert measured(files) == measured(shards)
    assert files["validation_fit"]["images"] == shards["validation_fit"]["images"] > 0
    alone = json.loads(deepchest(*words, test).out)
    for section in ("findings", "macro", "undefined", "patients", "split"):
        assert alone[section] == shards[section]
    assert alone["baseline"] is None and shards["baseline"]
    text = test.read_text()
    refused = evaluate("--save-predictions", test)
    assert (refused.code, "--force" in refused.err, test.read_text()) == (2, True, text)
    assert evaluate("--save-predictions", test, "--force").code == 0
    assert test.read_text() == text


def test_a_table_of_ones_own_goes_the_same_way(deepchest, trained, nih_folder, tmp_path):
    """Its rows are in no order, its patients have names, its labels gaps, its ages months."""
    rows = rows_of(nih_folder / "Data_Entry_2017_v2020.csv")
    lines = ["path,patient,Age,Gender,View," + ",".join(FINDINGS)]
    for number, row in enumerate(rows):
        cells = [str(int(f in row["Finding Labels"])) for f in FINDINGS]
        cells[number % 3] = ("", "-1", cells[number % 3])[number % 3]
        about = (f"images/{row['Image Index']}", f"p{row['Patient ID']}", f"{number:03d}M")
        lines.append(",".join([*about, row["Patient Gender"], row["View Position"], *cells]))
    table = nih_folder / "own.csv"
    table.write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    words = ("--source", nih_folder, "--labels-csv", table, "--data", tmp_path / "s", "--size", 32)
    assert deepchest("prepare", *words).code == 0
    words = ("evaluate", "--model", trained, "--data", tmp_path / "s", *QUICK, "--allow-overlap")
    saved = tmp_path / "p.csv"
    outcome = deepchest(*words, "--no-store", MAPLESS, "--save-predictions", saved, "--json")
    shards = json.loads(outcome.out)
    assert rows_of(saved)[0]["Image Index"].startswith("images/")
    for labels in (table, saved):
        words = ("evaluate", "--predictions", saved, "--labels", labels, *QUICK, "--json")
        files = json.loads(deepchest(*words).out)
        # to the baseline of a table the validation patients, which are not named, are others
        assert {**measured(files), "baseline": 0} == {**measured(shards), "baseline": 0}


@pytest.fixture
def predicted(deepchest, evaluated, nih_folder, shards):
    """Return what `predict` prints of a split's images."""
    data = open_dataset(shards)

    def predict(split, *more):
        names = data.columns["image_index"][data.rows(split)].tolist()
        paths = (nih_folder / "images" / name for name in names)
        return deepchest("predict", *paths, "--model", evaluated, "--format", "csv", *more).out

    return predict


def test_predictions_are_piped_into_evaluate(deepchest, predicted, nih_folder, monkeypatch):
    labels = nih_folder / "Data_Entry_2017_v2020.csv"
    words = ("evaluate", "--predictions", "-", "--labels", labels, *QUICK, "--json")
    text = predicted("test", "--top", 3)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    outcome = deepchest(*words)
    assert outcome.code == 0, outcome.err
    assert "not taken for findings: sha256, flagged, warnings, model_sha256, top." in outcome.err
    found = json.loads(outcome.out)["findings"]
    truth = {row["Image Index"]: row["Finding Labels"].split("|") for row in rows_of(labels)}
    rows = list(csv.DictReader(io.StringIO(text)))
    for finding in FINDINGS:
        scores = [float(row[finding]) for row in rows]
        positive = [finding in truth[Path(row["path"]).name] for row in rows]
        assert found[finding]["positives"] == sum(positive)
        if any(positive):
            expected = roc_auc_score(positive, scores)
            assert found[finding]["auroc"] == pytest.approx(expected, abs=1e-12)
    assert sum(one["positives"] > 0 for one in found.values()) > 5


def test_images_that_predict_calls_trained_are_refused(deepchest, predicted, nih_folder, tmp_path):
    (tmp_path / "p.csv").write_text(predicted("train"))
    labels = nih_folder / "Data_Entry_2017_v2020.csv"
    words = ("evaluate", "--predictions", tmp_path / "p.csv", "--labels", labels, *QUICK, "--json")
    refused = deepchest(*words)
    assert refused.code == 2 and "are training images" in refused.err
    assert "as its column 'warnings' says" in refused.err
    document = json.loads(deepchest(*words, "--allow-overlap").out)
    assert document["overlap"]["training_images"] == document["images"]
    assert set(TRAINING_WARNINGS.values()) == {code for code, _ in TRAINING_IMAGE_WARNINGS.values()}


def test_standard_input_is_read_once(deepchest):
    refused = deepchest("evaluate", "--predictions", "-", "--labels", "l.csv", "--validation", "-")
    assert refused.code == 2 and "both read standard input" in refused.err
    refused = deepchest("evaluate", "--predictions", "-", "--labels", "-")
    assert refused.code == 2 and "--labels cannot be read from standard input" in refused.err
