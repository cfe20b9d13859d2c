"""Whole modules in pickles: their tensors are read, and nothing in such a file runs."""

import functools
import io
import os
import pickle
import re
import zipfile

import pytest
import torch
from torch import nn

from deepchest_cli.errors import DeepChestError
from deepchest_cli.model import pickled_module
from deepchest_cli.model.pickled_module import read_module
from deepchest_cli.model.weights import read_tensors


def small_network():
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    network = nn.Sequential(stem, nn.Flatten(), nn.Dropout(), nn.Linear(16, 3))
    network(torch.rand(5, 1, 4, 4))  # statistics
    return network


@pytest.fixture
def file(tmp_path):
    return tmp_path / "network.pt"


@pytest.fixture(params=[True, False], ids=["zip", "before 1.6"])
def save(request, file):
    """Save an object as torch does today, or as it did before 1.6."""
    return lambda thing: torch.save(thing, file, _use_new_zipfile_serialization=request.param)


def zipped(file, program: bytes, storages=(), compression=zipfile.ZIP_STORED):
    """Write a file as torch does, with a pickle of our own."""
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", program)
        for key, content in storages:
            archive.writestr(f"archive/data/{key}", content)
        archive.writestr("archive/version", "3\n")
    return file


class Pickler(pickle.Pickler):
    """Names storages of any description; other objects are pickled by what they return."""

    def persistent_id(self, thing):
        return thing.saved if isinstance(thing, Stored) else None


class Stored:
    def __init__(self, *saved):
        self.saved = saved


class Call:
    """Pickled as a call of any function, with a state that is set afterwards."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments, state)

    def __reduce__(self):
        return self.parts


def pickled(thing) -> bytes:
    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump(thing)
    return stream.getvalue()


def module_of(parameters=None, modules=None):
    """Return what pickles to a module with these parameters."""
    state = {"_parameters": parameters or {}, "_buffers": {}, "_modules": modules or {}}
    return Call(nn.Linear, state=state)


def tensor_of(storage, offset, size, stride):
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, {})


FLOATS = Stored("storage", torch.FloatStorage, "0", "cpu", 4)


def test_a_module_has_the_tensors_of_its_state_dict(save, file):
    network = small_network()
    save(network)
    found, wanted = read_module(file), network.state_dict()
    assert list(found) == list(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert all(found[name].dtype == wanted[name].dtype for name in wanted)


def test_tensors_that_share_a_storage_or_are_transposed_keep_their_values(save, file):
    network = small_network()
    numbers = torch.arange(48.0)
    network[3].weight = nn.Parameter(numbers.view(16, 3).T)
    network[3].register_buffer("part", numbers[5:9])
    save(network)
    found = read_module(file)
    assert torch.equal(found["3.weight"], numbers.view(16, 3).T)
    assert torch.equal(found["3.part"], numbers[5:9])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read(save, file, dtype):
    network = small_network().to(dtype)
    save(network)
    found = read_module(file)
    assert all(torch.equal(found[k], v) for k, v in network.state_dict().items())


def code(marker):
    """Return what would write a file when it is loaded, and how each is named in the error."""
    touch = f"open({str(marker)!r}, 'w')"
    return {
        "posix.system": Call(os.system, f"touch {marker}"),
        "__builtin__.eval": Call(eval, touch),
        "__builtin__.getattr": Call(getattr, nn.Linear, "__init__"),
        "functools.partial": Call(functools.partial, os.system, f"touch {marker}"),
        "torch.serialization.load": Call(torch.load, str(marker)),
        "torch.hub.load": Call(torch.hub.load, "owner/repository", "model"),
        "torch.nn.modules.module.Module": Call(nn.Module),
    }


@pytest.mark.parametrize("name", code(""))
@pytest.mark.parametrize("place", ["alone", "as a parameter", "in a list", "as a state"])
def test_code_is_refused_by_name_and_does_not_run(save, file, tmp_path, name, place):
    marker = tmp_path / "ran"
    found = code(marker)[name]
    content = {
        "alone": found,
        "as a parameter": module_of({"weight": found}),
        "in a list": [module_of(), found],
        "as a state": Call(nn.Linear, state=found),
    }[place]
    save(content)
    with pytest.raises(pickle.UnpicklingError, match=re.escape(name)):
        read_module(file)
    with pytest.raises(DeepChestError) as caught:
        read_tensors(file)
    assert "is not loaded" in caught.value.message and name in caught.value.message
    assert not marker.exists()


def global_of(module: str, name: str) -> bytes:
    """Return the opcodes of protocol 4 that look up a name, dotted or not."""
    texts = b"".join(b"\x8c" + bytes([len(one)]) + one.encode() for one in (module, name))
    return b"\x80\x04" + texts + b"\x93"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("torch.nn.modules.linear", "Linear.__init__.__globals__"),
        ("torch.nn.modules.linear", "Linear.__setstate__"),
        ("torch.nn.modules", "linear.Linear"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("collections", "OrderedDict.__reduce__"),
        ("numpy", "load"),
        ("", ""),
    ],
)
def test_no_name_leads_to_what_an_object_refers_to(file, module, name):
    zipped(file, global_of(module, name) + b".")
    with pytest.raises(pickle.UnpicklingError, match=re.escape(f"{module}.{name}")):
        read_module(file)


def test_a_state_changes_nothing_but_stand_ins(file):
    """A pickle that sets attributes of the classes that it names reaches neither torch nor us."""
    before = vars(nn.Linear).copy(), vars(pickled_module._StandIn).copy()
    look_up = global_of("torch.nn.modules.linear", "Linear")
    program = look_up + b"N" + pickle.dumps({"__init__": 1, "forward": 2})[:-1] + b"\x86b."
    zipped(file, program)
    with pytest.raises(pickle.UnpicklingError):
        read_module(file)
    program = look_up + pickle.dumps(({"_parameters": 1}, {"__setstate__": 2}))[:-1] + b"b."
    zipped(file, program)
    with pytest.raises(pickle.UnpicklingError):
        read_module(file)
    assert (vars(nn.Linear), vars(pickled_module._StandIn)) == before


@pytest.mark.parametrize(
    "storage",
    [
        Stored("storage", Stored("storage", torch.FloatStorage, "0", "cpu", 4), "0", "cpu", 4),
        Stored("storage", torch.FloatStorage, "0", "cpu", 4, ("1", 0, 2)),
        Stored("storage", "FloatStorage", "0", "cpu", 4),
        Stored("file", "/etc/passwd"),
        Stored("storage"),
    ],
    ids=["nested", "view", "text", "other kind", "short"],
)
def test_storages_of_another_kind_are_refused(file, storage):
    module = module_of({"weight": tensor_of(storage, 0, (4,), (1,))})
    zipped(file, pickled(module), [("0", bytes(16))])
    with pytest.raises(pickle.UnpicklingError):
        read_module(file)


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (1, (4,), (1,)),
        (0, (2, 3), (3, 1)),
        (-1, (2,), (1,)),
        (3, (2,), (-1,)),
        (0, (1 << 40,), (0,)),  # a terabyte of one number
        (0, (4,), ()),
    ],
)
def test_tensors_stay_within_their_storage(file, offset, size, stride):
    tensor = tensor_of(FLOATS, offset, size, stride)
    zipped(file, pickled(module_of({"weight": tensor})), [("0", bytes(16))])
    with pytest.raises(pickle.UnpicklingError):
        read_module(file)


def test_a_tensor_within_its_storage_is_read(file):
    tensor = tensor_of(FLOATS, 1, (3,), (1,))
    content = torch.arange(4.0).numpy().tobytes()
    zipped(file, pickled(module_of({"weight": tensor})), [("0", content)])
    assert read_module(file)["weight"].tolist() == [1, 2, 3]


def test_modules_within_themselves_and_many_times_end(file):
    inner = module_of({"weight": tensor_of(FLOATS, 0, (4,), (1,))})
    for _ in range(60):  # 2**60 paths lead to the innermost
        inner = module_of(modules={"a": inner, "b": inner})
    inner.parts[2]["_modules"]["itself"] = inner
    zipped(file, pickled(inner), [("0", bytes(16))])
    assert len(read_module(file)) == 1


def test_what_is_no_module_is_refused(file, save):
    save({"model": small_network()})
    with pytest.raises(pickle.UnpicklingError, match="no module"):
        read_module(file)
    file.write_bytes(b"\x80\x02K\x01.\x80\x02K\x02.")
    with pytest.raises(pickle.UnpicklingError, match=r"torch\.save"):
        read_module(file)


def test_compressed_and_damaged_files_are_refused(file):
    zipped(file, pickled(module_of()) + bytes(10_000), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(pickle.UnpicklingError, match="compressed"):
        read_module(file)
    torch.save(small_network(), file)
    whole = file.read_bytes()
    for length in (len(whole) // 2, len(whole) - 30, 3, 0):
        file.write_bytes(whole[:length])
        with pytest.raises(pickle.UnpicklingError):
            read_module(file)


def test_a_module_is_read_as_a_file_of_weights(save, file):
    network = small_network()
    save(network)
    assert read_tensors(file).keys() == network.state_dict().keys()
