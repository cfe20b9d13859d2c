"""`deepchest train`: a new run or a resumed one, in one process or in several."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from deepchest_cli.commands.next_steps import data_flags, evaluation_command
from deepchest_cli.commands.train_summary import render_folds, render_summary
from deepchest_cli.config import TrainConfig
from deepchest_cli.library.operations.folds import FoldsSummary
from deepchest_cli.library.operations.train import logs, refuse_unknown_weighter, train_run
from deepchest_cli.library.processes import distributed_processes
from deepchest_cli.terminal import Terminal

if TYPE_CHECKING:
    from deepchest_cli.training.components import TrainingComponents
    from deepchest_cli.training.progress import Observer


def train(config: TrainConfig, terminal: Terminal) -> None:
    """Train a classifier; the test split is never read.

    Examples:  deepchest train --weighter deepchest --device cuda

    deepchest train --backbone resnet18 --image-size 128 --epochs 8

    deepchest train --recipe paper

    deepchest train --recipe probe --backbone densenet121 --weights imagenet

    deepchest train --folds 5 --backbone resnet18

    deepchest train --resume runs/20260101-120000-resnet50-deepchest

    deepchest train --epochs 30 --resume auto --out runs/mine

    torchrun --nproc-per-node 4 -m deepchest_cli train

    srun --ntasks 4 --gpus-per-task 1 deepchest train
    """
    refuse_unknown_weighter(config)
    with distributed_processes(config.device, terminal) as distributed:
        if not distributed.is_main:
            terminal = Terminal(quiet=True)
        summary = train_run(config, distributed, terminal, partial(_observers, terminal))
        if distributed.is_main:
            if isinstance(summary, FoldsSummary):
                render_folds(summary, terminal)
                terminal.next_step(evaluation_command(summary.run, config.backbone))
                return
            render_summary(summary, terminal)
            data = data_flags([one.data for one in summary.data_sets])
            terminal.next_step(evaluation_command(summary.run, config.backbone) + data)


@contextmanager
def _observers(
    terminal: Terminal, components: "TrainingComponents", folder: Path
) -> Iterator[list["Observer"]]:
    """Yield the observers of the run: the terminal, and what the configuration asks for."""
    from deepchest_cli.commands.train_display import Display

    with terminal.live() as show, logs(components, folder, terminal) as further:
        yield [Display(terminal, components.tasks.names, show), *further]
