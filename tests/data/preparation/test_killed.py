"""A preparation that is killed at any moment, again and again, ends as an undisturbed one."""

import multiprocessing
import random
import time
from pathlib import Path

import pytest
from test_layouts import pack_tar, shards

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.preparation import plan_preparation, planning, run_preparation

CONFIG = PrepareConfig(size="64", workers=2, allow_missing=True)
KILLS = 20


def prepare(source: Path, folder: Path) -> None:
    planning.rows_per_shard = lambda size: 4
    run_preparation(plan_preparation(CONFIG, source), CONFIG, folder, lambda *_: None)


@pytest.mark.parametrize("layout", ["files", "tar.gz"])
def test_killed_at_random_moments(nih_folder, tmp_path, layout):
    for path in sorted((nih_folder / "images").iterdir())[10:70:3]:  # some are missing
        path.unlink()
    if layout == "tar.gz":
        pack_tar(nih_folder)
    # children of a server that has imported everything start at once
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "deepchest_cli.data.preparation"])

    def begin(folder: Path) -> multiprocessing.process.BaseProcess:
        process = context.Process(target=prepare, args=(nih_folder, folder))
        process.start()
        return process

    undisturbed = begin(tmp_path / "undisturbed")
    undisturbed.join()
    start = time.monotonic()
    begin(tmp_path / "timed").join()
    seconds = time.monotonic() - start
    chance = random.Random(0)
    out = tmp_path / "out"
    for _ in range(KILLS):
        process = begin(out)
        process.join(chance.uniform(0, seconds))
        process.kill()
        process.join()
    last = begin(out)
    last.join()
    assert last.exitcode == 0
    assert shards(out) == shards(tmp_path / "undisturbed")
    assert sorted(path.name for path in out.iterdir()) == sorted(
        path.name for path in (tmp_path / "undisturbed").iterdir()
    )
    for name in ("manifest.json", "contact-sheet.png", "excluded.csv"):
        assert (out / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
