"""A simulated GPU: tensors that hold CPU values, say that they are on `cuda:0` or `mps:0`, refuse
what such a device refuses, and count how often the host waits for it.

`with simulated("cuda") as device:` makes it one that the whole product finds. What is computed is
what the CPU computes; what is held by it is where tensors lie, in which precision, and the waits.
"""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
import torch._dynamo  # looks into what is replaced here when it is imported first
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_iter, tree_map, tree_map_only

GIB = 2**30
# operations whose result the host has to know before it goes on
WAITING = frozenset(
    f"aten::{name}"
    for name in (
        "_linalg_check_errors", "_local_scalar_dense", "_unique2", "equal", "is_nonzero",
        "masked_select", "nonzero", "repeat_interleave", "unique_consecutive", "unique_dim",
    )
)  # fmt: skip
INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
# half precision in, single precision within, as on GPUs; in half precision CPUs are slow in these
PRODUCTS = frozenset(
    f"aten::{name}"
    for name in ("addmm", "baddbmm", "bmm", "convolution", "convolution_backward", "mm")
)
# operations that launch nothing: they allocate, or give the same memory another form
FREE = ("aten::_unsafe_view", "aten::_reshape_alias")
NO_DOUBLE = (
    "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. "
    "Please use float32 instead."
)
UNSAFE = (
    "Metal uses the host's memory after a call that does not wait has returned, when it may have "
    "been freed (PyTorch issue 189690)."
)
DOUBLES = (torch.float64, torch.complex128)


class SimulatedDevice:
    """What has happened on the devices of one kind."""

    def __init__(self, kind: str, devices: int, memory: int) -> None:
        self.kind, self.devices = kind, devices
        self.device = torch.device(kind, 0)
        self.total_memory = self.free_memory = memory  # what `mem_get_info` says, in bytes
        self.waits: Counter[tuple[str, str]] = Counter()  # by kind and place
        self.launches: Counter[str] = Counter()  # by operation
        self.uploaded = 0  # bytes that went from the host to a device
        self.is_initialized = False  # as torch.cuda is from the first tensor on
        self.is_counting, self._thread = False, 0
        self._failure: tuple[BaseException, int] | None = None

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count waits, launches and uploaded bytes within the block only."""
        self.is_counting, self._thread = True, threading.get_ident()
        try:
            yield
        finally:
            self.is_counting = False

    def clear(self) -> None:
        """Forget what has been counted."""
        self.waits.clear()
        self.launches.clear()
        self.uploaded = 0

    def fail(self, error: BaseException, after: int = 0) -> None:
        """Let every operation raise `error` after the next `after` ones."""
        self._failure = error, after

    def repair(self) -> None:
        """Let operations succeed again."""
        self._failure = None

    def wait(self, kind: str) -> None:
        """Note that the host waits: the thread that counts, whom those that read ahead serve."""
        if self.is_counting and threading.get_ident() == self._thread:
            self.waits[kind, _place()] += 1

    def operate(self, operation: Any) -> None:
        """Note an operation, or fail."""
        if self._failure is not None:
            error, left = self._failure
            if not left:
                raise error
            self._failure = error, left - 1
        if self.is_counting and not _is_free(operation):
            self.launches[operation._schema.name] += 1

    def reset_peak(self, *args: Any) -> None:
        """Do nothing, or fail as CUDA's allocator does that has allocated nothing yet."""
        if not self.is_initialized:
            raise RuntimeError("Invalid device argument")

    def upload(self, tensor: Tensor) -> None:
        """Note a copy from the host."""
        if self.is_counting:
            self.uploaded += tensor.nbytes


def _is_free(operation: Any) -> bool:
    name = operation._schema.name
    is_view = any(
        returned.alias_info is not None and not returned.alias_info.is_write
        for returned in operation._schema.returns
    )
    return is_view or name in FREE or name.startswith(("aten::empty", "aten::new_empty"))


def _place() -> str:
    """Return file and line of the product that the innermost call came from."""
    frame = sys._getframe(1)
    while frame is not None:
        _, found, inside = frame.f_code.co_filename.partition("deepchest_cli/")
        if found:
            return f"{inside}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"


_active: list[SimulatedDevice] = []


class SimulatedTensor(Tensor):
    """A tensor on a simulated device; `inner` has its values, on the CPU."""

    inner: Tensor
    number: int  # of its device

    @staticmethod
    def __new__(cls, inner: Tensor, number: int = 0) -> "SimulatedTensor":
        if _active[-1].kind == "mps" and inner.dtype in DOUBLES:
            raise TypeError(NO_DOUBLE)
        made: SimulatedTensor = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device="cpu",
        )
        made.inner, made.number = inner, number
        _active[-1].is_initialized = True
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"SimulatedTensor({self.inner}, device={_device_of(self)})"

    def __deepcopy__(self, memo: dict[int, Any]) -> "SimulatedTensor":
        if id(self) not in memo:
            made = SimulatedTensor(self.inner.detach().clone(), self.number)
            made.requires_grad_(self.requires_grad)
            if getattr(self, "_is_param", False):
                made._is_param = True
            memo[id(self)] = made
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.inner.detach().clone().__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, device, name = kwargs or {}, _active[-1], func._schema.name
        tensors = [x for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)]
        number = next(x.number for x in tensors if isinstance(x, SimulatedTensor))
        _refuse_mixed(func, args, tensors, number)
        device.operate(func)
        if name in WAITING:
            device.wait(name)
        elif name in INDEXING:
            _note_indices(args[1], device)
        elif name == "aten::copy_":
            _note_copy(args, kwargs, device)
        compute = _product if name in PRODUCTS else _call
        out = compute(func, *tree_map(_inner, (args, kwargs)))
        if name == "aten::copy_" and not isinstance(args[0], SimulatedTensor):
            return args[0]
        out = tree_map_only(Tensor, lambda x: SimulatedTensor(x, number), out)
        return return_and_correct_aliasing(func, args, kwargs, out)


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, SimulatedTensor) else value


def _call(func: Any, args: Any, kwargs: Any) -> Any:
    return func(*args, **kwargs)


def _product(func: Any, args: Any, kwargs: Any) -> Any:
    """Compute in single precision what is given in half precision."""
    kinds = {x.dtype for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)}
    if kinds not in ({torch.bfloat16}, {torch.float16}):
        return func(*args, **kwargs)
    [kind] = kinds
    args, kwargs = tree_map_only(Tensor, lambda x: x.float(), (args, kwargs))
    return tree_map_only(Tensor, lambda x: x.to(kind), func(*args, **kwargs))


def _refuse_mixed(func: Any, args: Any, tensors: Sequence[Tensor], number: int) -> None:
    """Raise `RuntimeError` for tensors of several devices, but for scalars and indices."""
    name = func._schema.name
    if name in ("aten::copy_", "aten::_to_copy"):
        return
    if name in INDEXING:
        if not isinstance(args[0], SimulatedTensor):
            raise RuntimeError(f"indices should be on the same device as the tensor ({name}).")
        tensors = [args[0], *(x for x in args[2:3] if isinstance(x, Tensor) and x.numel() > 1)]
    for x in tensors:
        same = isinstance(x, SimulatedTensor) and x.number == number
        if not same and (isinstance(x, SimulatedTensor) or x.dim() > 0):
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices "
                f"({name}, at {_place()})."
            )


def _note_indices(indices: Sequence[Tensor | None], device: SimulatedDevice) -> None:
    given = [index for index in indices if index is not None]
    if any(not isinstance(index, SimulatedTensor) for index in given):
        device.wait("indices from the host")
    if any(index.dtype in (torch.bool, torch.uint8) for index in given):
        device.wait("mask as index")


def _note_copy(args: Any, kwargs: Mapping[str, Any], device: SimulatedDevice) -> None:
    to, source = args[:2]
    if isinstance(to, SimulatedTensor) == isinstance(source, SimulatedTensor):
        return
    if isinstance(to, SimulatedTensor):
        device.upload(source)
    blocking = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
    if blocking:
        device.wait("copy to the device" if isinstance(to, SimulatedTensor) else "copy to the host")
    elif device.kind == "mps":
        raise RuntimeError(UNSAFE)


class _ToDevice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, number: int) -> Tensor:
        return SimulatedTensor(values.detach().clone(), number)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return _inner(gradient).clone(), None


class _ToHost(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Any) -> Tensor:
        ctx.number = values.number
        return values.inner.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return SimulatedTensor(gradient.clone(), ctx.number)


def _device_of(tensor: Tensor) -> torch.device:
    if isinstance(tensor, SimulatedTensor):
        return torch.device(_active[-1].kind, tensor.number)
    return torch.device("cpu")


def _number_of(device: Any) -> int | None:
    """Return the number of a simulated device; None for others."""
    if device is None:
        return None
    if isinstance(device, int):
        return device
    device = torch.device(device)
    return (device.index or 0) if device.type == _active[-1].kind else None


class _Mode(TorchFunctionMode):
    """Answers what a tensor says of its device, and creates and moves tensors there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        special = _PROPERTIES.get(func) or _METHODS.get(name)
        if special is not None and args and isinstance(args[0], Tensor):
            return special(*args, **kwargs)
        kwargs.pop("pin_memory", None)
        if kwargs.get("device") is not None:
            return _create(func, name, args, kwargs)
        return func(*args, **kwargs)


def _create(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    """Call a function with the argument `device`."""
    number = _number_of(kwargs.pop("device"))
    if number is None:
        return tree_map(_inner, func(*args, **kwargs, device="cpu"))
    out = func(*args, **kwargs, device="cpu")
    if name in ("tensor", "as_tensor", "asarray"):
        _active[-1].wait("copy to the device")
    if func is torch.Generator:
        return out
    is_new = lambda x: isinstance(x, Tensor) and not isinstance(x, SimulatedTensor)  # noqa: E731
    return tree_map(lambda x: SimulatedTensor(x, number) if is_new(x) else x, out)


def _to(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """What `Tensor.to` does."""
    to, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
    non_blocking, flags = kwargs.pop("non_blocking", False), []
    for value in args:
        if isinstance(value, Tensor):
            to, dtype = _device_of(value), value.dtype
        elif isinstance(value, torch.dtype):
            dtype = value
        elif isinstance(value, bool):
            flags.append(value)
        elif value is not None:
            to = value
    non_blocking = flags[0] if flags else non_blocking
    if len(flags) > 1 and flags[1]:
        kwargs["copy"] = True
    to = _device_of(tensor) if to is None else torch.device(to)
    number = _number_of(to)
    source = tensor.number if isinstance(tensor, SimulatedTensor) else None
    converted = [] if dtype is None else [dtype]
    if number == source:
        if number is not None and _active[-1].kind == "mps" and dtype in DOUBLES:
            raise TypeError(NO_DOUBLE)
        return Tensor.to(tensor, *converted, **kwargs) if converted or kwargs else tensor
    kwargs.pop("copy", None)
    if source is not None:
        host = _to_host(tensor, dtype, non_blocking)
        host = Tensor.to(host, *converted, **kwargs) if converted or kwargs else host
        return host if number is None else SimulatedTensor(host, number)
    values = Tensor.to(tensor, *converted, **kwargs) if converted or kwargs else tensor
    assert number is not None
    return _to_device(values, number, non_blocking)


def _to_host(tensor: Any, dtype: torch.dtype | None, non_blocking: bool) -> Tensor:
    device = _active[-1]
    if device.kind == "mps" and dtype in DOUBLES:
        raise TypeError(NO_DOUBLE)  # the conversion comes first, on the device
    if not non_blocking:
        device.wait("copy to the host")
    if tensor.requires_grad and torch.is_grad_enabled():
        return _ToHost.apply(tensor)
    return tensor.inner.detach().clone()


def _to_device(values: Tensor, number: int, non_blocking: bool) -> Tensor:
    device = _active[-1]
    device.upload(values)
    if not non_blocking:
        device.wait("copy to the device")
    elif device.kind == "mps":
        raise RuntimeError(UNSAFE)
    if values.requires_grad and torch.is_grad_enabled():
        return _ToDevice.apply(values, number)
    return SimulatedTensor(values.detach().clone(memory_format=torch.preserve_format), number)


def _numpy(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
    if isinstance(tensor, SimulatedTensor):
        raise TypeError(
            f"can't convert {_device_of(tensor)} device type tensor to numpy. "
            "Use Tensor.cpu() to copy the tensor to host memory first."
        )
    return Tensor.numpy(tensor, *args, **kwargs)


def _tolist(tensor: Tensor) -> Any:
    if isinstance(tensor, SimulatedTensor):
        _active[-1].wait("tolist")
        tensor = tensor.inner.detach()
    return Tensor.tolist(tensor)


def _new_tensor(tensor: Tensor, data: Any, **kwargs: Any) -> Tensor:
    made = torch.tensor(data, dtype=kwargs.get("dtype", tensor.dtype))
    if not isinstance(tensor, SimulatedTensor):
        return made
    _active[-1].wait("copy to the device")
    return SimulatedTensor(made, tensor.number)


def _array(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
    return (
        _numpy(tensor)
        if isinstance(tensor, SimulatedTensor)
        else Tensor.__array__(tensor, *args, **kwargs)
    )


def _is_on(kind: str) -> Callable[[Tensor], bool]:
    return lambda tensor: _device_of(tensor).type == kind


_PROPERTIES: dict[Any, Callable[..., Any]] = {
    Tensor.device.__get__: _device_of,
    Tensor.is_cuda.__get__: _is_on("cuda"),
    Tensor.is_mps.__get__: _is_on("mps"),
    Tensor.is_cpu.__get__: _is_on("cpu"),
}
_METHODS: dict[str, Callable[..., Any]] = {
    "to": _to,
    "type_as": _to,
    "cpu": lambda tensor, *args, **kwargs: _to(tensor, "cpu"),
    "cuda": lambda tensor, device=None, non_blocking=False, **kwargs: _to(
        tensor, torch.device("cuda", device) if isinstance(device, int) else device or "cuda",
        non_blocking=non_blocking,
    ),
    "pin_memory": Tensor.clone,
    "is_pinned": lambda tensor, *args: False,
    "numpy": _numpy,
    "__array__": _array,
    "tolist": _tolist,
    "new_tensor": _new_tensor,
    "get_device": lambda tensor: tensor.number if isinstance(tensor, SimulatedTensor) else -1,
}  # fmt: skip


class _Autocast(torch.autocast):
    """Automatic mixed precision on the CPU, with bf16 for fp16, in which CPUs take minutes."""

    def __init__(self, device_type: str, dtype: Any = None, *args: Any, **kwargs: Any) -> None:
        if device_type == _active[-1].kind:
            device_type, dtype = "cpu", None if dtype is None else torch.bfloat16
        super().__init__(device_type, dtype, *args, **kwargs)


def _apply(module: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """What `nn.Module._apply` does, by which modules are moved; it replaces their parameters."""
    moved: dict[int, Tensor] = {}  # one tensor under several names stays one

    def once(tensor: Tensor) -> Tensor:
        if id(tensor) not in moved:
            moved[id(tensor)] = fn(tensor.detach())
        return moved[id(tensor)]

    for part in module.modules() if recurse else [module]:
        for name, parameter in part._parameters.items():
            if parameter is not None:
                new = once(parameter)
                if not getattr(new, "_is_param", False):
                    new = nn.Parameter(new, parameter.requires_grad)
                    moved[id(parameter)] = new
                part._parameters[name] = new
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = once(buffer)
    return module


def _in_every_thread(mode: Callable[[], _Mode]) -> Callable[[threading.Thread], None]:
    """Return what `Thread.run` does, with the mode, which torch keeps for each thread alone."""
    run = threading.Thread.run

    def run_with_mode(thread: threading.Thread) -> None:
        with mode():
            run(thread)

    return run_with_mode


def values_of(content: Any) -> Any:
    """Return a structure with what lies on a simulated device as copies on the CPU."""
    return tree_map(
        lambda x: _inner(x).detach().clone() if isinstance(x, SimulatedTensor) else x, content
    )


def _enter_no_grad(mode: Any) -> None:
    mode.no_grad = torch.no_grad()
    mode.no_grad.__enter__()


_group = torch._C._group_tensors_by_device_and_dtype


def _grouped(lists: Any, with_indices: bool = False) -> Any:
    """Return tensors by the device that they say they are on, and by their precision.

    Those of one device only, as all are that are trained here.
    """
    groups = _group(lists, with_indices)
    return {
        (next(_device_of(x) for x in found[0] if x is not None), dtype): (found, indices)
        for (_, dtype), (found, indices) in groups.items()
    }


def _patches(device: SimulatedDevice) -> Iterator[tuple[Any, str, Any]]:
    """Yield what torch says of its devices, with a simulated one in it."""
    save, fork_rng, generator = torch.save, torch.random.fork_rng, torch.Generator
    nothing, free = lambda *args, **kwargs: None, lambda *args: device.free_memory
    used = lambda *args: device.total_memory - device.free_memory  # noqa: E731
    yield torch, "save", lambda content, file, **more: save(values_of(content), file, **more)
    yield torch, "Generator", lambda device="cpu": generator()
    yield torch, "autocast", _Autocast
    yield torch.amp, "autocast", _Autocast
    # wrappers cannot be made of tensors of the inference mode
    yield torch.inference_mode, "__enter__", _enter_no_grad
    yield torch.inference_mode, "__exit__", lambda mode, *error: mode.no_grad.__exit__(*error)
    yield torch._C, "_group_tensors_by_device_and_dtype", _grouped
    yield torch.random, "fork_rng", lambda devices=None, **more: fork_rng([], **more)
    yield nn.Module, "_apply", _apply
    yield threading.Thread, "run", _in_every_thread(_Mode)
    is_cuda = device.kind == "cuda"
    yield torch.cuda, "is_available", lambda: is_cuda
    yield torch.cuda, "device_count", lambda: device.devices if is_cuda else 0
    yield torch.backends.mps, "is_available", lambda: not is_cuda
    yield torch.accelerator, "is_available", lambda: False  # asked by optimizers about CUDA graphs
    for name, value in {
        "is_current_stream_capturing": lambda: False,
        "is_initialized": lambda: device.is_initialized,
        "set_device": nothing,
        "current_device": lambda: 0,
        "mem_get_info": lambda *args: (free(), device.total_memory),
        "is_bf16_supported": lambda including_emulation=True: True,
        "manual_seed": nothing,
        "manual_seed_all": nothing,
        "device": nullcontext,
        "max_memory_allocated": used,
        "memory_allocated": used,
        "memory_reserved": used,
        "max_memory_reserved": used,
        "reset_peak_memory_stats": device.reset_peak,
        "synchronize": lambda *args: device.wait("synchronize"),
        "empty_cache": nothing,
        "get_device_name": lambda *args: f"simulated {device.kind}",
    }.items():
        yield torch.cuda, name, value
    for name, value in {
        "synchronize": lambda: device.wait("synchronize"),
        "empty_cache": nothing,
        "manual_seed": nothing,
        "current_allocated_memory": used,
        "driver_allocated_memory": used,
        "recommended_max_memory": lambda: device.total_memory,
    }.items():
        yield torch.mps, name, value


@contextmanager
def simulated(kind: str, devices: int = 1, memory: int = 80 * GIB) -> Iterator[SimulatedDevice]:
    """Let this process find `devices` devices of a kind, cuda or mps, within the block."""
    device = SimulatedDevice(kind, devices, memory)
    _active.append(device)
    try:
        with ExitStack() as stack:
            for owner, name, value in _patches(device):
                stack.enter_context(mock.patch.object(owner, name, value))
            stack.enter_context(_Mode())
            yield device
    finally:
        _active.pop()
