import errno
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deepchest_cli.config import TrainConfig, read_toml
from deepchest_cli.errors import UsageError
from deepchest_cli.training.resume import saved_config
from deepchest_cli.training.run_directory import create_run, point_latest


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_name_says_backbone_and_weighter():
    folder = create_run(TrainConfig())
    assert folder.is_dir()
    assert folder.parent == Path("runs")
    assert folder.name.endswith("-resnet50-deepchest")
    assert not Path("runs/latest").is_symlink()  # there is nothing to evaluate yet


def test_the_name_says_how_many_data_sets_there_are():
    folder = create_run(TrainConfig(data=("data/a", "data/b")))
    assert folder.name.endswith("-resnet50-deepchest-2-data-sets")


def test_several_data_sets_and_how_they_are_sampled_come_back(tmp_path):
    values = {"data": ("data/a", "data/b"), "source_sampling": ("a=2", "b=0.5")}
    folder = create_run(TrainConfig(out=tmp_path / "run", tasks="finding-by-source", **values))
    saved = saved_config(folder, TrainConfig)
    assert {name: getattr(saved, name) for name in values} == values
    assert saved.tasks == "finding-by-source"


def test_latest_names_the_last_run_that_was_pointed_at():
    runs = [create_run(TrainConfig(out=Path("runs") / name)) for name in "ab"]
    for run in (*runs, runs[0]):
        assert point_latest(run) == ""
        assert Path("runs/latest").readlink() == Path(run.name)
    assert [path.name for path in Path("runs").iterdir() if "latest" in path.name] == ["latest"]


def test_a_run_elsewhere_makes_no_link_and_moves_one_that_is_there(monkeypatch):
    first, second = (create_run(TrainConfig(out=Path("there") / name)) for name in "ab")
    assert point_latest(first) == ""
    assert not Path("there/latest").is_symlink()
    monkeypatch.chdir("there")  # and so seen from elsewhere
    Path("latest").symlink_to("a")
    assert point_latest(Path.cwd() / second.name) == ""
    assert Path("latest").readlink() == Path("b")


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_called_latest_and_is_no_link_stays(kind):
    run, latest = create_run(TrainConfig()), Path("runs/latest")
    latest.mkdir() if kind == "folder" else latest.write_text("mine")
    warning = point_latest(run)
    assert f"runs/latest is a {kind} and not a link" in warning
    assert f"--model {run}" in warning
    assert latest.is_dir() if kind == "folder" else latest.read_text() == "mine"
    assert not list(Path("runs").glob(".*"))


def test_a_run_that_is_itself_called_latest_needs_no_link():
    assert point_latest(create_run(TrainConfig(out=Path("runs/latest")))) == ""


def test_a_file_system_without_links_gives_a_warning(monkeypatch):
    def refuse(self, target, target_is_directory=False):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    warning = point_latest(create_run(TrainConfig()))
    assert "runs/latest cannot be made (Operation not permitted)" in warning


def test_runs_of_the_same_second_do_not_collide(monkeypatch):
    monkeypatch.setattr("deepchest_cli.training.run_directory.now", lambda: "20260101-000000")
    names = {create_run(TrainConfig()).name for _ in range(5)}
    assert len(names) == 5


def test_runs_begun_at_once_do_not_collide(monkeypatch):
    monkeypatch.setattr("deepchest_cli.training.run_directory.now", lambda: "20260101-000000")
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: create_run(TrainConfig()), range(16)))
    assert len(set(folders)) == 16


def test_a_folder_that_exists_is_refused(tmp_path):
    with pytest.raises(UsageError, match="exists already"):
        create_run(TrainConfig(out=tmp_path))


def test_configuration_and_environment_are_written(tmp_path):
    folder = create_run(TrainConfig(out=tmp_path / "run", epochs=7))
    assert read_toml(folder / "config.toml", TrainConfig)["epochs"] == 7
    assert json.loads((folder / "environment.json").read_text())["packages"]["torch"]
