import json
from pathlib import Path

import pytest
from tests_support import next_step, too_wide, valid

from deepchest_cli.commands.prepare_display import render_prepared
from deepchest_cli.data.preparation import Preparation
from deepchest_cli.terminal import Terminal

# drawn in this process: workers take longer to start than these images to draw
DEMO = ("prepare", "--demo", "--workers", 1, "--images", 60, "--size", 32)
TWO_SITES = (*DEMO[:2], "--sites", 2, *DEMO[2:])
FOLDERS = ("data/demo", "data/demo-shards", "data/demo-site-2", "data/demo-site-2-shards")


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


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_summary_fits_the_terminal_and_names_the_next_step(
    deepchest, shards, monkeypatch, width
):
    monkeypatch.setenv("COLUMNS", str(width))
    arguments = ("--source", shards.parent / "nih", "--data", shards)
    outcome = deepchest("prepare", *arguments, "--check")
    assert outcome.code == 0, outcome.err
    assert too_wide(outcome.out + outcome.err, width) == []
    train = ["deepchest", "train", "--data", str(shards)]
    assert next_step(outcome.err) == train
    (dry,) = (deepchest("prepare", *arguments[:3], f"{shards}-new", "--dry-run"),)
    assert too_wide(dry.out + dry.err, width) == []
    step = ["deepchest", "prepare", *map(str, arguments[:3]), f"{shards}-new"]
    assert next_step(dry.err) == step


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("count", [1, 40])
def test_tables_of_any_findings_fit_the_terminal(capfd, monkeypatch, width, count):
    monkeypatch.setenv("COLUMNS", str(width))
    names = [f"Enlarged_Cardiomediastinum_No_{i:02d}" for i in range(count)]
    split = {
        "images": 112_120, "patients": 30_805, "studies": None, "no_finding": 60_361,
        "positives": dict.fromkeys(names, 19_894), "known": dict.fromkeys(names, 111_111),
    }  # fmt: skip
    manifest = {
        "counts": dict.fromkeys(("train", "validation", "test", "all"), split),
        "findings": names,
        "settings": {"size": 224, "split_scheme": "official"},
        "source": {"label_version": "2020", "studies": False, "patients": True, "synthetic": True},
        "shards": [1] * 20,
        "excluded": {"images": 3, "reasons": {"the file is missing": 3}, "file": "excluded.csv"},
    }
    folder = Path("a folder") / "shards"
    render_prepared([[Preparation(folder, manifest, False)]], Terminal())
    out, err = capfd.readouterr()
    assert too_wide(out + err, width) == []
    rows = [line.split() for line in out.splitlines()]
    assert sum(row[:1] == [name] for row in rows for name in names) >= count
    assert out.count("19,894 of 111,111") == 4 * count
    expected = ["deepchest", "train", "--recipe", "quick", "--data", "a folder/shards"]
    assert next_step(err) == expected


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
    first = deepchest(*DEMO)
    assert first.code == 0, first.err
    assert (tmp_path / "data/demo/Data_Entry_2017_v2020.csv").is_file()
    assert (tmp_path / "data/demo-shards/manifest.json").is_file()
    assert "complete and unchanged" in deepchest(*DEMO).err
    more = (*DEMO[:-3], 70, *DEMO[-2:])
    refused = deepchest(*more)
    assert refused.code == 2
    assert "--force" in refused.err
    assert "of seed 0 with a long tail." in deepchest(*DEMO, "--long-tail").err
    assert deepchest(*more, "--force").code == 0


def test_demo_never_replaces_what_it_did_not_make(deepchest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    precious = tmp_path / "data" / "demo" / "precious.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    assert deepchest("prepare", "--demo", "--images", 60, "--force").code == 2
    assert precious.read_text() == "mine"


def files_in(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_two_sites_are_made_and_prepared_at_once(deepchest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = deepchest(*TWO_SITES)
    assert outcome.code == 0, outcome.err
    assert "Site 1" in outcome.out and "Site 2" in outcome.out
    assert "Made 60 synthetic radiographs of site 2 in data/demo-site-2." in outcome.err
    assert "data/demo-site-2-shards: 32 px, split file by patient" in outcome.out
    places = ("--source", "alone", "--data", "alone-shards")
    alone = deepchest(*DEMO[:2], *DEMO[4:], *places)  # in worker processes
    assert alone.code == 0, alone.err
    for one, other in (("alone", FOLDERS[0]), ("alone-shards", FOLDERS[1])):
        mine, theirs = (files_in(tmp_path / folder) for folder in (one, other))
        assert list(mine.values()) == list(theirs.values())
    first, second = (
        json.loads((tmp_path / folder / "manifest.json").read_text()) for folder in FOLDERS[1::2]
    )
    assert first["source"]["synthetic"] and second["source"]["synthetic"]
    assert second["source"]["kind"] == "csv"
    shared = set(first["findings"]) & set(second["findings"])
    assert set(first["findings"]) - shared == {"Infiltration", "Mass", "Nodule"}
    assert set(second["findings"]) - shared == {"Lung Lesion", "Support Devices"}
    counts = second["counts"]
    assert counts["validation"]["images"] + counts["test"]["images"] == 60
    assert all(counts["all"]["known"][name] < 60 for name in shared)
    assert counts["all"]["known"]["Support Devices"] == 60
    before = {folder: files_in(tmp_path / folder) for folder in FOLDERS}
    again = deepchest(*TWO_SITES, "--json")
    for folder in FOLDERS[1::2]:
        assert f"{folder} is complete and unchanged." in again.err
    document = valid(json.loads(again.out), "prepare")
    assert [found["data"] for found in document["data_sets"]] == list(FOLDERS[1::2])
    assert before == {folder: files_in(tmp_path / folder) for folder in FOLDERS}


def test_sites_lie_beside_the_folders_that_are_named_and_have_every_size(deepchest, tmp_path):
    outcome = deepchest(
        *TWO_SITES[:-1], "32,40", "--source", tmp_path / "own", "--data", tmp_path / "s", "--json"
    )
    assert outcome.code == 0, outcome.err
    document = valid(json.loads(outcome.out), "prepare")
    folders = [tmp_path / name / size for name in ("s", "s-site-2") for size in ("32", "40")]
    assert [found["data"] for found in document["data_sets"]] == list(map(str, folders))
    assert (tmp_path / "own-site-2" / "labels.csv").is_file()


def test_a_second_site_that_is_in_the_way_is_said_before_anything_is_drawn(
    deepchest, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    precious = tmp_path / "data" / "demo-site-2" / "precious.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    for more in ((), ("--force",)):
        refused = deepchest(*TWO_SITES, *more)
        assert refused.code == 2
        assert "data/demo-site-2 exists and does not hold 60 synthetic" in refused.err
    assert precious.read_text() == "mine"
    assert not (tmp_path / "data" / "demo").exists()


def test_a_demo_of_two_sites_goes_on_after_an_interruption(deepchest, tmp_path, monkeypatch):
    from deepchest_cli.data import demo

    monkeypatch.chdir(tmp_path)
    drawn = demo.write_demo

    def interrupted(folder, **settings):
        if "site-2" in folder.name:
            raise KeyboardInterrupt
        drawn(folder, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(demo, "write_demo", interrupted)
        stopped = deepchest(*TWO_SITES)
    assert stopped.code == 130
    assert "Run the same command again" in stopped.err
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["demo", "demo-shards"]
    finished = deepchest(*TWO_SITES)
    assert finished.code == 0, finished.err
    assert "data/demo-shards is complete and unchanged." in finished.err
    assert "Made 60 synthetic radiographs of site 2" in finished.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--images", 5),
        ("--sites", 2),
        ("--demo", "--sites", 3),
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
