"""`deepchest train`: a new run or a resumed one, in one process or in several."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deepchest_cli.commands.user_cache import features_folder, training_rates_file
from deepchest_cli.config import TrainConfig, find_data, parse_assignment
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import DeepChestError, InterruptedRunError, UsageError
from deepchest_cli.interruption import BATCH_SIGNALS
from deepchest_cli.reporting.numbers import number
from deepchest_cli.terminal import Terminal

if TYPE_CHECKING:
    from deepchest_cli.training.components import TrainingComponents
    from deepchest_cli.training.distributed import DistributedContext
    from deepchest_cli.training.loop import Trainer, TrainingSummary
    from deepchest_cli.training.progress import Observer

POLL_SECONDS = 0.5  # between two checks whether the launcher is alive
# flags that may change when a run is resumed: they change where and how it is computed, and its
# results only by rounding and by the micro-batches of batch norm
FREE_ON_RESUME = frozenset(
    {"resume", "recipe", "out", "device", "cache", "grad_accum_steps", "grad_checkpoint", "compile"}
    | {"tensorboard"}
)


def train(config: TrainConfig, terminal: Terminal) -> None:
    """Train a classifier; the test split is never read.

    Examples:  deepchest train --weighter deepchest --device cuda

    deepchest train --backbone resnet18 --image-size 128 --epochs 8

    deepchest train --recipe paper

    deepchest train --recipe probe --backbone densenet121 --weights imagenet

    deepchest train --resume runs/20260101-120000-resnet50-deepchest

    deepchest train --epochs 30 --resume auto --out runs/mine

    torchrun --nproc-per-node 4 -m deepchest_cli train
    """
    from deepchest_cli.weighting.registry import read_weighter

    if config.resume is None:  # a misspelled name is answered before torch is imported
        options = [parse_assignment(text, "--weighter-option") for text in config.weighter_option]
        read_weighter(config.weighter, options)
    if config.deterministic:
        # cuBLAS reads this when it starts
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with distributed_processes(config.device) as distributed:
        if not distributed.is_main:
            terminal = Terminal(quiet=True)
        summary = _run(config, distributed, terminal)
        if distributed.is_main:
            _render(summary, terminal)


def _run(
    config: TrainConfig, distributed: "DistributedContext", terminal: Terminal
) -> "TrainingSummary":
    from deepchest_cli.model.checkpoint_format import LAST
    from deepchest_cli.training.components import build_components
    from deepchest_cli.training.loop import Trainer
    from deepchest_cli.training.probe import ProbeTrainer, build_probe
    from deepchest_cli.training.resume import folder_to_resume, open_data_again, record_data
    from deepchest_cli.training.run_directory import create_run
    from deepchest_cli.training.tensorboard import find_writer

    # by the main process alone: another could find the folder already begun
    config = distributed.broadcast(_resolved(config, terminal) if distributed.is_main else config)
    if config.tensorboard:
        find_writer()  # refuses before there is a run
    folder = folder_to_resume(config)
    dataset = open_data_again(config, folder) if folder else None
    if dataset is not None:  # in the order that the run began with
        config = replace(config, data=tuple(str(member.folder) for member in dataset.members))
    resumed = distributed.broadcast(folder is not None and (folder / LAST).is_file())
    if config.linear_probe:
        components = build_probe(config, distributed, resumed, dataset)
    else:
        components = build_components(config, distributed, resumed, dataset, training_rates_file())
    if folder is None and distributed.is_main:
        folder = create_run(components.config)
    folder = distributed.broadcast(folder)
    assert folder is not None
    _describe(components, folder, terminal)
    with _observers(components, folder, terminal) as observers:
        trainer = (
            ProbeTrainer(components, folder, features_folder(), *observers)
            if config.linear_probe
            else Trainer(components, folder, *observers)
        )
        if dataset is not None:
            trainer.resume()
            if distributed.is_main:
                record_data(config.data, folder)
            terminal.note(_resumed_state(trainer))
        try:
            with ignore_launcher_signals(distributed):
                summary = trainer.fit()
        except InterruptedRunError:
            _plot(distributed, folder, terminal)
            raise
        _plot(distributed, folder, terminal)
        return summary


def _resolved(config: TrainConfig, terminal: Terminal) -> TrainConfig:
    """Return the configuration with the folder to resume, or with the data of a new run.

    Flags that contradict a resumed run are errors.
    """
    from deepchest_cli.model.checkpoint_format import LAST
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


def _resumed_state(trainer: "Trainer") -> str:
    if trainer.is_finished:
        return f"{trainer.folder} has finished: nothing is left to train."
    if not trainer.state.step:
        return f"{trainer.folder} has no step yet: it begins anew."
    return f"Resumed after step {trainer.state.step}."


def _plot(distributed: "DistributedContext", folder: Path, terminal: Terminal) -> None:
    """Draw the run's plots; an error there does not fail the run."""
    from deepchest_cli.training.plots import draw_run

    if distributed.is_main:
        try:
            draw_run(folder)
        except Exception as error:
            terminal.warning(f"The run's plots could not be drawn: {error}.")


def _describe(components: "TrainingComponents", folder: Path, terminal: Terminal) -> None:
    from deepchest_cli.model.layers import layers_of
    from deepchest_cli.weighting.own import short_name

    config, processes = components.config, components.distributed.world_size
    rates, classifier = components.measured_rates, components.classifier
    for warning in components.warnings:
        terminal.warning(warning)
    if classifier.taken_over:
        findings = len(classifier.architecture.findings)
        taken = "all" if len(classifier.taken_over) == findings else len(classifier.taken_over)
        terminal.note(
            f"Initial weights of {config.weights}, with the head's for {taken} of "
            f"{count_of(findings, 'finding')}"
        )
    terminal.note(
        f"{folder}: {classifier.architecture.backbone} with {short_name(config.weighter)} on "
        f"{count_of(len(components.training_rows), 'radiograph')} of "
        f"{classifier.architecture.image_size} px, "
        f"{f'{processes} processes, ' if processes > 1 else ''}{components.device.type}, "
        f"{components.precision}, {count_of(components.total_steps, 'step')}"
    )
    if components.heads is not None:
        heads = components.heads.rates
        terminal.note(
            f"Linear probe: {len(heads)} {config.head} heads, at learning rates from "
            f"{heads[0]:g} to {heads[-1]:g}"
        )
        if config.weights == "none":
            terminal.warning("The features are those of a random network: choose --weights.")
    if rates is not None:
        terminal.detail(
            f"--precision auto: {rates.fp32:.3g} images/s in fp32, {rates.bf16:.3g} in bf16, "
            "as measured on one core of this machine"
        )
    layers, frozen = layers_of(classifier.trunk), components.frozen
    if frozen.layers:
        first = "first layer" if frozen.layers == 1 else f"first {frozen.layers} layers"
        verb = "is" if frozen.layers == 1 else "are"
        named = f"Of {len(layers)} layers of the backbone the {first} {verb}"
        named = named if frozen.layers < len(layers) else "The backbone is"
        before = f" before epoch {config.unfreeze_epoch}" if config.unfreeze_epoch else ""
        terminal.note(f"{named} not trained{before}.")
    terminal.detail(f"layers of the backbone: {', '.join(layer.name for layer in layers)}")
    terminal.detail(
        f"{count_of(sum(p.numel() for p in classifier.parameters()), 'parameter')}; "
        f"{count_of(len(components.validation_rows), 'validation radiograph')}; "
        f"weighter options {' '.join(config.weighter_option) or 'as they are by default'}; "
        f"images in memory: {components.reader.place}"
    )


@contextmanager
def _observers(
    components: "TrainingComponents", folder: Path, terminal: Terminal
) -> Iterator[list["Observer"]]:
    """Yield the observers of the run: the terminal and, with --tensorboard, TensorBoard."""
    from deepchest_cli.commands.train_display import Display
    from deepchest_cli.training.tensorboard import TensorBoardLog

    findings = components.dataset.findings
    with terminal.live() as show:
        display = Display(terminal, findings, show)
        if components.config.tensorboard and components.distributed.is_main:
            with closing(TensorBoardLog(folder, findings)) as log:
                yield [display, log]
        else:
            yield [display]


def _render(summary: "TrainingSummary", terminal: Terminal) -> None:
    if terminal.json:
        terminal.document({**asdict(summary), "run": str(summary.run)})
        return
    terminal.line(str(summary.run))
    early = " (stopped early)" if summary.stopped_early else ""
    terminal.line(
        f"{count_of(summary.epochs, 'epoch')}{early}, "
        f"best epoch {summary.best_epoch}, {summary.criterion} {number(summary.best_score, 4)}"
        f"{'' if summary.learning_rate is None else f', learning rate {summary.learning_rate:g}'}"
    )


@contextmanager
def distributed_processes(device: str) -> Iterator["DistributedContext"]:
    """Join the other processes where torchrun has started several; errors name the process."""
    from torch.distributed import is_torchelastic_launched

    from deepchest_cli.training.device import resolve_device
    from deepchest_cli.training.distributed import is_lost_peer, process_group

    variables = os.environ if is_torchelastic_launched() else {}
    rank, world_size, local_rank = (
        int(variables.get(name, default))
        for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    if world_size > 1:
        threading.Thread(target=end_with_launcher, args=(os.getppid(),), daemon=True).start()
    kind = resolve_device(device, local_rank).type
    try:
        with process_group(rank, world_size, local_rank, kind) as distributed:
            yield distributed
    except DeepChestError as error:
        if rank:
            error.message = f"Process {rank} of {world_size}: {error.message}"
        raise
    except RuntimeError as error:
        if world_size == 1 or not is_lost_peer(error):
            raise
        raise DeepChestError(
            f"Process {rank} of {world_size}: another process has ended before the training began.",
            "Its own error stands above or below.",
        ) from error


def end_with_launcher(launcher: int) -> None:
    """Ask this process to save and end once its launcher has ended: nothing else would end it.

    A launcher passes on some signals, and is ended by others (SIGUSR1, unless it is configured).
    """
    while os.getppid() == launcher:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def ignore_launcher_signals(distributed: "DistributedContext") -> Iterator[None]:
    """Ignore signals after the block, so that this process can write its last messages.

    A launcher ends all processes as soon as one has ended.
    """
    try:
        yield
    finally:
        if distributed.world_size > 1:
            for number in (signal.SIGTERM, *BATCH_SIGNALS):
                signal.signal(number, signal.SIG_IGN)
