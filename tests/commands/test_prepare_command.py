import json

import pytest
from tests_support import valid


def test_summary_and_exit_codes(deepchest, nih_folder, tmp_path):
    arguments = ("prepare", "--source", nih_folder, "--data", tmp_path / "s", "--size", 32)
    first = deepchest(*arguments, "--workers", 1)
    assert first.code == 0, first.err
    assert "Patients" in first.out
    assert "Hernia" in first.out
    again = deepchest(*arguments)
    assert again.code == 0
    assert "complete and unchanged" in again.err
    other = deepchest(*arguments[:-1], 40)
    assert other.code == 2
    assert "--force" in other.err
    assert other.out == ""


def test_json_is_one_valid_document(deepchest, nih_folder, tmp_path):
    arguments = ("--source", nih_folder, "--data", tmp_path / "s", "--size", 32, "--workers", 1)
    outcome = deepchest("prepare", *arguments, "--json")
    document = valid(json.loads(outcome.out), "prepare")
    assert document["counts"]["all"]["images"] == 80


def test_lost_images_exit_1_unless_allowed(deepchest, nih_folder, tmp_path):
    (nih_folder / "images" / "00000001_000.png").unlink()
    arguments = ("prepare", "--source", nih_folder, "--data", tmp_path / "s", "--size", 32)
    refused = deepchest(*arguments)
    assert refused.code == 1
    assert "00000001_000.png" in refused.err
    assert not (tmp_path / "s" / "manifest.json").exists()
    allowed = deepchest(*arguments, "--allow-missing")
    assert allowed.code == 0, allowed.err
    assert "Left out: 1 image (1 × the file is missing), listed in" in allowed.out


def test_a_missing_source_says_where_to_get_it(deepchest, tmp_path):
    outcome = deepchest("prepare", "--source", tmp_path / "none")
    assert outcome.code == 2
    assert "deepchest prepare --demo" in outcome.err


def test_no_lists_under_official_says_what_to_do(deepchest, nih_folder, tmp_path):
    (nih_folder / "test_list.txt").unlink()
    outcome = deepchest("prepare", "--source", nih_folder, "--data", tmp_path / "s")
    assert outcome.code == 2
    assert "--split-scheme random" in outcome.err


def test_demo_goes_through_the_same_path(deepchest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ("prepare", "--demo", "--images", 60, "--size", 32)
    first = deepchest(*arguments)
    assert first.code == 0, first.err
    assert (tmp_path / "data/demo/Data_Entry_2017_v2020.csv").is_file()
    assert (tmp_path / "data/demo-shards/manifest.json").is_file()
    assert "complete and unchanged" in deepchest(*arguments).err
    refused = deepchest("prepare", "--demo", "--images", 70, "--size", 32)
    assert refused.code == 2
    assert "--force" in refused.err
    assert "of seed 0 with a long tail." in deepchest(*arguments, "--long-tail").err
    assert deepchest("prepare", "--demo", "--images", 70, "--size", 32, "--force").code == 0


def test_demo_never_replaces_what_it_did_not_make(deepchest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    precious = tmp_path / "data" / "demo" / "precious.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    assert deepchest("prepare", "--demo", "--images", 60, "--force").code == 2
    assert precious.read_text() == "mine"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--images", 5),
        ("--long-tail",),
        ("--demo", "--images", 5),
        ("--size", 9),
        ("--validation-fraction", 2),
    ],
)
def test_wrong_use(deepchest, arguments):
    assert deepchest("prepare", *arguments).code == 2


def test_a_dry_run_tells_time_and_room_and_writes_nothing(deepchest, nih_folder, tmp_path):
    arguments = ("prepare", "--source", nih_folder, "--data", tmp_path / "s", "--size", "32,64")
    outcome = deepchest(*arguments, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert "Would convert 80 images." in outcome.out and "Nothing was written." in outcome.out
    valid(json.loads(deepchest(*arguments, "--dry-run", "--json").out), "prepare")
    assert not (tmp_path / "s").exists()


def test_several_sizes_give_a_data_set_each(deepchest, nih_folder, tmp_path):
    arguments = ("--source", nih_folder, "--data", tmp_path / "s", "--size", "32,64")
    outcome = deepchest("prepare", *arguments, "--json")
    document = valid(json.loads(outcome.out), "prepare")
    assert [found["settings"]["size"] for found in document["data_sets"]] == [32, 64]
    assert str(tmp_path / "s" / "64") in deepchest("prepare", *arguments).out
    refused = deepchest("train", "--data", tmp_path / "s")
    assert refused.code == 2
    assert f"--data {tmp_path / 's' / '32'}" in refused.err


def test_check_finds_what_was_changed(deepchest, nih_folder, tmp_path):
    deepchest("prepare", "--source", nih_folder, "--data", tmp_path / "s", "--size", 32)
    good = deepchest("prepare", "--check", "--data", tmp_path / "s")
    assert good.code == 0 and "1 shard with 80 images, all as the manifest says" in good.out
    path = tmp_path / "s" / "shard-00000.h5"
    path.write_bytes(path.read_bytes().replace(b"00000001_000", b"00000009_000"))
    bad = deepchest("prepare", "--check", "--data", tmp_path / "s")
    assert bad.code == 1 and "has other bytes than when it was written" in bad.err
    found = deepchest("prepare", "--check", "--data", tmp_path / "s", "--json")
    assert found.code == 1
    assert len(valid(json.loads(found.out), "prepare")["check"][0]["problems"]) == 1
    assert deepchest("prepare", "--check", "--data", tmp_path / "none").code == 2


def write_labels(folder, images):
    """Write a table with uncertain and blank labels for the radiographs of an NIH folder."""
    rows = ["Path,patient,Pleural Effusion,Support Devices"]
    for number, path in enumerate(sorted(images.glob("*.png"))):
        effusion = ("1", "0", "-1", "1", "0")[number % 5]
        rows.append(f"images/{path.name},P{path.name[:8]},{effusion},{('1', '0', '')[number % 3]}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder / "labels.csv"


def test_unknown_labels_stay_unknown_through_training_and_evaluation(
    deepchest, nih_folder, tmp_path
):
    table = write_labels(nih_folder, nih_folder / "images")
    prepared = deepchest(
        "prepare", "--labels-csv", table, "--patient-column", "patient", "--data", tmp_path / "s",
        "--size", 32, "--test-fraction", 0.4, "--validation-fraction", 0.3, "--json",
    )  # fmt: skip
    counts = valid(json.loads(prepared.out), "prepare")["counts"]["all"]
    assert counts["known"] == {"Effusion": 64, "Support Devices": 54}
    assert counts["positives"] == {"Effusion": 32, "Support Devices": 27}
    shown = deepchest("prepare", "--labels-csv", table, "--patient-column", "patient", "--data",
                      tmp_path / "s", "--size", 32, "--test-fraction", 0.4,
                      "--validation-fraction", 0.3)  # fmt: skip
    assert "32 of 64" in shown.out and "split random by patient" in shown.out
    run = tmp_path / "run"
    trained = deepchest(
        "train", "--data", tmp_path / "s", "--out", run, "--backbone", "small_cnn", "--epochs", 1,
        "--batch-size", 16, "--weighter", "deepchest",
    )  # fmt: skip
    assert trained.code == 0, trained.err
    scored = deepchest("evaluate", "--model", run, "--data", tmp_path / "s", "--json")
    findings = json.loads(scored.out)["findings"]
    known = json.loads(prepared.out)["counts"]["test"]["known"]
    assert {name: scores["known"] for name, scores in findings.items()} == known


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "20"], "from 28 to 1024 pixels. Found 20"),
        (["--size", "64,x"], "such as 224 or 128,224"),
        (["--check", "--dry-run"], "goes with neither"),
        (["--demo", "--labels-csv", "x.csv"], "exclude each other"),
        (["--split-scheme", "oficial"], "Did you mean 'official'"),
        (["--patient-column", "x"], "Add --labels-csv FILE"),
        (["--layout", "csv"], "Name it: --labels-csv"),
        (["--layout", "chestmnist"], r"holds no chestmnist*.npz"),
    ],
)
def test_wrong_use_is_said(deepchest, nih_folder, tmp_path, arguments, message):
    outcome = deepchest("prepare", "--source", nih_folder, "--data", tmp_path / "s", *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert not (tmp_path / "s").exists()
