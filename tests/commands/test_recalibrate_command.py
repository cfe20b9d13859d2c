"""`deepchest recalibrate`: from shards and from files, into checkpoints and ONNX files."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from killing import KilledError, killed_at
from prediction_models import make_model, validation_fit
from site_data import prepare_site, write_site
from tests_support import QUICK, next_step, replaced, too_wide, valid

from deepchest_cli import load_model
from deepchest_cli.config import TrainConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.evaluation.operating_points import RULES
from deepchest_cli.evaluation.validation_fit import ValidationFit
from deepchest_cli.files import sha256_of
from deepchest_cli.library.model import open_network
from deepchest_cli.model.checkpoint import read_checkpoint
from deepchest_cli.model.logistic import sigmoid
from deepchest_cli.training.components import build_components
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.run_directory import create_run

SILENT = SimpleNamespace(**dict.fromkeys(("on_step", "on_epoch", "on_note"), lambda *_: None))
SHARED = ("Effusion", "Mass")  # of the model and the site, with enough positives and negatives


@pytest.fixture(scope="module")
def evaluated(shards, tmp_path_factory):
    """A run that sees brightness, with thresholds and a calibration that are made up."""
    out = tmp_path_factory.mktemp("evaluated") / "run"
    settings = {**QUICK, "backbone": "small_cnn", "epochs": 8, "learning_rate": 3e-3}
    config = TrainConfig(data=(str(shards),), out=out, device="cpu", **settings)
    Trainer(build_components(config), create_run(config), SILENT).fit()
    content = torch.load(out / "best.pt", weights_only=True)
    findings = content["architecture"]["findings"]
    entries = validation_fit(findings)["findings"]
    for entry in entries.values():
        entry["operating_points"] = dict.fromkeys(RULES, 0.4)
        entry["no_operating_point"], entry["uncalibrated"] = {}, None
        entry["calibration"], entry["prevalence"] = {"slope": 0.7, "intercept": -0.8}, 0.1
    fit = {**validation_fit(findings), "findings": entries}
    fit["source"] = content["origin"]["data_sets"][0]["sha256"]
    torch.save({**content, "validation_fit": fit}, out / "best.pt")
    return out


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The images and labels of a site, and its shards below."""
    folder = write_site(tmp_path_factory.mktemp("site") / "hospital")
    prepare_site(folder, folder / "shards")
    return folder


@pytest.fixture
def recalibrate(deepchest, evaluated, site, tmp_path):
    given = ("--model", evaluated, "--data", site / "shards", "--out", tmp_path / "out")
    given += ("--bootstrap-replicates", 20)
    return lambda *more: deepchest("recalibrate", *replaced(given, more[: len(more) // 2 * 2]))


@pytest.fixture
def from_files(deepchest, evaluated, site, tmp_path):
    given = ("--model", evaluated, "--labels", site / "labels.csv", "--out", tmp_path / "files")
    given += ("--predictions", tmp_path / "p.csv", "--bootstrap-replicates", 20)
    return lambda *more: deepchest("recalibrate", *replaced(given, more[: len(more) // 2 * 2]))


def fit_in(path):
    plain = read_checkpoint(path)["validation_fit"]
    return ValidationFit.from_plain(plain)


def test_table(recalibrate, evaluated, site, tmp_path):
    before = sha256_of(evaluated / "best.pt")
    outcome = recalibrate("--site", "Hospital B")
    assert outcome.code == 0, outcome.err
    table, _, summary = outcome.out.partition("\n\n")
    lines = table.splitlines()
    assert [line for line in lines if not line.startswith("  ")][1:] == ["Effusion", "Mass"]
    assert [line.split()[0] for line in lines[2:4]] == ["before", "after"]
    assert max(map(len, lines)) <= 80
    for text in (
        "Judged on test: ",
        f"of Hospital B ({site / 'shards'}), for 2 of 14 findings.",
        "Carried over from the model: 12 of 14 findings, not labeled by the site (11), fewer than ",
        " at the site (1). --verbose names them.",
        "Not predicted: Fracture.",
        f"Written: {tmp_path / 'out'}",
    ):
        assert text in summary, text
    assert "none of the scored images is a training" in outcome.err
    assert sha256_of(evaluated / "best.pt") == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["best.pt"]


def test_the_findings_of_each_reason_are_named_where_more_is_wanted(
    deepchest, evaluated, site, tmp_path
):
    words = ("--model", evaluated, "--data", site / "shards", "--out", tmp_path / "out")
    said = deepchest("recalibrate", *words, "--bootstrap-replicates", 0, "--verbose").out
    assert "Carried over from the model: not labeled by the site: Atelectasis" in said
    assert "at the site: Nodule (" in said


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_screen_and_the_next_step(deepchest, recalibrate, site, tmp_path, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.chdir(tmp_path)
    outcome = recalibrate("--site", "Hospital B", "--out", tmp_path / "B's copy")
    assert outcome.code == 0, outcome.err
    assert too_wide(outcome.out + outcome.err, width) == []
    if width > 40:
        assert len(outcome.out.partition("\n\n")[0].splitlines()) == 7
    _, *words = next_step(outcome.err)
    copy, shards = str(tmp_path / "B's copy"), str(site / "shards")
    assert words == ["evaluate", "--model", copy, "--data", shards]
    if width == 80:
        evaluated = deepchest(*words, "--bootstrap-replicates", 0, "--no-localization")
        assert evaluated.code == 0, evaluated.err


def test_json_and_what_is_written(deepchest, evaluated, site, tmp_path):
    words = ("--model", evaluated, "--data", site / "shards", "--out", tmp_path / "site.pt")
    outcome = deepchest("recalibrate", *words, "--json", "--split", "train+validation")
    document = valid(json.loads(outcome.out), "recalibrate")
    section = document["site"]
    assert section["name"] == "shards" and section["findings"] == list(SHARED)
    assert document["written"] == {
        "path": str(tmp_path / "site.pt"),
        "sha256": sha256_of(tmp_path / "site.pt"),
    }
    assert document["model"]["sha256"] == sha256_of(evaluated / "best.pt")
    copy, original = (read_checkpoint(p) for p in (tmp_path / "site.pt", evaluated / "best.pt"))
    assert copy["validation_fit"]["site"] == section
    assert copy["validation_fit"]["source"] == section["sha256"]
    assert set(copy["tensors"]) == set(original["tensors"])
    assert all(torch.equal(copy["tensors"][k], v) for k, v in original["tensors"].items())
    for name in original.keys() - {"tensors", "validation_fit", "training"}:
        assert str(copy[name]) == str(original[name]), name
    kept, chosen = (one["validation_fit"]["findings"] for one in (original, copy))
    assert chosen["Hernia"] == kept["Hernia"]
    assert chosen["Mass"]["operating_points"] != kept["Mass"]["operating_points"]


def test_predict_uses_them_and_says_whose_they_are(deepchest, recalibrate, site, tmp_path):
    assert recalibrate("--site", "Hospital B").code == 0
    fit = fit_in(tmp_path / "out" / "best.pt")
    image = site / "images" / "site-0.png"
    source = f"youden on {fit.images} validation images of Hospital B (carried over from the "
    outcome = deepchest("predict", image, "--model", tmp_path / "out", "--json")
    document = valid(json.loads(outcome.out), "predictions")
    assert document["images"][0]["operating_point"]["source"].startswith(source)
    assert source in outcome.err
    (answer,) = load_model(tmp_path / "out", device="cpu").predict(image)
    scaling = fit.scalings["Mass"]
    threshold = np.array([fit.threshold("Mass", "youden")])
    expected = threshold if scaling is None else scaling.applied(threshold)
    assert answer.thresholds["Mass"] == pytest.approx(expected[0])
    assert answer.thresholds["Hernia"] == pytest.approx(0.2528, abs=1e-3)  # 0.7 logit(0.4) - 0.8


def test_evaluate_says_whose_they_are_and_never_replaces_them(
    deepchest, recalibrate, shards, site, tmp_path
):
    assert recalibrate("--site", "Hospital B").code == 0
    path = tmp_path / "out" / "best.pt"
    before = sha256_of(path)
    quick = ("--model", tmp_path / "out", "--bootstrap-replicates", 0, "--no-localization")
    for data, split in ((shards, "test"), (shards, "validation")):
        for method in ("platt", "temperature"):
            more = ("--data", data, "--split", split, "--calibration", method, "--json")
            document = valid(json.loads(deepchest("evaluate", *quick, *more).out), "evaluate")
            found = document["validation_fit"]
            assert "images of Hospital B (carried" in found["note"]
            assert found["site"]["name"] == "Hospital B"
            assert found["caution"].startswith("Images of the site chose")
            assert document["operating_points"]["findings"]["Mass"]["youden"] is not None
    table = deepchest("evaluate", *quick, "--data", shards)
    assert "Thresholds (youden) chosen on " in table.out and "of Hospital B" in table.out
    assert sha256_of(path) == before
    content = torch.load(path, weights_only=True)
    del content["validation_fit"]["findings"]  # what a later version may have changed
    torch.save(content, path)
    before = sha256_of(path)
    deepchest("evaluate", *quick, "--data", shards)
    assert sha256_of(path) == before


def test_doctor_names_the_site(deepchest, recalibrate, tmp_path):
    assert recalibrate("--site", "Hospital B").code == 0
    found = json.loads(deepchest("doctor", "--model", tmp_path / "out", "--json").out)
    assert found["checks"]["model"]["found"].endswith("operating points of Hospital B")


def test_files_of_predict_choose_what_shards_choose(
    deepchest, recalibrate, from_files, evaluated, site, tmp_path
):
    """Predictions of `predict` are calibrated, those of `evaluate` are raw."""
    # equal scores stay equal at an equal batch size
    assert recalibrate("--split", "all", "--batch-size", 4).code == 0
    answered = deepchest("predict", site / "images", "--model", evaluated, "--format", "csv")
    (tmp_path / "p.csv").write_text(answered.out)
    outcome = from_files()
    assert outcome.code == 0, outcome.err
    assert "the calibration that the model keeps is undone" in outcome.err
    assert_same_fit(fit_in(tmp_path / "out/best.pt"), fit_in(tmp_path / "files/best.pt"))
    table = pd.read_csv(tmp_path / "p.csv")
    for column, cell, said in (
        ("model_sha256", "0" * 64, "was written by another model"),
        ("warnings", "in-validation-set", "are in the model's own data, as its column 'warnings'"),
    ):
        table.assign(**{column: cell}).to_csv(tmp_path / "p.csv", index=False)
        refused = from_files("--out", tmp_path / "refused")
        assert (refused.code, said in refused.err) == (2, True)
    table.drop(columns=["sha256", "flagged", "warnings"]).to_csv(tmp_path / "p.csv", index=False)
    assert from_files("--out", tmp_path / "raw").code == 0  # taken for raw
    right, wrong = (fit_in(tmp_path / name / "best.pt").scalings for name in ("out", "raw"))
    assert all(abs(wrong[name].intercept - right[name].intercept) > 0.1 for name in SHARED)
    assert from_files("--out", tmp_path / "said", "--probabilities", "calibrated").code == 0
    assert_same_fit(fit_in(tmp_path / "out/best.pt"), fit_in(tmp_path / "said/best.pt"))


@pytest.mark.parametrize("logits", [False, True])
def test_raw_predictions_choose_what_shards_choose(
    recalibrate, from_files, evaluated, site, tmp_path, logits
):
    """As `evaluate --save-predictions` writes them; the split column says which images choose."""
    assert recalibrate().code == 0
    dataset = open_dataset(site / "shards")
    network = open_network(evaluated, "cpu", 64)
    rows = np.arange(len(dataset.labels))
    found = [network(dataset.gather(rows[at : at + 64])).logits for at in range(0, len(rows), 64)]
    scores = np.concatenate(found).astype(np.float64)
    table = pd.DataFrame(scores if logits else sigmoid(scores), columns=network.metadata.findings)
    table["Image Index"], table["split"] = (dataset.columns[n] for n in ("image_index", "split"))
    table.to_csv(tmp_path / "p.csv", index=False)
    more = ("--config", tmp_path / "logits.toml") if logits else ()
    (tmp_path / "logits.toml").write_text("logits = true")
    outcome = from_files(*more)
    assert outcome.code == 0, outcome.err
    assert "taken as they are, for raw ones" in outcome.err
    assert "Judged on test" in outcome.out
    assert_same_fit(fit_in(tmp_path / "out/best.pt"), fit_in(tmp_path / "files/best.pt"))


def assert_same_fit(one, other):
    assert (one.images, one.patients, one.site.findings) == (
        other.images, other.patients, other.site.findings,
    )  # fmt: skip
    assert one.site.split == other.site.split
    for finding in SHARED:
        assert other.thresholds[finding] == pytest.approx(
            one.thresholds[finding], rel=1e-5, nan_ok=True
        )
        pair = [fit.scalings[finding] for fit in (one, other)]
        if pair[0] is not None:
            assert vars(pair[1]) == pytest.approx(vars(pair[0]), rel=1e-3)
        assert one.uncalibrated.get(finding) == other.uncalibrated.get(finding)


@pytest.fixture(scope="module")
def exported(evaluated, tmp_path_factory):
    from deepchest_cli.prediction.export import export_model

    return export_model(evaluated, "onnx", tmp_path_factory.mktemp("e") / "m.onnx", False).path


def test_an_onnx_file_gets_what_a_checkpoint_gets(deepchest, recalibrate, exported, site, tmp_path):
    before = sha256_of(exported)
    assert recalibrate("--site", "B").code == 0
    out = tmp_path / "site.onnx"
    outcome = recalibrate("--model", exported, "--out", out, "--site", "B")
    assert outcome.code == 0, outcome.err
    assert sha256_of(exported) == before
    files = [onnx.load(path) for path in (exported, out)]
    assert files[0].graph == files[1].graph
    texts = [next(e.value for e in m.metadata_props if e.key == "deepchest") for m in files]
    one, other = map(json.loads, texts)
    fit = ValidationFit.from_plain(other["validation_fit"])
    assert_same_fit(fit_in(tmp_path / "out/best.pt"), fit)
    del one["validation_fit"], other["validation_fit"]
    assert one == other
    # the copy of the checkpoint, exported, is the same
    again = tmp_path / "again.onnx"
    words = ("--model", tmp_path / "out", "--out", again)
    assert deepchest("export", *words).code == 0
    image = site / "images" / "site-1.png"
    answers = [load_model(path, device="cpu").predict(image)[0] for path in (out, again)]
    assert answers[0].threshold_source == answers[1].threshold_source
    assert " validation images of B (carried over" in answers[0].threshold_source
    for name, value in answers[0].probabilities.items():
        assert answers[1].probabilities[name] == pytest.approx(value, abs=1e-4)


def test_an_onnx_file_of_another_program_is_refused(recalibrate, exported, tmp_path):
    model = onnx.load(exported)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "theirs.onnx")
    refused = recalibrate("--model", tmp_path / "theirs.onnx", "--out", tmp_path / "x.onnx")
    assert (refused.code, "another program wrote it" in refused.err) == (1, True)
    assert not (tmp_path / "x.onnx").exists()


def test_onnx_and_images_of_its_training(deepchest, exported, shards, tmp_path):
    words = ("--model", exported, "--data", shards, "--out", tmp_path / "x.onnx")
    refused = deepchest("recalibrate", *words)
    assert refused.code == 2
    assert "have the pixels of images that" in refused.err
    assert not (tmp_path / "x.onnx").exists()


def test_the_models_own_data_are_no_site(recalibrate, shards, tmp_path):
    refused = recalibrate("--data", shards)
    assert refused.code == 2
    assert "is what" in refused.err and "deepchest evaluate chooses" in refused.err
    assert not (tmp_path / "out").exists()


def test_images_of_training_are_refused_in_files_too(from_files, shards, tmp_path):
    names = [f"{patient:08d}_001.png" for patient in range(1, 30)]
    rows = [{"image": name, "patient": name, "Mass": i % 2} for i, name in enumerate(names)]
    for path, value in ((tmp_path / "p.csv", 0.3), (tmp_path / "l.csv", None)):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["image", "patient", "Mass"])
            writer.writeheader()
            moved = [{**r, "Mass": value + i / 100} for i, r in enumerate(rows)] if value else rows
            writer.writerows(moved)
    refused = from_files("--labels", tmp_path / "l.csv")
    assert refused.code == 2
    assert "the patients of images that" in refused.err and "--allow-overlap" in refused.err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--data", "nowhere"), "nowhere"),
        (("--model", "nowhere"), "There is no model nowhere"),
        (("--site", " "), "--site takes a name"),
        (("--labels", "l.csv"), "--data and --predictions are both given"),
        (("--probabilities", "raw"), "go with --predictions"),
        (("--split", "test"), "test"),
        (("--model", "b", "--model", "c"), "--model is given twice"),
    ],
)
def test_wrong_use(recalibrate, tmp_path, more, said):
    refused = recalibrate(*more)
    assert refused.code == 2
    assert said in refused.err
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_said(deepchest, evaluated, site, tmp_path):
    assert "--out is missing" in deepchest("recalibrate", "--data", site / "shards").err
    nothing = deepchest("recalibrate", "--model", evaluated, "--out", tmp_path / "o")
    assert (nothing.code, "The site's images are not named." in nothing.err) == (2, True)
    half = deepchest("recalibrate", "--model", evaluated, "--predictions", "p.csv")
    assert "--labels is missing" in half.err


def test_data_of_another_size_or_without_a_shared_finding(recalibrate, site, tmp_path):
    prepare_site(site, tmp_path / "small", size=28)
    refused = recalibrate("--data", tmp_path / "small")
    assert (refused.code, "the model was trained on 32 px" in refused.err) == (2, True)
    prepare_site(site, tmp_path / "other", label_columns="Fracture")
    refused = recalibrate("--data", tmp_path / "other")
    assert refused.code == 2
    assert "labels none of the model's findings: it has Fracture" in refused.err


def test_logits_are_refused_unless_they_are_said(from_files, site, tmp_path):
    table = pd.read_csv(site / "labels.csv")
    table["Mass"] = 4 * table["Mass"] - 2 + np.arange(len(table)) / 100
    table[["image", "Mass"]].to_csv(tmp_path / "p.csv", index=False)
    refused = from_files()
    assert (refused.code, "--logits" in refused.err) == (2, True)


def test_predictions_without_labels_are_said(from_files, site, tmp_path):
    table = pd.read_csv(site / "labels.csv")
    table["Mass"] = np.linspace(0.1, 0.9, len(table))
    table[["image", "Mass"]].to_csv(tmp_path / "p.csv", index=False)
    pd.read_csv(site / "labels.csv")[1:].to_csv(tmp_path / "l.csv", index=False)
    outcome = from_files("--labels", tmp_path / "l.csv")
    assert outcome.code == 0, outcome.err
    assert "1 prediction has no label in" in outcome.err and "site-0" in outcome.err
    assert fit_in(tmp_path / "files/best.pt").images == len(table) - 1


def test_a_damaged_checkpoint_is_refused(recalibrate, evaluated, tmp_path):
    whole = (evaluated / "best.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    refused = recalibrate("--model", tmp_path / "cut.pt")
    assert (refused.code, "damaged or cut short" in refused.err) == (1, True)
    assert not (tmp_path / "out").exists()


def test_nothing_stays_of_a_copy_that_cannot_be_written(recalibrate, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("deepchest_cli.model.checkpoint.torch.save", full)
    failed = recalibrate("--out", tmp_path / "deep" / "out")
    assert failed.code == 1
    assert "No space left on device" in failed.err and "best.pt" in failed.err
    assert not (tmp_path / "deep").exists()


def test_a_killed_copy_leaves_the_earlier_one(recalibrate, evaluated, tmp_path):
    assert recalibrate("--site", "A").code == 0
    path = tmp_path / "out" / "best.pt"
    before = sha256_of(path)
    from deepchest_cli.model.checkpoint import copy_with_fit
    from deepchest_cli.model.checkpoint import load_model as load

    model = load(evaluated, torch.device("cpu"))
    with killed_at(1), pytest.raises(KilledError):
        copy_with_fit(model, {}, path)
    assert sha256_of(path) == before
    copy_with_fit(model, {"images": 1}, path)
    assert [one.name for one in path.parent.iterdir()] == ["best.pt"]
    assert read_checkpoint(path)["validation_fit"] == {"images": 1}


def test_a_model_that_is_written_meanwhile_is_not_copied(tmp_path):
    from deepchest_cli.errors import DeepChestError
    from deepchest_cli.model.checkpoint import copy_with_fit
    from deepchest_cli.model.checkpoint import load_model as load

    model = load(make_model(tmp_path / "run"), torch.device("cpu"))
    make_model(tmp_path / "run", seed=1)
    with pytest.raises(DeepChestError, match="written anew"):
        copy_with_fit(model, {}, tmp_path / "copy.pt")
    assert not (tmp_path / "copy.pt").exists()
