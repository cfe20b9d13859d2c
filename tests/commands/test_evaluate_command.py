import csv
import io
import json
import shutil

import pytest
import torch
from tests_support import valid


@pytest.fixture
def evaluate(deepchest, trained, shards):
    return lambda *more: deepchest("evaluate", "--model", trained, "--data", shards, *more)


def test_table(evaluate):
    outcome = evaluate()
    assert outcome.code == 0, outcome.err
    for text in ("AUROC", "Hernia", "Macro mean", "(of nothing)", "F1 weighted"):
        assert text in outcome.out


def test_json_validates_and_agrees_with_csv(evaluate):
    document = valid(json.loads(evaluate("--format", "json").out), "evaluate")
    assert json.loads(evaluate("--json").out) == document
    rows = list(csv.DictReader(io.StringIO(evaluate("--format", "csv").out)))
    assert [row["finding"] for row in rows] == [*document["findings"], "macro"]
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


def test_out_is_not_overwritten(evaluate, tmp_path):
    path = tmp_path / "deep" / "results.json"
    assert evaluate("--out", path).code == 0
    assert valid(json.loads(path.read_text()), "evaluate")
    assert evaluate("--out", path).code == 2
    assert evaluate("--out", path, "--force").code == 0


def test_missing_model_and_data(deepchest, trained, shards, tmp_path):
    no_model = deepchest("evaluate", "--model", tmp_path / "x", "--data", shards)
    assert (no_model.code, "deepchest train" in no_model.err) == (2, True)
    no_data = deepchest("evaluate", "--model", trained, "--data", tmp_path / "x")
    assert (no_data.code, "deepchest prepare" in no_data.err) == (2, True)


def test_splits_are_not_mixed(deepchest, trained, nih_folder, tmp_path):
    arguments = ("--source", nih_folder, "--data", tmp_path / "r", "--size", 32)
    assert deepchest("prepare", *arguments, "--split-scheme", "random").code == 0
    outcome = deepchest("evaluate", "--model", trained, "--data", tmp_path / "r")
    assert outcome.code == 2
    assert "may hold trained patients" in outcome.err


def test_seeds_of_a_split_are_not_mixed(deepchest, trained, nih_folder, tmp_path):
    """NIH's test part is the same under every seed; the parts carved from the rest are not."""
    arguments = ("--source", nih_folder, "--data", tmp_path / "r", "--size", 32, "--seed", 5)
    assert deepchest("prepare", *arguments).code == 0
    evaluate = ("evaluate", "--model", trained, "--data", tmp_path / "r", "--split")
    assert deepchest(*evaluate, "test").code == 0
    refused = deepchest(*evaluate, "validation")
    assert refused.code == 2
    assert "seed" in refused.err


def test_data_of_another_size_are_refused(deepchest, trained, nih_folder, tmp_path):
    arguments = ("--source", nih_folder, "--data", tmp_path / "s", "--size", 48)
    assert deepchest("prepare", *arguments).code == 0
    outcome = deepchest("evaluate", "--model", trained, "--data", tmp_path / "s")
    assert outcome.code == 2
    assert "--size 32" in outcome.err


def test_shards_without_the_models_findings(deepchest, trained, shards, tmp_path):
    content = torch.load(trained / "best.pt", weights_only=True)
    content["architecture"]["findings"][0] = "Fracture"
    torch.save(content, tmp_path / "other.pt")
    outcome = deepchest("evaluate", "--model", tmp_path / "other.pt", "--data", shards)
    assert outcome.code == 2
    assert "no labels for Fracture" in outcome.err


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
    model["origin"]["source"]["synthetic"] = model_is_synthetic
    torch.save(model, tmp_path / "model.pt")
    shutil.copytree(shards, data)
    manifest = json.loads((data / "manifest.json").read_text())
    manifest["source"]["synthetic"] = not model_is_synthetic
    (data / "manifest.json").write_text(json.dumps(manifest))
    outcome = deepchest("evaluate", "--model", tmp_path / "model.pt", "--data", data)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("Warning") == 1
    assert warning in outcome.err
