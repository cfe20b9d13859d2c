"""The processes of a run, one for each device, and what they exchange.

Logits, predictions and requests to stop go through here; the gradients go through torch's
DistributedDataParallel.
"""

import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from deepchest_cli.errors import InterruptedRunError

Item = TypeVar("Item")

TIMEOUT = timedelta(minutes=30)  # longer than a validation, or the slowest disk
LOST_PEER = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "remote process",
)


class DistributedContext:
    """This process's rank and the number of processes; the default is a single process."""

    def __init__(self, rank: int = 0, world_size: int = 1, local_rank: int = 0) -> None:
        self.rank = rank
        self.world_size = world_size
        self.local_rank = local_rank  # on this machine, and so the number of its device
        # plain values are exchanged by the CPUs, so that no GPU is waited for
        self.cpu_group: Any = dist.new_group(backend="gloo") if world_size > 1 else None

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files and messages."""
        return self.rank == 0

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Return the model in the form whose gradients are averaged over the processes."""
        if self.world_size == 1:
            return model
        devices = [device] if device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)

    def no_sync(self, model: nn.Module) -> AbstractContextManager[None]:
        """Accumulate gradients without averaging them over the processes yet."""
        if isinstance(model, DistributedDataParallel):
            context: AbstractContextManager[None] = model.no_sync()
            return context
        return nullcontext()

    def all_gather(self, local: Tensor) -> Tensor:
        """Return the rows (N, ...) of all processes in the order of their ranks."""
        if self.world_size == 1:
            return local
        pieces = [torch.empty_like(local) for _ in range(self.world_size)]
        dist.all_gather(pieces, local.contiguous())
        return torch.cat(pieces)

    def all_gather_rows(self, local: NDArray[Any]) -> NDArray[Any]:
        """Return the rows of all processes, of which each may have another number."""
        if self.world_size == 1:
            return local
        return np.concatenate(self.all_gather_object(local))

    def all_gather_object(self, value: Item) -> list[Item]:
        """Return the values of all processes in the order of their ranks."""
        values: list[Any] = [value] * self.world_size
        if self.world_size > 1:
            dist.all_gather_object(values, value, group=self.cpu_group)
        return values

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Return the sum of the processes' tensors of one shape, in place."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def on_this_machine(self) -> int:
        """Return how many of the processes share this one's machine; all have to ask."""
        return self.all_gather_object(platform.node()).count(platform.node())

    def start_maximum(self, number: int) -> Callable[[], int]:
        """Begin to exchange a number; return what waits for the largest of the processes'."""
        if self.world_size == 1:
            return lambda: number
        shared = torch.tensor(number)
        work = dist.all_reduce(shared, dist.ReduceOp.MAX, group=self.cpu_group, async_op=True)

        def largest() -> int:
            work.wait()
            return int(shared)

        return largest

    def broadcast(self, value: Item) -> Item:
        """Return the main process's value."""
        if self.world_size == 1:
            return value
        shared: list[Any] = [value]
        dist.broadcast_object_list(shared, src=0, group=self.cpu_group)
        return shared[0]  # type: ignore[no-any-return]

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Copy the main process's buffers to all: batch norm's statistics differ a little."""
        if self.world_size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def barrier(self) -> None:
        """Wait until every process has come this far."""
        self.start_maximum(0)()


@contextmanager
def process_group(
    rank: int, world_size: int, local_rank: int, device_type: str
) -> Iterator[DistributedContext]:
    """Join the processes that a launcher such as torchrun has started, and leave them again.

    torch reads the address from the launcher's environment (`env://`).
    """
    if world_size == 1:
        yield DistributedContext()
        return
    if device_type == "cuda":
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if device_type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield DistributedContext(rank, world_size, local_rank)
    except InterruptedRunError:  # which all processes raise together
        dist.destroy_process_group()
        raise
    # after any other error the group stays: destroying it would wait for the other processes
    dist.destroy_process_group()


def is_lost_peer(error: RuntimeError) -> bool:
    """Whether an error says that another process has ended."""
    return any(words in str(error) for words in LOST_PEER)
