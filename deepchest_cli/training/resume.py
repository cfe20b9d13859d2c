"""The way back into a run that ended: its configuration and the state of its last checkpoint."""

from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from deepchest_cli.config import RUN_CONFIG, read_toml
from deepchest_cli.errors import UsageError
from deepchest_cli.model.checkpoint import LAST, read_checkpoint
from deepchest_cli.training.run_directory import METRICS
from deepchest_cli.training.setup import Setup

Config = TypeVar("Config")


def saved_config(folder: Path, kind: type[Config]) -> Config:
    """Return the configuration that a folder began with; raises `UsageError` without one."""
    if not (folder / RUN_CONFIG).is_file():
        raise UsageError(
            f"{folder} has no {RUN_CONFIG}: nothing was begun there.", "Check --resume."
        )
    kinds = get_type_hints(kind)
    values: dict[str, Any] = {
        name: _typed(value, kinds[name])
        for name, value in read_toml(folder / RUN_CONFIG, kind).items()
    }
    return kind(**values)


def refuse_changes(config: Config, folder: Path, free: frozenset[str]) -> None:
    """Raise `UsageError` where a flag contradicts what the folder began with, unless `free`."""
    saved = saved_config(folder, type(config))
    for field in fields(config):  # type: ignore[arg-type]
        now, before = getattr(config, field.name), getattr(saved, field.name)
        if field.name not in free and now != before:
            raise UsageError(
                f"--{field.name.replace('_', '-')} is {now}, but {folder} began with {before}.",
                "Leave the flag out to go on there, or leave --resume out to begin anew.",
            )


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
            f"The data in {setup.config.data} have changed since the run {folder} began: "
            f"{_changes(content, setup)}.",
            "Prepare them with the same settings again, or begin a new run.",
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
