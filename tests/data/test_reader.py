import numpy as np
import pytest
import torch

from deepchest_cli.data.batches import batches, prefetch
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.reader import ImageReader, resolve_place
from deepchest_cli.errors import UsageError

CPU = torch.device("cpu")


@pytest.fixture
def dataset(shards):
    return open_dataset(shards)


@pytest.mark.parametrize("place", ["none", "host", "device"])
def test_images_are_the_same_wherever_they_are_kept(dataset, place):
    kept = dataset.rows("train")
    reader = ImageReader(dataset, CPU, place, kept)
    rows = kept[[5, 0, 5, -1]]
    found = reader.read(rows)
    assert found.dtype == torch.uint8
    assert np.array_equal(found, dataset.gather(rows))
    found.zero_()  # a batch is a copy: what is kept stays
    assert np.array_equal(reader.read(rows), dataset.gather(rows))


def test_images_that_do_not_fit_on_the_device_say_where_else(dataset, monkeypatch):
    def full(*arguments, **settings):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(UsageError, match="80 images of 32 px do not fit on cpu") as error:
        ImageReader(dataset, CPU, "device")
    assert "--cache host" in error.value.hint


def test_auto_keeps_images_on_a_gpu_when_they_fit(monkeypatch):
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10_000_000, 20_000_000))
    assert resolve_place("auto", 100, 200, gpu) == "device"  # 4 MB
    assert resolve_place("auto", 200, 200, gpu) == "none"  # 8 MB would leave too little
    assert resolve_place("host", 100, 200, gpu) == "host"
    assert resolve_place("auto", 1, 28, CPU) == "none"


def test_processes_share_the_images_of_a_batch_and_all_see_its_labels(dataset):
    reader, rows = ImageReader(dataset, CPU), np.arange(12)
    whole = list(batches(reader, rows, 6))
    halves = [list(batches(reader, rows, 6, rank=(number, 2))) for number in (0, 1)]
    for batch, *parts in zip(whole, *halves, strict=True):
        assert torch.equal(torch.cat([part.images for part in parts]), batch.images)
        assert all(torch.equal(part.labels, batch.labels) for part in parts)
        assert all(torch.equal(part.known, batch.known) for part in parts)


def test_ahead_yields_all_in_order_and_works_one_ahead():
    made = []

    def numbers():
        for number in range(5):
            made.append(number)
            yield number

    items = prefetch(numbers())
    assert next(items) == 0
    assert list(items) == [1, 2, 3, 4]
    assert made == [0, 1, 2, 3, 4]
    assert list(prefetch(iter(()))) == []


def test_ahead_passes_on_what_went_wrong_where_it_went_wrong():
    def broken():
        yield 1
        raise ValueError("a damaged shard")

    items = prefetch(broken())
    assert next(items) == 1
    with pytest.raises(ValueError, match="a damaged shard"):
        next(items)
