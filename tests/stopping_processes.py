"""Runs of two processes that stop or fail at chosen places and go on; started by torchrun."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch
from two_processes import PLAIN

from deepchest_cli.config import TrainConfig
from deepchest_cli.errors import UnreadableShardError
from deepchest_cli.training import atypicality
from deepchest_cli.training.components import build_components
from deepchest_cli.training.distributed import DistributedContext, process_group
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.run_directory import create_run

SETTINGS = PLAIN | {"batch_size": 8, "image_size": 28, "patience": 0, "weighter": "dwa"}
FULL = OSError(28, "No space left on device", "last.pt")
OUTPUTS_OF = atypicality.outputs_of
Break = Callable[[Trainer, list[int]], None]  # a trainer, the numbers of the processes


def failing(error: Exception, after: int = 0) -> Callable[..., NoReturn]:
    """Return a function that raises when it is called once more than `after` times."""
    calls = [0]

    def fail(*_: object, **__: object) -> Any:
        calls[0] += 1
        if calls[0] > after:
            raise error

    return fail  # type: ignore[return-value]


def in_weighter(trainer: Trainer, _: list[int]) -> None:
    if trainer.components.distributed.rank == 1:
        trainer.components.weighter.end_epoch = failing(ValueError("the mean of an empty list"))


def out_of_memory_in_validation(trainer: Trainer, _: list[int]) -> None:
    if trainer.components.distributed.rank == 1:
        error = torch.OutOfMemoryError("Tried to allocate 20 MiB.")
        trainer.components.evaluated_model.register_forward_pre_hook(failing(error, after=1))


def full_disk_after_epoch(trainer: Trainer, _: list[int]) -> None:
    if trainer.components.distributed.is_main:
        trainer.writer.write_epoch = failing(FULL)  # type: ignore[method-assign]


def full_disk_in_validation(trainer: Trainer, _: list[int]) -> None:
    if trainer.components.distributed.is_main:
        write, fail = trainer.writer.save_last, failing(FULL, after=1)

        def save_last(*state: Any) -> None:
            fail()
            write(*state)

        trainer.writer.save_last = save_last  # type: ignore[method-assign]


def unreadable_shard(trainer: Trainer, _: list[int]) -> None:
    reader = trainer.components.reader
    if trainer.components.distributed.rank == 1:
        read, fail = reader.read, failing(UnreadableShardError("Shard 7 is gone.", "Look."), 9)

        def read_some(rows: Any) -> torch.Tensor:
            fail()
            return read(rows)

        reader.read = read_some  # type: ignore[method-assign]


def signal_in_validation(trainer: Trainer, processes: list[int]) -> None:
    if trainer.components.distributed.is_main:
        trainer.components.evaluated_model.register_forward_pre_hook(once(processes[1]))


def signal_in_statistics(trainer: Trainer, processes: list[int]) -> None:
    """Only the main process computes them; the other one waits."""
    send = once(processes[1])

    def outputs_of(*arguments: Any) -> Any:
        send()
        return OUTPUTS_OF(*arguments)

    atypicality.outputs_of = outputs_of


def once(process: int) -> Callable[..., None]:
    """Return a function that sends SIGTERM to a process the first time it is called."""
    left = [process]

    def send(*_: object) -> None:
        if left:
            os.kill(left.pop(), signal.SIGTERM)

    return send


BREAKS: dict[str, Break] = {
    one.__name__: one
    for one in (
        in_weighter,
        out_of_memory_in_validation,
        full_disk_after_epoch,
        full_disk_in_validation,
        unreadable_shard,
        signal_in_validation,
        signal_in_statistics,
    )
}


def run(config: TrainConfig, distributed: DistributedContext, resumed: bool) -> Trainer:
    """Return the trainer of a run, new or resumed."""
    assert config.out is not None
    components = build_components(config, distributed)
    if distributed.is_main and not resumed:
        create_run(components.config)
    distributed.barrier()
    trainer = Trainer(components, config.out)
    if resumed:
        trainer.resume()
    return trainer


def stop(config: TrainConfig, distributed: DistributedContext, name: str, delay: int) -> Any:
    """Break a run as `name` says and let it go on; return what was raised in between."""
    trainer = run(config, distributed, resumed=False)
    trainer.agreement.delay = delay
    BREAKS[name](trainer, distributed.all_gather_object(os.getpid()))
    try:
        trainer.fit()
    except Exception as error:
        raised = {"type": type(error).__name__, "message": str(getattr(error, "message", error))}
        raised |= {"hint": getattr(error, "hint", ""), "code": getattr(error, "exit_code", None)}
    finally:
        atypicality.outputs_of = OUTPUTS_OF
    state = {"step": trainer.state.step, "epoch": trainer.state.epoch}
    run(config, distributed, resumed=True).fit()
    return raised | state


if __name__ == "__main__":
    torch.set_num_threads(1)
    shards, out = sys.argv[1], Path(sys.argv[2])
    with process_group(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), 0, "cpu") as group:
        found = {}
        for name in BREAKS:
            for delay in (0, 1):
                config = TrainConfig(data=(shards,), out=out / f"{name}-{delay}", **SETTINGS)
                found[f"{name}-{delay}"] = stop(config, group, name, delay)
        (out / f"raised-{group.rank}.json").write_text(json.dumps(found))
        config = TrainConfig(data=(shards,), out=out / "undisturbed", **SETTINGS)
        run(config, group, resumed=False).fit()
