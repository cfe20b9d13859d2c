import numpy as np
import pytest
import torch

from deepchest_cli.data import reader as reader_module
from deepchest_cli.data.augmentation import to_bytes, to_gray
from deepchest_cli.data.batches import batches, prefetch
from deepchest_cli.data.dataset import RadiographDataset, open_dataset
from deepchest_cli.data.merging import open_datasets
from deepchest_cli.data.reader import ImageReader, free_bytes, open_reader, resolve_place
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
    def full(*arguments, **named):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(
        UsageError, match=r"80 images of 32 px \(82 KB\) do not fit on cpu"
    ) as error:
        ImageReader(dataset, CPU, "device")
    assert error.value.hint.startswith("Use --cache none")


@pytest.fixture
def mixed(shards, site_shards):
    """Images stored at 32 px and at 48, read at 32."""
    return open_datasets([str(shards), str(site_shards)])


def read_one_by_one(several, rows):
    """Return images of several data sets, each shrunk by itself."""
    images = [image for one in several for image in one.gather(np.arange(len(one.labels)))]
    gray = [to_gray(torch.from_numpy(images[row])[None], 32) for row in rows]
    return torch.cat([to_bytes(one) for one in gray])


@pytest.mark.parametrize("place", ["none", "host", "device"])
@pytest.mark.parametrize("swapped", [False, True])
def test_images_of_several_sizes_are_those_shrunk_one_by_one(shards, site_shards, place, swapped):
    folders = (site_shards, shards) if swapped else (shards, site_shards)
    mixed = open_datasets([str(folder) for folder in folders])
    assert (mixed.size, mixed.is_of_one_size) == (32, False)
    assert [member.size for member in mixed.members] == [48, 32] if swapped else [32, 48]
    kept = np.concatenate([mixed.rows("validation"), mixed.rows("train")])
    reader = ImageReader(mixed, CPU, place, kept)
    rows = np.random.default_rng(0).permutation(kept)
    for some in (rows[:16], rows[16:17], rows[[3, 3, 40]], kept):
        expected = read_one_by_one([open_dataset(folder) for folder in folders], some)
        found = reader.read(some)
        assert found.dtype == torch.uint8
        assert torch.equal(found, expected)
        assert np.array_equal(mixed.gather(some), found)
        found.zero_()
        assert torch.equal(reader.read(some), expected)


def test_a_batch_of_one_size_is_read_from_a_data_set_of_several(mixed):
    reader = ImageReader(mixed, CPU)
    for number in (0, 1):
        rows = np.flatnonzero(mixed.member == number)[5:9]
        assert np.array_equal(reader.read(rows), mixed.gather(rows))


@pytest.mark.parametrize("place", ["host", "device"])
def test_images_are_kept_a_few_at_a_time(mixed, place, monkeypatch):
    """What is kept is all that stays in memory; stored images are read in chunks."""
    monkeypatch.setattr("deepchest_cli.data.reader.CHUNK", 7)
    largest = []
    copy_stored = RadiographDataset.copy_stored

    def recording(self, rows, out):
        largest.append(len(rows))
        return copy_stored(self, rows, out)

    monkeypatch.setattr(RadiographDataset, "copy_stored", recording)
    reader = ImageReader(mixed, CPU, place)
    assert max(largest) <= 7
    assert sum(largest) == len(mixed.labels)
    assert reader.kept.shape == (260, 32, 32)
    assert np.array_equal(reader.read(np.arange(260)), mixed.gather(np.arange(260)))


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that says what is free, and how much of the rest torch has reserved and uses."""
    memory = {"free": 10_000_000, "reserved": 0, "allocated": 0}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (memory["free"], 20_000_000))
    for name in ("reserved", "allocated"):
        monkeypatch.setattr(torch.cuda, f"memory_{name}", lambda device, name=name: memory[name])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: memory.update(emptied=True))
    reader_module._room.cache_clear()
    yield memory
    reader_module._room.cache_clear()


GPU = torch.device("cuda", 0)


def test_auto_keeps_images_on_a_gpu_when_they_fit(gpu):
    assert resolve_place("auto", 4_000_000, GPU) == "device"
    assert resolve_place("auto", 8_000_000, GPU) == "none"  # it would leave too little
    assert resolve_place("host", 4_000_000, GPU) == "host"
    assert resolve_place("auto", 1, CPU) == "none"


def test_auto_decides_alike_whatever_happens_on_the_gpu_meanwhile(gpu):
    assert resolve_place("auto", 4_000_000, GPU) == "device"
    gpu["free"] = 1_000_000
    assert resolve_place("auto", 4_000_000, GPU) == "device"
    assert resolve_place("auto", 8_000_000, GPU) == "none"


def test_what_torch_keeps_of_tensors_that_are_gone_is_free(gpu):
    gpu.update(free=2_000_000, reserved=9_000_000, allocated=1_000_000)
    assert free_bytes(GPU) == 10_000_000
    assert resolve_place("auto", 4_000_000, GPU) == "device"
    assert resolve_place("device", 10_000_000, GPU) == "device"


def test_a_gpu_that_another_process_fills(gpu):
    gpu.update(free=3_000_000)
    assert resolve_place("auto", 4_000_000, GPU) == "none"
    with pytest.raises(UsageError) as error:
        resolve_place("device", 4_000_000, GPU)
    assert error.value.message == "--cache device: 4.0 MB are needed, and cuda:0 has 3.0 MB free."
    assert "--cache host, or --cache none" in error.value.hint


@pytest.mark.parametrize("place", ["host", "device"])
def test_images_in_main_memory_have_to_fit_into_that_of_the_job(dataset, monkeypatch, place):
    """A batch system kills a process that takes more; nothing has been read by then."""
    monkeypatch.setattr(reader_module, "free_main_memory", lambda: 16_000_000_000)
    assert free_bytes(CPU) == 16_000_000_000
    assert resolve_place(place, 16_000_000_000, CPU) == place
    assert resolve_place("none", 45_000_000_000, CPU) == "none"
    with pytest.raises(UsageError) as error:
        resolve_place(place, 45_000_000_000, CPU)
    assert error.value.message == f"--cache {place}: 45 GB are needed, and cpu has 16 GB free."
    assert error.value.hint.startswith("Use --cache none: images stay in their files")
    with pytest.raises(UsageError, match="5.0 GB are needed by each of 4 processes, and cpu has"):
        resolve_place(place, 5_000_000_000, CPU, processes=4)
    monkeypatch.setattr(reader_module, "free_main_memory", lambda: 1000)
    monkeypatch.setattr(ImageReader, "_read_files", None)
    with pytest.raises(UsageError, match="are needed, and cpu has 1.0 KB free"):
        open_reader(place, dataset, CPU, dataset.rows("train"))
    monkeypatch.setattr(reader_module, "free_main_memory", lambda: None)
    assert resolve_place(place, 45_000_000_000, CPU) == place


def test_processes_of_a_machine_have_gpus_of_their_own(gpu):
    assert resolve_place("device", 8_000_000, GPU, processes=8) == "device"


def test_metal_counts_what_it_recommends(monkeypatch):
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 9_000_000)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 6_000_000)
    metal = torch.device("mps")
    with pytest.raises(UsageError, match="4.0 MB are needed, and mps has 3.0 MB free"):
        resolve_place("device", 4_000_000, metal)
    assert resolve_place("auto", 1, metal) == "none"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"
        ),
    ],
)
def test_auto_leaves_images_in_their_files_where_memory_ends_in_the_middle(
    dataset, gpu, monkeypatch, error
):
    """Another process takes the memory after auto has seen it free."""
    monkeypatch.setattr(reader_module, "resolve_place", lambda *given: "device")
    read, calls = ImageReader._read_files, []

    def fill(self, rows):
        calls.append(len(rows))
        if self.place == "device" and len(calls) > 1:
            raise error
        return read(self, rows)

    monkeypatch.setattr(reader_module, "CHUNK", 7)
    monkeypatch.setattr(ImageReader, "_read_files", fill)
    rows = dataset.rows("train")
    reader = open_reader("auto", dataset, CPU, rows)
    assert (reader.place, reader.kept) == ("none", None)
    assert calls == [7, 7]
    assert gpu["emptied"]
    assert np.array_equal(reader.read(rows[:3]), dataset.gather(rows[:3]))
    with pytest.raises(
        UsageError, match=r"--cache device: \d+ images of 32 px \(.* KB\) do not fit"
    ):
        open_reader("device", dataset, CPU, rows)


def test_another_error_of_the_device_is_not_one_of_memory(dataset, monkeypatch):
    def broken(self, rows):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(ImageReader, "_read_files", broken)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        open_reader("device", dataset, CPU, dataset.rows("train"))


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
