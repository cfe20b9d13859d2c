import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deepchest_cli.config import TrainConfig, read_toml
from deepchest_cli.errors import UsageError
from deepchest_cli.training.run_directory import create_run


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_name_says_backbone_and_weighter_and_latest_points_there():
    first = create_run(TrainConfig())
    assert first.name.endswith("-resnet50-deepchest")
    second = create_run(TrainConfig(weighter="equal"))
    assert Path("runs/latest").resolve() == second.resolve()
    assert first.is_dir()


def test_runs_of_the_same_second_do_not_collide(monkeypatch):
    monkeypatch.setattr("deepchest_cli.training.run_directory.now", lambda: "20260101-000000")
    names = {create_run(TrainConfig()).name for _ in range(5)}
    assert len(names) == 5


def test_runs_begun_at_once_do_not_collide(monkeypatch):
    monkeypatch.setattr("deepchest_cli.training.run_directory.now", lambda: "20260101-000000")
    monkeypatch.setattr("deepchest_cli.training.run_directory._point_latest", lambda folder: None)
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
