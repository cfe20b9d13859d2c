from dataclasses import dataclass
from pathlib import Path

import pytest

from deepchest_cli.comparison.running.jobs import (
    Arm,
    Job,
    arm_jobs,
    merge_weighters,
    parse_arms,
    single_task_jobs,
)
from deepchest_cli.config import CompareConfig, TrainConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.errors import UsageError


@dataclass(frozen=True)
class LaterConfig(TrainConfig):
    """A configuration of a later version, with one more flag."""

    focus: float = 0.0


def settings(config=TrainConfig, finding=None, fold=None, **changes):
    return Job(Arm("dwa", "dwa"), config(**changes), Path("x"), fold, finding).settings


def test_settings_hash_ignores_defaults_and_flags_of_later_versions():
    assert settings() == settings(epochs=TrainConfig.epochs) == settings(LaterConfig)
    assert settings(epochs=3) == settings(LaterConfig, epochs=3)
    assert settings(LaterConfig) != settings(LaterConfig, focus=1.0)


def test_settings_hash_depends_on_what_determines_the_results():
    hashes = [
        settings(),
        settings(epochs=3),
        settings(seed=1),
        settings(weighter="dwa"),
        settings(weighter="dwa", weighter_option=("temperature=1",)),
        settings(finding="Mass"),
        settings(fold=(0, 3)),
        settings(fold=(1, 3)),
        settings(fold=(0, 4)),
    ]
    assert len(set(hashes)) == len(hashes)
    assert settings(device="cuda", cache="host", data=Path("elsewhere")) == settings()


def test_settings_hash_covers_the_files_that_settings_name(tmp_path):
    file = tmp_path / "file"
    for changes in ({"weighter_option": (f"file={file}",)}, {"weights": str(file)}):
        hashes = set()
        for content in ("1", "2"):
            file.write_text(content)
            hashes.add(settings(**changes))
        assert len(hashes) == 2


def test_a_file_of_weights_counts_by_its_contents(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("1")
    monkeypatch.chdir(tmp_path)
    # the path is made absolute when a comparison is saved, and has to resume as it was begun
    assert settings(weights="file") == settings(weights=str(tmp_path / "file"))
    assert settings(weights="file") != settings()
    assert settings(weights="imagenet") != settings(weights="none")


def test_equal_comes_first_whether_it_is_named_or_not():
    expected = (Arm("equal", "equal"), Arm("dwa", "dwa"))
    assert parse_arms("dwa") == parse_arms("dwa, equal") == expected


def test_options_stand_in_brackets_and_may_have_commas_of_their_own():
    _, one, other = parse_arms(
        "fixed[weights=Mass:1,Hernia:2],deepchest[signal=auroc,part=training]"
    )
    assert (one.weighter, one.options) == ("fixed", ("weights=Mass:1,Hernia:2",))
    assert (other.weighter, other.options) == ("deepchest", ("signal=auroc", "part=training"))
    assert other.label == "deepchest[signal=auroc,part=training]"


def test_spaces_count_only_inside_a_value():
    _, one, other = parse_arms("fixed[ file=my weights.toml ] , dwa[]")
    assert one.options == ("file=my weights.toml",)
    assert (other.label, other.options) == ("dwa", ())


def test_long_options_make_a_short_folder_of_their_own():
    weights = "fixed[weights=" + ",".join(f"Finding{i}:0.0714285714" for i in range(14))
    _, one, other = parse_arms(f"{weights}],{weights}1]")
    assert max(len(one.folder), len(other.folder)) < 128
    assert one.folder != other.folder


def test_merged_lists_keep_every_weighter():
    assert merge_weighters("dwa,rlw[x=1]", "famo,dwa") == "equal,dwa,rlw[x=1],famo"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dwa,rlw,dwa", "lists dwa twice"),
        ("equal", "nothing to compare"),
        ("", "nothing to compare"),
        ("deepchest[signal", "cannot read"),
        ("deepchest[signal]", "KEY=VALUE"),
        ("deepchest[signal=auroc,signal=loss]", "given twice"),
    ],
)
def test_invalid_lists_are_refused(text, words):
    with pytest.raises(UsageError, match=words):
        parse_arms(text)


def test_all_runs_of_a_seed_share_its_partition_into_folds(shards):
    dataset, folder = open_dataset(shards), Path("x")
    config = CompareConfig(weighters="dwa", seeds=2, folds=2)
    jobs = arm_jobs(config, parse_arms("dwa"), folder, {})
    jobs += single_task_jobs(config, dataset.findings[:1], folder, {})
    tested = {}
    for job in jobs:
        rows = tuple(job.view(dataset).rows("test"))
        tested.setdefault((job.config.seed, job.fold_number), []).append(rows)
    assert all(len(found) == 3 and len(set(found)) == 1 for found in tested.values())
    assert len({found[0] for found in tested.values()}) == 4
    assert tested[0, 1][0] != tested[1, 1][0] and tested[0, 1][0] != tested[1, 2][0]


def test_weighters_of_ones_own_have_labels_without_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, one, two, above = parse_arms("mine.py:My[alpha=2],b/mine.py:My,deepchest+mine.py:My")
    assert one.label == "mine.py:My[alpha=2]"
    assert one.text == f"{tmp_path / 'mine.py'}:My[alpha=2]"
    assert two.label == "b/mine.py:My"  # "mine.py:My" would be taken for the other file's
    assert above.label == "deepchest+mine.py:My"
    assert above.weighter == f"deepchest+{tmp_path / 'mine.py'}:My"
    folders = [arm.folder for arm in (one, two, above)]
    assert folders[0::2] == ["mine.py_My_alpha=2_", "deepchest+mine.py_My"]
    assert folders[1].startswith("b_mine.py_My-")


def test_files_of_one_name_are_told_apart_and_the_first_keeps_its_label(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, first, second, third = parse_arms("a/mine.py:My,b/mine.py:My,a_mine.py:My")
    assert [arm.label for arm in (first, second)] == ["mine.py:My", "b/mine.py:My"]
    assert len({arm.folder for arm in (first, second, third)}) == 3
    assert not any(set(arm.folder) & set(r"/\:") for arm in (first, second, third))
    alone = parse_arms("a/mine.py:My")[1]
    assert alone == first
    merged = merge_weighters("a/mine.py:My", "b/mine.py:My,a/mine.py:My")
    assert [arm.label for arm in parse_arms(merged)] == ["equal", "mine.py:My", "b/mine.py:My"]
    with pytest.raises(UsageError, match="lists mine.py_My twice"):
        parse_arms("a/mine.py:My,a/../a/mine.py:My")


def test_a_path_that_the_list_could_not_be_read_with_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "a,b"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(UsageError, match="has a comma or a bracket"):
        parse_arms("mine.py:My")


def test_settings_hash_covers_a_file_of_ones_own_wherever_it_lies():
    here = settings(weighter="/a/mine.py:My", weighter_sha256="1")
    assert here == settings(weighter="/b/mine.py:My", weighter_sha256="1")
    assert here != settings(weighter="/a/mine.py:My", weighter_sha256="2")
    there = settings(backbone="/a/net.py:build", backbone_sha256="1")
    assert there == settings(backbone="/b/renamed.py:build", backbone_sha256="1")
    assert there != settings(backbone="/a/net.py:build", backbone_sha256="2")
    assert there != settings(backbone="/a/net.py:other", backbone_sha256="1")
