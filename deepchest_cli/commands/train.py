"""`deepchest train`: a run, or the rest of one."""

from dataclasses import asdict, fields, replace
from pathlib import Path

from deepchest_cli.config import TrainConfig, find_data
from deepchest_cli.errors import UsageError
from deepchest_cli.terminal import Terminal, number

# these change where and how a run is computed, and not what it computes
FREE_ON_RESUME = frozenset({"resume", "device"})


def train(config: TrainConfig, terminal: Terminal) -> None:
    """Train a classifier; the test part is never looked at.

    Examples:  deepchest train --weighter deepchest --device cuda

    deepchest train --backbone resnet18 --image-size 128 --epochs 8

    deepchest train --resume runs/latest
    """
    from deepchest_cli.commands.train_display import Display
    from deepchest_cli.training.loop import Trainer
    from deepchest_cli.training.run_directory import create_run
    from deepchest_cli.training.setup import set_up

    folder = None if config.resume is None else _resumable(config)
    data, note = find_data(config.data)
    if note:
        terminal.note(note)
    setup = set_up(replace(config, data=data))
    if folder is None:
        # with the precision that this machine chose, so that another one computes the same
        folder = create_run(replace(setup.config, precision=setup.precision))
    terminal.note(
        f"{folder}: {config.backbone} with {config.weighter} on {len(setup.training_rows):,} "
        f"radiographs of {setup.classifier.architecture.image_size} px, {setup.device.type}, "
        f"{setup.precision}, {setup.total_steps:,} steps"
    )
    parameters = sum(parameter.numel() for parameter in setup.classifier.parameters())
    terminal.detail(
        f"{parameters:,} parameters; {len(setup.validation_rows):,} validation radiographs; "
        f"weighter options {' '.join(config.weighter_option) or 'as they are by default'}"
    )
    with terminal.live() as show:
        trainer = Trainer(setup, folder, Display(terminal, setup.dataset.findings, show))
        if config.resume is not None:
            trainer.resume()
            terminal.note(f"Resumed after step {trainer.position.step}.")
        summary = trainer.fit()
    if terminal.json:
        terminal.document({**asdict(summary), "run": str(summary.run)})
    else:
        terminal.line(str(summary.run))
        terminal.line(
            f"{summary.epochs} epochs{' (stopped early)' if summary.stopped_early else ''}, "
            f"best epoch {summary.best_epoch}, {summary.criterion} {number(summary.best_score, 4)}"
        )


def _resumable(config: TrainConfig) -> Path:
    """Return the folder of a run that goes on; flags that contradict the run are errors."""
    from deepchest_cli.training.resume import saved_config

    folder = config.resume
    assert folder is not None
    if folder.is_symlink():  # runs/latest may name another run by the time this one saves
        folder = folder.parent / folder.readlink()
    saved = saved_config(folder)
    for field in fields(TrainConfig):
        now, before = getattr(config, field.name), getattr(saved, field.name)
        if field.name not in FREE_ON_RESUME and now != before:
            raise UsageError(
                f"--{field.name.replace('_', '-')} is {now}, but the run {folder} began with "
                f"{before}.",
                "Leave the flag out to go on with the run, or leave --resume out for a new one.",
            )
    return folder
