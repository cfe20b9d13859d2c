"""The processes of a run: one for each device, in step with each other.

What has to be the same everywhere (logits, predictions, the wish to stop) goes through here; the
gradients go through torch's DistributedDataParallel.
"""

from collections.abc import Iterator
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

PATIENCE = timedelta(minutes=30)  # a whole validation, or the slowest disk, fits in between


class Ranks:
    """This process's number among how many; the default is a run of one process."""

    def __init__(self, rank: int = 0, count: int = 1, local_rank: int = 0) -> None:
        self.rank = rank
        self.count = count
        self.local_rank = local_rank  # on this machine, and so the number of its device
        # plain numbers travel between the CPUs: nothing waits for a GPU
        self.plain: Any = dist.new_group(backend="gloo") if count > 1 else None

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    @property
    def part(self) -> tuple[int, int]:
        """Which part of every batch is this process's: number, of how many."""
        return self.rank, self.count

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Return the model in the form whose gradients are averaged over the processes."""
        if self.count == 1:
            return model
        devices = [device] if device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)

    def unsynced(self, model: nn.Module) -> AbstractContextManager[None]:
        """Let gradients add up here without averaging them over the processes yet."""
        if isinstance(model, DistributedDataParallel):
            synced: AbstractContextManager[None] = model.no_sync()
            return synced
        return nullcontext()

    def gather(self, mine: Tensor) -> Tensor:
        """Return the rows (N, ...) of all processes in the order of their numbers."""
        if self.count == 1:
            return mine
        parts = [torch.empty_like(mine) for _ in range(self.count)]
        dist.all_gather(parts, mine.contiguous())
        return torch.cat(parts)

    def total(self, mine: Tensor) -> Tensor:
        """Return the sum of the processes' tensors of one shape, in the place of `mine`."""
        if self.count > 1:
            dist.all_reduce(mine)
        return mine

    def gather_table(self, mine: NDArray[Any]) -> NDArray[Any]:
        """Return the rows of all processes, which may have different numbers of them."""
        if self.count == 1:
            return mine
        parts: list[Any] = [None] * self.count
        dist.all_gather_object(parts, mine, group=self.plain)
        return np.concatenate(parts)

    def largest(self, number: int) -> int:
        """Return the largest of the processes' numbers."""
        if self.count == 1:
            return number
        shared = torch.tensor(number)
        dist.all_reduce(shared, dist.ReduceOp.MAX, group=self.plain)
        return int(shared)

    def from_first(self, value: Item) -> Item:
        """Return the first process's value."""
        if self.count == 1:
            return value
        shared: list[Any] = [value]
        dist.broadcast_object_list(shared, src=0, group=self.plain)
        return shared[0]  # type: ignore[no-any-return]

    def same_buffers(self, model: nn.Module) -> None:
        """Give every process the first one's buffers: batch norm's statistics differ a little."""
        if self.count > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def wait(self) -> None:
        """Wait until every process has come this far."""
        self.largest(0)


@contextmanager
def joined(rank: int, count: int, local_rank: int, device_type: str) -> Iterator[Ranks]:
    """Join the processes that a launcher such as torchrun has started, and leave them again.

    The meeting place is read by torch from the launcher's environment (`env://`).
    """
    if count == 1:
        yield Ranks()
        return
    if device_type == "cuda":
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if device_type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Ranks(rank, count, local_rank)
    except InterruptedRunError:  # which all processes raise together
        dist.destroy_process_group()
        raise
    # after any other error the others are not here to leave with: leaving would wait for them
    dist.destroy_process_group()
