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
    other = deepchest(*arguments, "--size", 40)
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
    assert "Left out: 1 images (1 × the file is missing)" in allowed.out


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
