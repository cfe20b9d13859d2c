import errno
import shutil
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.reader import ImageReader
from deepchest_cli.errors import DeepChestError
from deepchest_cli.model.classifier import Architecture, Classifier, outputs_of
from deepchest_cli.training import feature_cache
from deepchest_cli.training.feature_cache import FeatureCache


@pytest.fixture(scope="module")
def classifier(shards):
    findings = open_dataset(shards).findings
    torch.manual_seed(0)
    return Classifier(Architecture("small_cnn", "mlp", findings, 28, 32)).eval()


@pytest.fixture
def cache(shards, tmp_path, classifier, monkeypatch):
    monkeypatch.setattr(feature_cache, "BLOCK", 16)
    reader = ImageReader(open_dataset(shards), torch.device("cpu"))
    return FeatureCache(tmp_path / "features", classifier, reader, np.arange(40), 512, "fp32", 8)


def load(cache):
    """Return features, the notes, and how many were computed."""
    notes, computed = [], [(0, 0)]
    features = cache.load(notes.append, lambda *step: computed.append(step))
    return features, notes, computed[-1][0]


def files_of(cache):
    return sorted(cache.root.rglob("*.npz"))


def test_the_features_are_the_trunks_whatever_the_head(cache, classifier):
    features, notes, computed = load(cache)
    assert (features.shape, features.dtype, computed) == ((40, 512), np.float32, 40)
    plain = Classifier(replace(classifier.architecture, head="linear")).eval()
    plain.trunk.load_state_dict(classifier.trunk.state_dict())
    images = cache.reader.read(np.arange(40))
    expected = outputs_of(plain, images, 40, torch.device("cpu"))[0].numpy()
    assert np.allclose(features, expected, atol=1e-5)
    assert isinstance(classifier.head, nn.Sequential)  # as it was
    again, notes, computed = load(cache)
    assert computed == 0 and "taken from" in notes[0]
    assert np.array_equal(again, features)


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "no-archive", "other-shape"])
def test_a_damaged_file_is_computed_again_and_named(cache, damage):
    features, *_ = load(cache)
    path = files_of(cache)[1]
    content = path.read_bytes()
    if damage == "other-shape":
        np.savez(path, features=np.zeros((16, 3), np.float32))
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        parts = {"cut": content[:middle], "changed": flipped, "empty": b"", "no-archive": b"no"}
        path.write_bytes(parts[damage])
    again, notes, computed = load(cache)
    assert computed == 16
    assert f"{path} is damaged" in notes[0] and "computed again" in notes[0]
    assert "24 are there already" in notes[1]
    assert np.array_equal(again, features)
    assert load(cache)[2] == 0


def test_the_key_has_all_that_features_depend_on(cache, classifier):
    others = [
        replace(cache, precision="bf16"),
        replace(cache, rows=np.arange(1, 41)),
        replace(cache, classifier=Classifier(classifier.architecture)),  # other weights
    ]
    for change in ({"image_size": 32}, {"mean": 0.4}, {"std": 0.3}):
        other = Classifier(classifier.architecture)
        other.load_state_dict(classifier.state_dict())
        other.architecture = replace(classifier.architecture, **change)
        others.append(replace(cache, classifier=other))
    pixels = cache.reader.dataset.pixel_hash.copy()
    pixels[3] = b"0"
    reader = ImageReader(replace(cache.reader.dataset, pixel_hash=pixels), torch.device("cpu"))
    others.append(replace(cache, reader=reader))
    assert all(other.key != cache.key for other in others)
    fewer = Classifier(replace(classifier.architecture, head="linear", findings=("Mass",)))
    fewer.trunk.load_state_dict(classifier.trunk.state_dict())
    same = [replace(cache, classifier=fewer), replace(cache, batch_size=4)]
    assert all(other.key == cache.key for other in same)


def test_files_of_another_version_are_not_read(cache, monkeypatch):
    load(cache)
    for path in files_of(cache):  # as another version might have written them
        np.savez(path, vectors=np.zeros((16, 512)))
    monkeypatch.setattr(feature_cache, "VERSION", feature_cache.VERSION + 1)
    assert load(cache)[2] == 40


def test_without_room_nothing_is_computed(cache, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10, 10, 1000))
    with pytest.raises(DeepChestError, match="features take 82 KB.* has 1.0 KB free") as error:
        load(cache)
    assert "XDG_CACHE_HOME" in error.value.hint
    assert not files_of(cache)


def test_a_disk_that_fills_up_leaves_whole_files_only(cache, monkeypatch):
    written, save = [], np.savez

    def fill_up(file, **arrays):
        save(file, **arrays)
        written.append(file)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", fill_up)
    with pytest.raises(OSError, match="No space left on device") as error:
        load(cache)
    assert error.value.filename.endswith("00000016.npz")
    assert [path.name for path in files_of(cache)] == ["00000000.npz"]
    assert not list(cache.root.rglob("*.tmp*"))
    monkeypatch.setattr(np, "savez", save)
    assert load(cache)[2] == 24


def test_a_folder_that_cannot_be_made_is_named(cache):
    cache.root.write_text("a file")
    with pytest.raises(DeepChestError, match=r"cannot be kept in .*: ") as error:
        load(cache)
    assert "XDG_CACHE_HOME" in error.value.hint


def test_features_that_are_not_finite_are_refused(cache, classifier):
    broken = Classifier(classifier.architecture).eval()
    with torch.no_grad():
        next(broken.trunk.parameters()).fill_(float("nan"))
    with pytest.raises(DeepChestError, match="features of 16 radiographs are not finite in fp32"):
        load(replace(cache, classifier=broken))
    assert not files_of(cache)
