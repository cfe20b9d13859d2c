import shutil
from types import SimpleNamespace

import pytest
from test_layouts import pack_tar

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.preparation import estimate as estimating
from deepchest_cli.data.preparation import plan_preparation, run_preparation
from deepchest_cli.data.preparation.estimate import estimate
from deepchest_cli.errors import UsageError

CONFIG = PrepareConfig(size="32,64", workers=2)


def of(nih_folder, folder, config=CONFIG):
    return estimate(plan_preparation(config, nih_folder), config, folder)


@pytest.fixture
def half_a_second_each(monkeypatch):
    """A clock by which decoding an image takes half a second, and nothing else any time."""
    now, decode = [0.0], estimating.decode_payload

    def decoded(*given):
        now[0] += 0.5
        return decode(*given)

    monkeypatch.setattr(estimating, "decode_payload", decoded)
    monkeypatch.setattr(estimating, "time", SimpleNamespace(perf_counter=lambda: now[0]))


@pytest.mark.usefixtures("half_a_second_each")
@pytest.mark.parametrize("packed", [False, True])
def test_time_and_room_are_told_and_nothing_is_written(nih_folder, tmp_path, packed):
    if packed:
        pack_tar(nih_folder)
    found = of(nih_folder, tmp_path / "deep" / "out")
    assert found.images == {"train": 54, "validation": 6, "test": 20}
    assert found.done == found.missing == 0
    assert found.seconds_per_image == pytest.approx(0.5)
    assert found.seconds == pytest.approx(80 * 0.5 / 2)  # by two workers
    assert 80 * (32**2 + 64**2) < found.bytes < 80 * (32**2 + 64**2) * 1.2
    assert found.folders == tuple(str(tmp_path / "deep" / "out" / size) for size in ("32", "64"))
    assert not (tmp_path / "deep").exists()


def test_what_is_done_and_what_is_missing_count(nih_folder, tmp_path):
    config = PrepareConfig(size="32", workers=1)
    run_preparation(plan_preparation(config, nih_folder), config, tmp_path / "out", lambda *_: None)
    assert of(nih_folder, tmp_path / "out", config).done == 80
    (nih_folder / "images" / "00000001_000.png").unlink()
    assert of(nih_folder, tmp_path / "out", config).missing == 1


def test_a_disk_that_is_too_small_is_said_before_any_work(nih_folder, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    plan = plan_preparation(CONFIG, nih_folder)
    with pytest.raises(UsageError, match="shards take .* has 10 KB left"):
        run_preparation(plan, CONFIG, tmp_path / "out", lambda *_: None)
