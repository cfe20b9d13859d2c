"""The way back into a run that ended: its configuration and the state of its last checkpoint."""

from dataclasses import fields, replace
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar, get_type_hints

from deepchest_cli.config import AUTO, RUN_CONFIG, CompareConfig, TrainConfig, read_toml, to_toml
from deepchest_cli.config.renamed import refuse_version_0_1
from deepchest_cli.data.dataset import RadiographDataset, open_dataset
from deepchest_cli.errors import UsageError
from deepchest_cli.files import write_text
from deepchest_cli.model.backbones import resolve_backbone
from deepchest_cli.model.checkpoint import LAST, read_checkpoint
from deepchest_cli.training.run_directory import LATEST, METRICS, repeatable
from deepchest_cli.training.setup import Setup

Config = TypeVar("Config", TrainConfig, CompareConfig)


def resolve_auto(config: Config) -> Config:
    """Decide `--resume auto`: go on with `--out` where something was begun there, else begin it.

    In the latter case `resume` stays `AUTO`. Raises `UsageError` where `--out` is missing, and
    where it names another folder than `--resume`.
    """
    if config.resume == AUTO:
        if config.out is None:
            raise UsageError(
                "--resume auto needs --out: it goes on where there is something, or begins it.",
                "Name the folder: --resume auto --out FOLDER",
            )
        begun = (config.out / RUN_CONFIG).is_file()
        return replace(config, resume=config.out, out=None) if begun else config
    if None not in (config.resume, config.out) and config.resume != config.out:
        raise UsageError(
            f"--resume {config.resume} goes on in that folder; --out names {config.out}.",
            "Drop one of the two.",
        )
    return config


def folder_to_resume(config: Config) -> Path | None:
    """Return the folder that a configuration goes on with, after `resolve_auto`; None: none."""
    return None if config.resume == AUTO else config.resume


def saved_config(folder: Path, kind: type[Config]) -> Config:
    """Return the configuration that a folder began with; raises `UsageError` without one."""
    if not (folder / RUN_CONFIG).is_file():
        raise UsageError(
            f"{folder} has no {RUN_CONFIG}: nothing was begun there.", "Check --resume."
        )
    refuse_version_0_1(folder)
    kinds = get_type_hints(kind)
    values: dict[str, Any] = {
        name: _typed(value, kinds[name])
        for name, value in read_toml(folder / RUN_CONFIG, kind).items()
    }
    return kind(**values)


def refuse_changes(config: Config, folder: Path, free: frozenset[str]) -> Config:
    """Raise `UsageError` where a flag contradicts what the folder began with, unless `free`.

    Returns the configuration in the words of the one that it began with: what was resolved then
    (precision, the name of the backbone, the path of the weights) may be given as it was.
    """
    saved = saved_config(folder, type(config))
    config = _in_words_of(saved, config)
    for field in fields(config):
        now, before = getattr(config, field.name), getattr(saved, field.name)
        if field.name not in free and now != before:
            raise UsageError(
                f"--{field.name.replace('_', '-')} is {now}, but {folder} began with {before}.",
                "Leave the flag out to go on there, or begin anew in another folder.",
            )
    return config


def _in_words_of(saved: Config, config: Config) -> Config:
    same = {
        "precision": config.precision == "auto",
        "backbone": resolve_backbone(config.backbone) == resolve_backbone(saved.backbone),
        # what runs/latest named then, it may no longer name
        "weights": repeatable(config).weights == saved.weights
        or LATEST in Path(config.weights).parts,
    }
    return replace(config, **{key: getattr(saved, key) for key, is_same in same.items() if is_same})


def open_data_again(config: Config, folder: Path) -> RadiographDataset:
    """Return the data that a run or comparison goes on with.

    Raises `UsageError` where they are not found, with how to name them where they lie now.
    """
    try:
        return open_dataset(config.data)
    except UsageError as error:
        command = "train" if isinstance(config, TrainConfig) else "compare-weighters"
        raise UsageError(
            f"The data of {folder} are not found: {error.message}",
            "If they lie elsewhere now, name them: "
            f"deepchest {command} --resume {quote(str(folder))} --data FOLDER",
        ) from error


def record_data(data: Path, folder: Path) -> None:
    """Let a run's configuration name the place where its data were found this time."""
    saved = saved_config(folder, TrainConfig)
    if saved.data != data:
        write_text(folder / RUN_CONFIG, to_toml(replace(saved, data=data)))


def _typed(value: Any, kind: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return Path(value) if kind in (Path, Path | None) else value


def load_state(setup: Setup, folder: Path) -> dict[str, Any] | None:
    """Put a run's last weights into the model and return its training state.

    None: the run ended before its first checkpoint and begins anew. Raises `UsageError` when the
    data or the model are not those that the run began with.
    """
    if not (folder / LAST).is_file():
        if (folder / METRICS).exists():
            raise UsageError(f"{folder} has lost its {LAST} and cannot go on.", "Begin a new run.")
        return None
    content = read_checkpoint(folder / LAST)
    if content["training"] is None:
        raise UsageError(f"{folder / LAST} holds no training state.", "Use it with --model.")
    if content["origin"]["data_sha256"] != setup.dataset.sha256:
        raise UsageError(
            f"The data in {setup.dataset.folder} have changed since the run {folder} began: "
            f"{_changes(content, setup)}.",
            "Name the data that it began with by --data, prepare them with the same settings "
            "again, or begin a new run.",
        )
    try:
        setup.classifier.load_state_dict(content["tensors"])
    except RuntimeError as error:
        raise UsageError(
            f"{folder / LAST} holds another model than {folder / RUN_CONFIG} describes.",
            f"Restore {RUN_CONFIG}, or begin a new run.",
        ) from error
    training: dict[str, Any] = content["training"]
    return training


def _changes(content: dict[str, Any], setup: Setup) -> str:
    """Say which findings, settings and sources of the data are others than they were."""
    before, now = content["origin"], setup.dataset.manifest
    changes = []
    if tuple(content["architecture"]["findings"]) != setup.dataset.findings:
        changes.append("other findings")
    for section in ("settings", "source"):
        for key in sorted(before[section].keys() | now[section].keys()):
            was, found = before[section].get(key), now[section].get(key)
            if was != found:
                plain = not isinstance(was, dict) and not isinstance(found, dict)
                changes.append(f"{key} {found!r}, not {was!r}" if plain else f"another {key}")
    return ", ".join(changes) or "other images"
