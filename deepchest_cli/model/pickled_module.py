"""Tensors of a whole `nn.Module` that was pickled, read without running anything in the file.

Older projects publish `torch.save(model, FILE)`. Such a file names classes and functions, which
`pickle` would import and call; here each of a fixed list is a stand-in that only keeps what it is
given, and any other name refuses the file.
"""

import io
import math
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of files from before torch 1.6
ZIPPED = b"PK"
DTYPES = {
    "BFloat16Storage": torch.bfloat16, "BoolStorage": torch.bool, "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32, "HalfStorage": torch.float16, "IntStorage": torch.int32,
    "LongStorage": torch.int64,
}  # fmt: skip
TENSORS = ("_rebuild_tensor", "_rebuild_tensor_v2")
PARAMETERS = ("_rebuild_parameter", "_rebuild_parameter_with_state")
# the names that a file may hold besides, by module
STAND_INS = {
    "__builtin__": "set",
    "_codecs": "encode",
    "builtins": "set",
    "numpy": "dtype ndarray",
    "numpy._core.multiarray": "_reconstruct scalar",
    "numpy.core.multiarray": "_reconstruct scalar",
    "torch": "Size device",
    "torch._utils": " ".join((*TENSORS, *PARAMETERS)),
    "torch.nn.modules.activation": "ReLU Sigmoid",
    "torch.nn.modules.batchnorm": "BatchNorm2d",
    "torch.nn.modules.container": "ModuleList Sequential",
    "torch.nn.modules.conv": "Conv2d",
    "torch.nn.modules.dropout": "Dropout Dropout2d",
    "torch.nn.modules.flatten": "Flatten",
    "torch.nn.modules.linear": "Identity Linear",
    "torch.nn.modules.pooling": "AdaptiveAvgPool2d AvgPool2d MaxPool2d",
    "torch.nn.parallel.data_parallel": "DataParallel",
    "torchvision.models.resnet": "BasicBlock Bottleneck ResNet",
    "torchxrayvision.models": "DenseNet ResNet _DenseBlock _DenseLayer _Transition",
}


class _StandIn:
    """Keeps the arguments and the state of what the file would have made."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Table(dict[Any, Any]):
    """In the place of an `OrderedDict`, whose attributes it leaves out."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Storage(NamedTuple):
    """Numbers that lie elsewhere in the file."""

    key: str
    dtype: torch.dtype


class _Reader(pickle.Unpickler):
    """Knows the names above and no other; each pickle has stand-ins of its own."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, encoding="utf-8")
        self.known: dict[str, type] = {}
        self.storages: dict[str, torch.dtype] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in, or the type of a storage's numbers."""
        full = f"{module}.{name}"
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        base = _Table if full == "collections.OrderedDict" else _StandIn
        if base is _StandIn and name not in STAND_INS.get(module, "").split():
            raise pickle.UnpicklingError(f"Unsupported global: GLOBAL {full} is not known.")
        return self.known.setdefault(full, type(name, (base,), {}))

    def persistent_load(self, saved: Any) -> Any:
        """Return the description of a storage; of a class, which old files save with its source."""
        kind, what, *rest = saved
        if kind == "module":
            return what
        key, view = str(rest[0]), rest[3:]
        if (kind, *view) not in (("storage",), ("storage", None)) or what not in DTYPES.values():
            raise pickle.UnpicklingError("It holds storages of another kind.")
        if self.storages.setdefault(key, what) != what:
            raise pickle.UnpicklingError(f"Its storage {key} is of two types.")
        return _Storage(key, what)


def read_module(path: Path) -> dict[str, Tensor]:
    """Return the parameters and buffers of a pickled module by name, as its state dict has them.

    Raises `pickle.UnpicklingError`, which names the first class or function that is not known, for
    a file that is not from `torch.save` of a module, and for tensors that go beyond their storage.
    """
    content = path.read_bytes()
    try:
        module, numbers = _zipped(content) if content[:2] == ZIPPED else _legacy(content)
        values = _values(module, "", set())
        return {name: _tensor(value, numbers) for name, value in values if value is not None}
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # a damaged pickle fails in many ways
        raise pickle.UnpicklingError(f"It cannot be read: {error!r}.") from error


def _zipped(content: bytes) -> tuple[Any, Callable[[str], bytes]]:
    """Return the object of a file of today, and what reads a storage by its key."""
    archive = zipfile.ZipFile(io.BytesIO(content))
    sizes = {one.filename: one.file_size for one in archive.infolist()}
    if sum(sizes.values()) > len(content):
        raise pickle.UnpicklingError("It is compressed, which torch.save does not do.")
    folder = next(name for name in sizes if name.endswith("/data.pkl")).removesuffix("data.pkl")
    order = f"{folder}byteorder"
    _refuse_big_endian(order in sizes and archive.read(order) != b"little")
    module = _Reader(io.BytesIO(archive.read(f"{folder}data.pkl"))).load()
    return module, lambda key: archive.read(f"{folder}data/{key}")


def _legacy(content: bytes) -> tuple[Any, Callable[[str], bytes]]:
    """Return the object of a file from before torch 1.6, and what reads a storage by its key.

    Such a file is five pickles in a row, the last of them the keys of the storages; then, for each
    key, a count (int64) and as many numbers.
    """
    stream = io.BytesIO(content)
    if [_Reader(stream).load() for _ in range(2)] != [MAGIC, PROTOCOL]:
        raise pickle.UnpicklingError("It is not from torch.save.")
    _refuse_big_endian(not _Reader(stream).load()["little_endian"])
    reader = _Reader(stream)
    module, storages = reader.load(), {}
    for key in _Reader(stream).load():
        count = int.from_bytes(stream.read(8), "little", signed=True)
        storages[key] = stream.read(max(count, 0) * reader.storages[key].itemsize)
    return module, storages.__getitem__


def _refuse_big_endian(is_big: bool) -> None:
    if is_big:
        raise pickle.UnpicklingError("Its numbers are big-endian.")


def _values(module: Any, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield names and values of a module's parameters and buffers, and of those within it."""
    if not isinstance(module, _StandIn) or not isinstance(module.state, dict):
        raise pickle.UnpicklingError("It holds no module.")
    seen.add(id(module))
    for section in ("_parameters", "_buffers"):
        yield from ((prefix + name, value) for name, value in module.state[section].items())
    for name, child in module.state["_modules"].items():
        if id(child) not in seen:
            yield from _values(child, f"{prefix}{name}.", seen)


def _tensor(value: Any, numbers: Callable[[str], bytes]) -> Tensor:
    """Return the tensor that a parameter or a buffer of the file stands for."""
    if type(value).__name__ in PARAMETERS:
        value = value.arguments[0]
    if type(value).__name__ not in TENSORS:
        raise pickle.UnpicklingError("It holds parameters that are no tensors.")
    storage, offset, size, stride = value.arguments[:4]
    stored = torch.frombuffer(bytearray(numbers(storage.key)), dtype=storage.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    # a stride of 0 would make many numbers of one
    if min((offset, *size, *stride)) < 0 or max(last + 1, math.prod(size)) > len(stored):
        raise pickle.UnpicklingError("It holds a tensor that goes beyond its storage.")
    return stored.as_strided(size, stride, offset).contiguous()
