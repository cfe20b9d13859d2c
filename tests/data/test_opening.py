"""Data sets on disk that are opened together, or read at another size than they are stored at."""

import json
import shutil

import numpy as np
import pytest
from site_data import prepare_site, write_site

from deepchest_cli.data.augmentation import shrink
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.merging import open_datasets
from deepchest_cli.errors import UsageError


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    root = tmp_path_factory.mktemp("hospital")
    return prepare_site(write_site(root / "source", patients=20), root / "site", size=48)


def test_a_single_data_set_is_read_smaller_too(site):
    dataset = open_dataset(site)
    rows = np.arange(3)
    assert np.array_equal(dataset.at_size(32).gather(rows), shrink(dataset.gather(rows), 32))
    assert dataset.at_size(64) is dataset


@pytest.mark.parametrize("again", ["itself", "with a slash", "a link", "a copy", "another path"])
def test_the_same_data_twice_are_refused(shards, site, tmp_path, again):
    other = {
        "itself": str(shards),
        "with a slash": f"{shards}/",
        "a link": str(tmp_path / "link"),
        "a copy": str(tmp_path / "copy"),
        "another path": f"{shards}/../{shards.name}",
    }[again]
    (tmp_path / "link").symlink_to(shards)
    shutil.copytree(shards, tmp_path / "copy")
    with pytest.raises(UsageError, match="are the same data"):
        open_datasets([str(shards), str(site), other])


def test_a_data_set_without_images_is_named(shards, site, tmp_path):
    empty = tmp_path / "empty"
    shutil.copytree(site, empty)
    manifest = json.loads((empty / "manifest.json").read_text())
    (empty / "manifest.json").write_text(json.dumps({**manifest, "shards": []}))
    with pytest.raises(UsageError, match=f"{empty} holds no images"):
        open_datasets([str(shards), str(empty)])
