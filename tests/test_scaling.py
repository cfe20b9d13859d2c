"""The arithmetic of `docs/scaling.md` is that of `tests/benchmarks/scale.py`."""

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/benchmarks"))
try:
    import material
    import scale
finally:
    sys.path.pop(0)


@pytest.fixture(scope="module")
def page():
    return (ROOT / "docs/scaling.md").read_text("utf-8")


@pytest.mark.parametrize("number", range(3))
def test_the_tables_are_those_that_are_computed(page, number):
    assert "\n".join(scale.tables()[number]) in page


def test_figures_in_running_text_are_those_that_are_computed(page):
    images = sum(scale.IMAGES.values())
    assert f"takes {8 * scale.total_bytes(images, 224) / 1e9:.0f} GB at 224 px" in page
    files = [sum(-(-n // per) for n in scale.IMAGES.values()) for per in (512, 128)]
    assert "a process has {:,} or {:,} files open".format(*files) in page
    assert f"{scale.PREPARED} PNG files of 1024 px a second and core" in page
    assert scale.total_bytes(images, 224) > 80e9 / 2  # more than `auto` takes of a GPU of 80 GB
    assert scale.total_bytes(images, 512) > 80e9
    assert scale.total_bytes(images, 512) < 256e9


@pytest.mark.parametrize("size", [64, 224])
def test_shards_have_the_bytes_that_are_computed(tmp_path, size):
    material.random_shards(tmp_path / "shards", 512, size, 0)
    (shard,) = (tmp_path / "shards").glob("*.h5")
    assert np.isclose(shard.stat().st_size, scale.total_bytes(512, size), rtol=1e-3)
