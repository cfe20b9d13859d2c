import os
import pickle

import pytest
import torch

from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.model.checkpoint import (
    BEST,
    LAST,
    find_checkpoint,
    load_model,
    read_checkpoint,
    save_checkpoint,
    store_validation_fit,
)
from deepchest_cli.model.classifier import Architecture, Classifier

CPU = torch.device("cpu")
ORIGIN = {
    "weighter": "equal",
    "epoch": 3,
    "data_sets": [
        {
            "settings": {"split_scheme": "official"},
            "source": {"label_version": "2020", "synthetic": False},
        }
    ],
}


@pytest.fixture
def checkpoint(tmp_path):
    architecture = Architecture("mobilenet_v2", "mlp", ("a", "b", "c"), 32, 64)
    classifier = Classifier(architecture).eval()
    save_checkpoint(tmp_path / "best.pt", classifier, ORIGIN)
    return tmp_path / "best.pt", classifier


def test_a_model_comes_back_from_its_file_or_folder(checkpoint):
    path, classifier = checkpoint
    radiographs = torch.rand(2, 1, 32, 32)
    for model in (path, path.parent):
        loaded = load_model(model, CPU)
        assert loaded.classifier.architecture == classifier.architecture
        assert loaded.identity["findings"] == ["a", "b", "c"]
        with torch.inference_mode():
            assert torch.allclose(
                loaded.classifier(radiographs)[1], classifier(radiographs)[1], atol=1e-5
            )


def test_missing(tmp_path):
    with pytest.raises(UsageError, match="no model"):
        load_model(tmp_path / "none", CPU)
    with pytest.raises(UsageError, match="no checkpoint"):
        load_model(tmp_path, CPU)


def test_a_link_whose_run_is_gone_is_said_with_the_newest_run_that_is_there(checkpoint, tmp_path):
    runs = tmp_path / "the runs"
    for name in ("a", "b", "c"):
        (runs / name).mkdir(parents=True)
    for name in "ba":
        (runs / name / BEST).write_bytes(b"")
    os.utime(runs / "b" / BEST, (1, 1))
    (runs / "latest").symlink_to("gone")
    with pytest.raises(UsageError, match="is a link to gone, which is gone") as info:
        find_checkpoint(runs / "latest")
    assert info.value.hint.endswith(f"--model '{runs / 'a'}'")
    (runs / "c" / LAST).write_bytes(b"")
    with pytest.raises(UsageError, match="no epoch of the run has ended yet") as info:
        find_checkpoint(runs / "c")
    assert f"--resume '{runs / 'c'}'" in info.value.hint
    assert find_checkpoint(runs / "a") == runs / "a" / BEST


def test_another_format_version(checkpoint):
    path, _ = checkpoint
    content = torch.load(path, weights_only=True)
    torch.save({**content, "format_version": 99}, path)
    with pytest.raises(DeepChestError, match="format version 99"):
        read_checkpoint(path)


def test_a_file_of_something_else(tmp_path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(DeepChestError, match="no checkpoint of deepchest"):
        read_checkpoint(tmp_path / "other.pt")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_cut_short(checkpoint, share):
    path, _ = checkpoint
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DeepChestError, match="damaged or cut short"):
        read_checkpoint(path)


def write_pickle(value, path):
    path.write_bytes(pickle.dumps(value))


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("save", [torch.save, write_pickle])
def test_code_in_a_checkpoint_does_not_run(tmp_path, save):
    save({"format": Malicious(tmp_path / "harm")}, tmp_path / "best.pt")
    with pytest.raises(DeepChestError, match="holds code, which is not run"):
        read_checkpoint(tmp_path / "best.pt")
    assert not (tmp_path / "harm").exists()


def test_a_failed_write_keeps_the_file_before(checkpoint, monkeypatch):
    path, classifier = checkpoint
    before = path.read_bytes()

    def fail(content, target):
        target.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="No space") as info:
        save_checkpoint(path, classifier, ORIGIN)
    assert info.value.filename == str(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_is_named_with_the_file(checkpoint):
    resource = pytest.importorskip("resource", reason="no limits on this system")
    path, classifier = checkpoint
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large") as info:
            save_checkpoint(path, classifier, ORIGIN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert info.value.filename == str(path)
    assert path.read_bytes() == before


def test_a_validation_fit_is_added_and_nothing_else_changes(checkpoint):
    path, classifier = checkpoint
    model = load_model(path, CPU)
    assert model.validation_fit is None
    stored = store_validation_fit(model, {"images": 3})
    again = load_model(path, CPU)
    assert again.validation_fit == stored.validation_fit == {"images": 3}
    assert again.sha256 == stored.sha256 != model.sha256
    for name, tensor in classifier.state_dict().items():
        assert torch.equal(tensor, again.classifier.state_dict()[name])


def test_a_checkpoint_that_was_written_anew_meanwhile_is_left(checkpoint):
    path, classifier = checkpoint
    model = load_model(path, CPU)
    save_checkpoint(path, classifier, {**ORIGIN, "epoch": 9})
    assert store_validation_fit(model, {"images": 3}) is None
    assert load_model(path, CPU).validation_fit is None
