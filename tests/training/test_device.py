import mmap
import os

import numpy as np
import pytest
import torch
from simulated_device import simulated

from deepchest_cli.errors import UsageError
from deepchest_cli.training.device import (
    PROCESS,
    free_memory,
    peak_memory,
    reset_peak_memory,
    resolve_device,
)

CPU = torch.device("cpu")


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


@pytest.mark.skipif(
    not os.access(PROCESS / "clear_refs", os.W_OK), reason="only Linux can reset the peak"
)
def test_the_peak_of_a_process_begins_anew():
    reset_peak_memory(CPU)  # other tests have taken more
    # not from the heap, where other tests may have left as much that is free
    block = mmap.mmap(-1, 200_000_000)
    np.frombuffer(block, dtype=np.uint8).fill(1)
    with_block = peak_memory(CPU)
    block.close()
    assert peak_memory(CPU) > with_block - 50_000_000  # the kernel counts in pages by thread
    reset_peak_memory(CPU)
    assert peak_memory(CPU) < with_block - 150_000_000


def test_the_peak_of_a_process_without_proc(monkeypatch, tmp_path):
    monkeypatch.setattr("deepchest_cli.training.device.PROCESS", tmp_path)
    reset_peak_memory(CPU)
    assert peak_memory(CPU) > 10_000_000


def test_the_peak_on_metal_is_what_its_driver_keeps(monkeypatch):
    given = {"bytes": 9}
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: given.update(bytes=2))
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: given["bytes"])
    assert peak_memory(torch.device("mps")) == 9
    reset_peak_memory(torch.device("mps"))
    assert peak_memory(torch.device("mps")) == 2
    given["bytes"] = 5
    free_memory()
    assert given["bytes"] == 2


def test_the_peak_on_cuda_is_that_of_its_tensors(monkeypatch):
    gpu, peaks = torch.device("cuda", 1), {}
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peaks.clear())
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peaks.get(device, 1))
    peaks[gpu] = 7
    assert peak_memory(gpu) == 7
    reset_peak_memory(gpu)
    assert peak_memory(gpu) == 1


def test_a_run_on_cuda_starts_where_nothing_has_been_on_a_gpu_yet():
    with simulated("cuda") as gpu:
        reset_peak_memory(gpu.device)  # torch itself raises "Invalid device argument" here
        assert not gpu.is_initialized
