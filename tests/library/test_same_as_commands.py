"""Each function does what its command does, to the bit."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
import torch
from tests_support import untimed

import deepchest_cli
from deepchest_cli.comparison.running.jobs import RESULTS
from deepchest_cli.data.shards import MANIFEST
from deepchest_cli.files import sha256_of, to_json
from deepchest_cli.model.checkpoint import read_checkpoint
from deepchest_cli.training.run_files import METRICS, WEIGHTS

SHORT = {"backbone": "small_cnn", "epochs": 2, "max_steps": 6, "batch_size": 16}
SHORT |= {"image_size": 32, "precision": "fp32"}
FLAGS = [word for name, v in SHORT.items() for word in (f"--{name.replace('_', '-')}", v)]
COMPARED = {"seeds": 3, "bootstrap_replicates": 100, "cost_rounds": 2}


def plain(document):
    """Return a document as a file of it has it."""
    return json.loads(to_json(document))


def read(text):
    """Return a table with its numbers to the last bit."""
    return pd.DataFrame(csv.DictReader(io.StringIO(text)))


def numbers(column):
    return [float(value or "nan") for value in column]


@pytest.fixture(scope="module")
def run(shards, tmp_path_factory):
    """A run that the function has trained; not to be changed."""
    return deepchest_cli.train(shards, out=tmp_path_factory.mktemp("runs") / "run", **SHORT)


def test_train(deepchest, shards, run, tmp_path):
    assert deepchest("train", "--data", shards, "--out", tmp_path / "run", *FLAGS).code == 0
    theirs = tmp_path / "run"
    assert untimed(run.folder / METRICS) == untimed(theirs / METRICS)
    assert (run.folder / WEIGHTS).read_bytes() == (theirs / WEIGHTS).read_bytes()
    assert {path.name for path in run.folder.iterdir()} == {p.name for p in theirs.iterdir()}
    assert (run.folder / "config.toml").read_bytes() == (theirs / "config.toml").read_bytes()
    ours, other = (read_checkpoint(folder / "best.pt") for folder in (run.folder, theirs))
    assert all(torch.equal(value, other["tensors"][key]) for key, value in ours["tensors"].items())
    with (theirs / METRICS).open() as file:
        rows = list(csv.DictReader(file))
    assert run.history["validation_auroc"].tolist() == [float(r["validation_auroc"]) for r in rows]
    assert run.weights.shape == (2, 14)


def test_a_run_is_read_again_as_it_was_trained(run):
    again = deepchest_cli.load_run(run.folder)
    pd.testing.assert_frame_equal(again.history, run.history)
    assert (again.best_epoch, again.auroc) == (run.best_epoch, run.auroc)
    assert run.auroc == run.summary.best_score
    assert again.config["max_steps"] == 6


def test_evaluate(deepchest, run, shards):
    flags = ("--bootstrap-replicates", 50, "--no-store")
    told = deepchest(
        "evaluate", "--model", run.folder, "--data", shards, *flags, "--format", "json"
    )
    found = deepchest_cli.evaluate(run.folder, shards, bootstrap_replicates=50, store=False)
    theirs = json.loads(told.out)
    theirs.pop("schema_version")
    assert plain(found.document) == theirs
    table = deepchest(
        "evaluate", "--model", run.folder, "--data", shards, *flags, "--format", "csv"
    )
    expected = read(table.out).set_index("finding")
    ours = pd.concat([found.findings, found.macro])
    assert list(ours) == list(expected)
    np.testing.assert_array_equal(ours["auroc"], numbers(expected["auroc"]))
    assert ours.index.tolist() == expected.index.tolist()
    assert "macro" not in found.findings.index
    assert found.predictions.shape[0] == found.document["images"]


def test_predict(deepchest, run, nih_folder):
    images = sorted((nih_folder / "images").iterdir())[:3]
    told = deepchest("predict", *images, "--model", run.folder, "--format", "csv")
    expected = read(told.out).set_index("path")
    found = deepchest_cli.predict([*images, "missing.png"], run.folder)
    assert found.probabilities.index.tolist() == [str(image) for image in images]
    for finding in found.findings:
        assert found.probabilities[finding].tolist() == numbers(expected[finding])
    assert found.problems == {"missing.png": "the file is missing"}
    assert len(found) == 3
    assert found[0].probabilities == found.probabilities.iloc[0].to_dict()


def test_prepare(deepchest, nih_folder, tmp_path):
    flags = ("--size", 32, "--workers", 1)
    told = deepchest("prepare", "--source", nih_folder, "--data", tmp_path / "a", *flags)
    assert told.code == 0
    found = deepchest_cli.prepare(nih_folder, tmp_path / "b", size=32, workers=1)
    ours, theirs = (
        {p.name: sha256_of(p) for p in folder.iterdir()}
        for folder in (found.folder, tmp_path / "a")
    )
    assert ours == theirs
    assert MANIFEST in ours
    table = found.table
    in_test = table[table["split"] == "test"]
    assert found.counts["test"]["Effusion"] == (in_test["Effusion"] == 1).sum() > 0
    assert len(found) == len(table) == 80
    assert found.images([0, 5]).shape == (2, 32, 32)


def test_compare(deepchest, shards, tmp_path):
    flags = [w for n, v in COMPARED.items() for w in (f"--{n.replace('_', '-')}", v)]
    told = deepchest(
        "compare-weighters", "--weighters", "equal,dwa", "--data", shards, "--out", tmp_path / "a",
        *FLAGS, *flags,
    )  # fmt: skip
    assert told.code == 0
    found = deepchest_cli.compare(["equal", "dwa"], shards, out=tmp_path / "b", **SHORT, **COMPARED)
    for name in ("metrics.csv", "differences.csv", "finding-metrics.csv", "weights.csv"):
        assert (found.folder / name).read_bytes() == (tmp_path / "a" / name).read_bytes(), name
    written = json.loads((found.folder / RESULTS).read_text())
    assert plain(found.document)["weighters"] == written["weighters"]
    again = deepchest_cli.load_comparison(found.folder)
    pd.testing.assert_frame_equal(again.weighters, found.weighters)
    assert found.weighters["verdict"]["equal"] == "baseline"
    assert found.differences.index.names == ["weighter", "metric"]
    assert [run.folder.name for run in found.runs["dwa"]] == ["seed-0", "seed-1", "seed-2"]
