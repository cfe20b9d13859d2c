"""`deepchest train`: a run, or the rest of one, in one process or in several."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deepchest_cli.commands.processes import processes, undisturbed_end
from deepchest_cli.commands.user_cache import kept_rates
from deepchest_cli.config import TrainConfig, find_data, parse_assignment
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import InterruptedRunError, UsageError
from deepchest_cli.reporting.numbers import number
from deepchest_cli.terminal import Terminal

if TYPE_CHECKING:
    from deepchest_cli.training.loop import Trainer, TrainingSummary
    from deepchest_cli.training.progress import Observer
    from deepchest_cli.training.ranks import Ranks
    from deepchest_cli.training.setup import Setup

# these change where and how a run is computed, and what it computes little: by rounding, and by
# what batch norm sees in a part of a step
FREE_ON_RESUME = frozenset(
    {"resume", "recipe", "out", "device", "cache", "grad_accum_steps", "compile", "tensorboard"}
)


def train(config: TrainConfig, terminal: Terminal) -> None:
    """Train a classifier; the test part is never looked at.

    Examples:  deepchest train --weighter deepchest --device cuda

    deepchest train --backbone resnet18 --image-size 128 --epochs 8

    deepchest train --recipe paper

    deepchest train --resume runs/20260101-120000-resnet50-deepchest

    deepchest train --epochs 30 --resume auto --out runs/mine

    torchrun --nproc-per-node 4 -m deepchest_cli train
    """
    from deepchest_cli.weighting.registry import read_weighter

    # a misspelled name is answered before torch is imported
    options = [parse_assignment(text, "--weighter-option") for text in config.weighter_option]
    read_weighter(config.weighter, options)
    if config.deterministic:
        # cuBLAS reads this when it starts
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with processes(config.device) as ranks:
        if not ranks.is_first:
            terminal = Terminal(quiet=True)
        summary = _run(config, ranks, terminal)
        if ranks.is_first:
            _render(summary, terminal)


def _run(config: TrainConfig, ranks: "Ranks", terminal: Terminal) -> "TrainingSummary":
    from deepchest_cli.model.checkpoint import LAST
    from deepchest_cli.training.loop import Trainer
    from deepchest_cli.training.resume import folder_to_resume, open_data_again, record_data
    from deepchest_cli.training.run_directory import create_run
    from deepchest_cli.training.setup import set_up
    from deepchest_cli.training.tensorboard import find_writer

    # by the first alone: the others could come to look when it has begun already
    config = ranks.from_first(_decided(config, terminal) if ranks.is_first else config)
    if config.tensorboard:
        find_writer()  # refuses before there is a run
    folder = folder_to_resume(config)
    dataset = open_data_again(config, folder) if folder else None
    resumed = ranks.from_first(folder is not None and (folder / LAST).is_file())
    setup = set_up(config, ranks, resumed, dataset, kept_rates())
    if folder is None and ranks.is_first:
        folder = create_run(setup.config)
    folder = ranks.from_first(folder)
    assert folder is not None
    _introduce(setup, folder, terminal)
    with _observer(setup, folder, terminal) as observer:
        trainer = Trainer(setup, folder, observer)
        if dataset is not None:
            trainer.resume()
            if ranks.is_first:
                record_data(config.data, folder)
            terminal.note(_state_of(trainer))
        try:
            with undisturbed_end(ranks):
                summary = trainer.fit()
        except InterruptedRunError:
            _draw(ranks, folder, terminal)
            raise
        _draw(ranks, folder, terminal)
        return summary


def _decided(config: TrainConfig, terminal: Terminal) -> TrainConfig:
    """Return the configuration of a run that begins, or of one that goes on as it began.

    Flags that contradict the run are errors.
    """
    from deepchest_cli.model.checkpoint import LAST
    from deepchest_cli.training.resume import folder_to_resume, refuse_changes, resolve_auto

    if folder_to_resume(config) is not None and config.recipe is not None:
        raise UsageError(
            "--recipe is for new runs: a resumed one has its values in its config.toml.",
            "Leave --recipe or --resume out.",
        )
    config = resolve_auto(config)
    folder = folder_to_resume(config)
    if folder is None:
        data, note = find_data(config.data)
        if note:
            terminal.note(note)
        return replace(config, data=data)
    if folder.is_symlink():  # runs/latest may name another run by the time this one saves
        folder = folder.parent / folder.readlink()
    # data elsewhere are compared with those of the checkpoint
    free = FREE_ON_RESUME | ({"data"} if (folder / LAST).is_file() else set())
    return replace(refuse_changes(config, folder, free), resume=folder)


def _state_of(trainer: "Trainer") -> str:
    if trainer.is_finished:
        return f"{trainer.folder} has finished: nothing is left to train."
    if not trainer.position.step:
        return f"{trainer.folder} has no step yet: it begins anew."
    return f"Resumed after step {trainer.position.step}."


def _draw(ranks: "Ranks", folder: Path, terminal: Terminal) -> None:
    """Draw what the run has come to; a picture that fails is no failure of the run."""
    from deepchest_cli.training.plots import draw_run

    if ranks.is_first:
        try:
            draw_run(folder)
        except Exception as error:
            terminal.warning(f"The run's pictures could not be drawn: {error}.")


def _introduce(setup: "Setup", folder: Path, terminal: Terminal) -> None:
    config, processes, size = (
        setup.config,
        setup.ranks.count,
        setup.classifier.architecture.image_size,
    )
    terminal.note(
        f"{folder}: {config.backbone} with {config.weighter} on "
        f"{count_of(len(setup.training_rows), 'radiograph')} of {size} px, "
        f"{f'{processes} processes, ' if processes > 1 else ''}{setup.device.type}, "
        f"{setup.precision}, {count_of(setup.total_steps, 'step')}"
    )
    if setup.rates is not None:
        terminal.detail(
            f"--precision auto: {setup.rates.fp32:.3g} images/s in fp32, "
            f"{setup.rates.bf16:.3g} in bf16, as measured on one core of this machine"
        )
    parameters = sum(parameter.numel() for parameter in setup.classifier.parameters())
    terminal.detail(
        f"{count_of(parameters, 'parameter')}; "
        f"{count_of(len(setup.validation_rows), 'validation radiograph')}; "
        f"weighter options {' '.join(config.weighter_option) or 'as they are by default'}; "
        f"images kept: {setup.reader.place}"
    )


@contextmanager
def _observer(setup: "Setup", folder: Path, terminal: Terminal) -> Iterator["Observer"]:
    """Yield who hears of the run: the terminal and, where it is wanted, TensorBoard."""
    from deepchest_cli.commands.train_display import Display
    from deepchest_cli.training.observers import Observers
    from deepchest_cli.training.tensorboard import TensorBoardLog

    with ExitStack() as stack:
        show = stack.enter_context(terminal.live())
        observers: list[Observer] = [Display(terminal, setup.dataset.findings, show)]
        if setup.config.tensorboard and setup.ranks.is_first:
            observers.append(
                stack.enter_context(closing(TensorBoardLog(folder, setup.dataset.findings)))
            )
        yield Observers(*observers)


def _render(summary: "TrainingSummary", terminal: Terminal) -> None:
    if terminal.json:
        terminal.document({**asdict(summary), "run": str(summary.run)})
        return
    terminal.line(str(summary.run))
    early = " (stopped early)" if summary.stopped_early else ""
    terminal.line(
        f"{count_of(summary.epochs, 'epoch')}{early}, "
        f"best epoch {summary.best_epoch}, {summary.criterion} {number(summary.best_score, 4)}"
    )
