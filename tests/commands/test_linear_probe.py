import json
import re
import shutil

import pytest
from tests_support import rows_of, valid

PROBE = (
    "--recipe", "probe", "--backbone", "small_cnn", "--image-size", "28", "--batch-size", "16",
    "--epochs", "2", "--learning-rate", "0.01",
)  # fmt: skip


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    return tmp_path / "user-cache"


@pytest.fixture
def probe(deepchest, shards, tmp_path):
    """Run a probe with more flags; returns its folder and what it said."""

    def run(*flags, name="run"):
        outcome = deepchest("train", "--data", shards, "--out", tmp_path / name, *PROBE, *flags)
        return tmp_path / name, outcome

    return run


def test_what_a_user_sees_and_what_the_second_probe_takes_from_the_cache(
    probe, cache_folder, deepchest
):
    folder, outcome = probe()
    assert outcome.code == 0, outcome.err
    kept = cache_folder / "deepchest" / "features"
    lines = outcome.err.splitlines()
    assert "13 linear heads, at learning rates from 0.0001 to 1" in outcome.err
    assert "The features are those of a random network" in outcome.err
    pattern = (
        "Features of 60 radiographs: computed once, without augmentation, and kept in (.*) [(]"
    )
    found = re.search(pattern, outcome.err)
    assert found and found[1].startswith(str(kept))
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert len(epochs) == 2
    assert all("  learning rate " in line for line in epochs)
    assert re.search(r"validation AUROC [0-9.]+, learning rate [0-9.]+$", outcome.out.strip())
    _, again = probe("--loss", "focal", name="again")
    assert f"Features of 60 radiographs: taken from {found[1]} (" in again.err
    shutil.rmtree(kept)  # as anybody may
    _, third = probe("--json", name="third")
    summary = valid(json.loads(third.out), "train")
    rates = {float(row["learning_rate"]) for row in rows_of(folder / "learning_rates.csv")}
    assert summary["learning_rate"] in rates
    doctor = valid(json.loads(deepchest("doctor", "--json").out), "doctor")
    assert doctor["features"]["folder"] == str(kept)
    assert doctor["features"]["bytes"] > 60 * 512 * 4
    assert "features of linear probes: 12" in deepchest("doctor").out


def test_its_model_is_evaluated_predicted_exported_and_resumed_as_any(
    probe, deepchest, shards, tmp_path, nih_folder
):
    run, outcome = probe("--weighter", "deepchest")
    assert outcome.code == 0, outcome.err
    assert {"metrics.png", "weights.png"} <= {path.name for path in run.iterdir()}
    arguments = ("--model", run, "--data", shards, "--bootstrap-replicates", 20)
    evaluated = deepchest("evaluate", *arguments, "--report", tmp_path / "report", "--json")
    assert evaluated.code == 0, evaluated.err
    card = (tmp_path / "report" / "model-card.md").read_text()
    assert "the head of a linear probe at learning rate" in card
    image = next((nih_folder / "images").iterdir())
    predicted = deepchest("predict", image, "--model", run, "--json")
    assert predicted.code == 0, predicted.err
    assert "no reference" not in predicted.err  # its features have been compared
    exported = deepchest(
        "export", "--model", run, "--out", tmp_path / "model.pt2", "--format", "torch"
    )
    assert exported.code == 0, exported.err
    resumed = deepchest("train", "--resume", run)
    assert resumed.code == 0, resumed.err
    assert "has finished: nothing is left to train" in resumed.err
    assert resumed.out.splitlines()[1] == outcome.out.splitlines()[1]


def test_a_damaged_file_of_the_cache_is_noted_and_mended(probe, cache_folder):
    assert probe()[1].code == 0
    (path,) = (cache_folder / "deepchest" / "features").rglob("*.npz")
    path.write_bytes(path.read_bytes()[:1000])
    _, outcome = probe(name="again")
    assert outcome.code == 0, outcome.err
    assert f"{path} is damaged" in outcome.err


def test_what_makes_no_sense_is_refused_before_there_is_a_run(probe):
    run, outcome = probe("--augment", "standard")
    assert outcome.code == 2
    assert "--augment standard makes no sense with --linear-probe" in outcome.err
    assert not run.exists()
    _, outcome = probe("--weighter", "mgda")
    assert outcome.code == 2
    assert "a linear probe does not train those" in outcome.err
