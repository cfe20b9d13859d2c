"""`deepchest train`: a run, or the rest of one."""

from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import Any

from deepchest_cli.config import TrainConfig, find_data, read_toml
from deepchest_cli.errors import UsageError
from deepchest_cli.terminal import Terminal, number

# these change where and how a run is computed, and not what it computes
FREE_ON_RESUME = frozenset({"resume", "out", "device"})


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

    folder = config.resume
    if folder is not None:
        config = resumed_config(config, folder)
    data, note = find_data(config.data)
    config = replace(config, data=data)
    if note:
        terminal.note(note)
    setup = set_up(config)
    state = _read_state(folder, setup) if folder is not None else None
    if folder is None:
        folder = create_run(config)
    terminal.note(
        f"{folder}: {config.backbone} with {config.weighter} on {len(setup.training_rows):,} "
        f"radiographs of {setup.classifier.architecture.image_size} px, {setup.device.type}, "
        f"{setup.precision}, {setup.total_steps:,} steps"
    )
    with terminal.live() as show:
        trainer = Trainer(setup, folder, Display(terminal, setup.dataset.findings, show))
        if state is not None:
            trainer.resume(state)
            terminal.note(f"Resumed after step {trainer.position.step}.")
        summary = trainer.fit()
    if terminal.json:
        terminal.document({"schema_version": 1, **asdict(summary), "run": str(summary.run)})
    else:
        terminal.line(str(summary.run))
        terminal.line(
            f"{summary.epochs} epochs{' (stopped early)' if summary.stopped_early else ''}, "
            f"best epoch {summary.best_epoch}, validation AUROC {number(summary.best_score, 4)}"
        )


def resumed_config(given: TrainConfig, folder: Path) -> TrainConfig:
    """Return the configuration of a run that goes on; flags that contradict it are errors."""
    path = folder / "config.toml"
    if not path.is_file():
        raise UsageError(f"{folder} is no run folder: it has no {path.name}.", "Check --resume.")
    saved = _from_values(read_toml(path, TrainConfig))
    for field in fields(TrainConfig):
        now, before = getattr(given, field.name), getattr(saved, field.name)
        default = None if field.default is MISSING else field.default
        if field.name not in FREE_ON_RESUME and now not in (before, default):
            raise UsageError(
                f"--{field.name.replace('_', '-')} is {now}, but the run {folder} began with "
                f"{before}.",
                "Leave the flag out to go on with the run, or leave --resume out for a new one.",
            )
    return replace(saved, device=given.device if given.device != "auto" else saved.device)


def _from_values(values: dict[str, Any]) -> TrainConfig:
    for name in ("data", "out"):
        if name in values:
            values[name] = Path(values[name])
    fitting: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return TrainConfig(**fitting)


def _read_state(folder: Path, setup: Any) -> dict[str, Any] | None:
    """Return the training state of a run and put its weights into the model."""
    from deepchest_cli.model.checkpoint import LAST, read_checkpoint

    if not (folder / LAST).is_file():
        return None  # ended before the first checkpoint: the run begins anew
    content = read_checkpoint(folder / LAST)
    if content["origin"]["data_sha256"] != setup.origin()["data_sha256"]:
        raise UsageError(
            f"The data in {setup.config.data} have changed since the run {folder} began.",
            "Prepare them with the same settings again, or begin a new run.",
        )
    setup.classifier.load_state_dict(content["tensors"])
    state: dict[str, Any] = content["training"]
    return state
