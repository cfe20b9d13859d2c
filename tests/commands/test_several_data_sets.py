"""A model of two data sets in every command that uses one."""

import json
import shutil

import pandas as pd
import pytest
from conftest import Recorder
from site_data import prepare_site, write_site
from tests_support import QUICK, valid

from deepchest_cli.config import TrainConfig

FAST = ("--json", "--bootstrap-replicates", 20)


def write_other(folder):
    """Write a site of another hospital: other names of findings, and other findings."""
    site = write_site(folder, 60, seed=4)
    table = pd.read_csv(site / "labels.csv", dtype=str)
    table = table.rename(columns={"Pleural Effusion": "Effusion", "Fracture": "Hernia"})
    table.to_csv(site / "labels.csv", index=False)
    return site


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """Two prepared sites of different sizes."""
    root = tmp_path_factory.mktemp("sites")
    one = prepare_site(write_site(root / "a", 60), root / "one")
    return one, prepare_site(write_other(root / "b"), root / "two", size=48)


@pytest.fixture(scope="module")
def model(sites, tmp_path_factory):
    """A run on both sites, evaluated on both."""
    from deepchest_cli.training.components import build_components
    from deepchest_cli.training.loop import Trainer
    from deepchest_cli.training.run_directory import create_run

    out = tmp_path_factory.mktemp("runs") / "run"
    config = TrainConfig(data=tuple(map(str, sites)), out=out, weights="none", **QUICK)
    Trainer(build_components(config), create_run(config), Recorder([], [], [])).fit()
    return config.out


def document_of(outcome, schema):
    assert outcome.code == 0, outcome.err
    return valid(json.loads(outcome.out), schema)


def test_each_data_set_is_scored_at_its_own_operating_points(deepchest, model, sites, tmp_path):
    document = document_of(deepchest("evaluate", "--model", model, *FAST), "external-validation")
    first, second = document["external_validation"]["data_sets"]
    assert (first["name"], second["name"]) == ("one", "two")
    assert first["is_training_data_set"] and second["is_training_data_set"]
    assert set(first["findings"]) == {"Effusion", "Mass", "Nodule", "Fracture"}
    assert set(second["findings"]) == {"Effusion", "Mass", "Nodule", "Hernia"}
    points = [one["operating_points"]["findings"]["Mass"] for one in document["data_sets"]]
    thresholds = [one["youden"]["threshold"] for one in points]
    assert thresholds[0] != thresholds[1]
    images = sites[1].parent / "b" / "images"
    exported = tmp_path / "model.onnx"
    pytest.importorskip("onnx")
    assert deepchest("export", "--model", model, "--out", exported).code == 0
    for name, threshold in zip(("one", "two"), thresholds, strict=True):
        for file in (model, exported):
            answer = deepchest("predict", images, "--model", file, "--source", name, "--json")
            point = document_of(answer, "predictions")["images"][0]["operating_point"]
            assert name in point["source"]
            assert point["thresholds"]["Mass"] == pytest.approx(threshold, abs=1e-12)


def test_a_data_set_that_the_model_does_not_have_is_answered_with_those_it_has(
    deepchest, model, sites
):
    images = sites[0].parent / "a" / "images"
    outcome = deepchest("predict", images, "--model", model, "--source", "three")
    assert outcome.code == 2
    assert "'three'" in outcome.err and "one, two" in outcome.err


def test_one_data_set_begins_from_the_weights_of_both(deepchest, sites, model, tmp_path):
    words = ("--data", sites[1], "--weights", model, "--out", tmp_path / "next", "--max-steps", 1)
    outcome = deepchest("train", *words, "--backbone", QUICK["backbone"], "--batch-size", 8)
    assert outcome.code == 0, outcome.err
    assert "with the head's for all of 4 findings" in outcome.err


def test_a_data_set_is_known_by_its_content_and_not_by_its_folder(
    deepchest, sites, model, tmp_path
):
    moved = shutil.copytree(sites[0], tmp_path / "elsewhere")
    outcome = deepchest("evaluate", "--model", model, "--data", moved, "--no-store", *FAST)
    document = document_of(outcome, "evaluate")
    assert document["overlap"]["is_training_data_set"]
    assert "validation of one" in document["validation_fit"]["note"]


def test_data_of_training_that_are_gone_are_named(deepchest, sites, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    away = sites[1].rename(sites[1].with_name("away"))
    try:
        outcome = deepchest("evaluate", "--model", model)
    finally:
        away.rename(sites[1])
    assert outcome.code == 2
    assert f"The model was trained on {sites[0]}, {sites[1]}: --data" in outcome.err


def test_doctor_names_the_data_sets_of_a_model(deepchest, model):
    found = json.loads(deepchest("doctor", "--model", model, "--json").out)
    assert "trained on one and two" in found["checks"]["model"]["found"]
