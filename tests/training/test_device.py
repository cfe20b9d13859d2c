import pytest
import torch

from deepchest_cli.errors import UsageError
from deepchest_cli.training.device import resolve_device


@pytest.fixture
def without_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_auto_falls_back_and_nothing_else_does(without_gpu):
    assert resolve_device("auto") == torch.device("cpu")
    for name in ("cuda", "cuda:1", "mps"):
        with pytest.raises(UsageError, match=name) as error:
            resolve_device(name)
        assert "--device auto" in error.value.hint


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UsageError, match="has 2 CUDA devices"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:²", "cuda:", "cpu:x", "cpu:0", ""])
def test_unknown_names(name):
    with pytest.raises(UsageError, match="Unknown device"):
        resolve_device(name)
