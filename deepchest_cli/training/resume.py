"""How a run or a comparison is resumed: its configuration, and the state of its last checkpoint."""

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import zip_longest
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar, get_type_hints

from deepchest_cli.config import (
    AUTO,
    RUN_CONFIG,
    CompareConfig,
    TrainConfig,
    to_toml,
)
from deepchest_cli.config.files import read_run_config, refuse_old_state
from deepchest_cli.config.flags import AUTO_WEIGHTS, code_in
from deepchest_cli.data.dataset import Member, RadiographDataset, open_dataset
from deepchest_cli.data.merging import merge_datasets
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.compatibility import is_training_data_set
from deepchest_cli.files import sha256_of, write_text
from deepchest_cli.model.backbones.own_function import BACKBONE
from deepchest_cli.model.backbones.registry import resolve_backbone
from deepchest_cli.model.checkpoint import read_checkpoint
from deepchest_cli.model.checkpoint_format import LAST
from deepchest_cli.model.fold_runs import FOLD
from deepchest_cli.own_code import refuse_other_file
from deepchest_cli.training.components import TrainingComponents
from deepchest_cli.training.run_directory import repeatable, resume_command, way_of
from deepchest_cli.training.run_files import LATEST, METRICS
from deepchest_cli.weighting.own import COMPOSITE, WEIGHTER

Config = TypeVar("Config", TrainConfig, CompareConfig)
KINDS = {"weighter": WEIGHTER, "backbone": BACKBONE}  # of code of one's own, by the flag


def resolve_auto(config: Config) -> Config:
    """Decide `--resume auto`: resume what was begun in `--out`, else begin it there.

    In the latter case `resume` stays `AUTO`. Raises `UsageError` where `--out` is missing, and
    where it names another folder than `--resume`.
    """
    if config.resume == AUTO:
        if config.out is None:
            raise UsageError(
                "--resume auto needs --out: the folder to resume, or to begin.",
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
    """Return the folder that is resumed, after `resolve_auto`; None: a new one is begun."""
    return None if config.resume == AUTO else config.resume


def saved_config(folder: Path, kind: type[Config]) -> Config:
    """Return the configuration that a folder began with.

    Raises `UsageError` without one, and for a folder of version 0.1.
    """
    if not (folder / RUN_CONFIG).is_file():
        raise UsageError(
            f"{folder} has no {RUN_CONFIG}: nothing was begun there.", "Check --resume."
        )
    kinds = get_type_hints(kind)
    values: dict[str, Any] = {
        name: _typed(value, kinds[name]) for name, value in read_run_config(folder, kind).items()
    }
    return kind(**values)


def _typed(value: Any, kind: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return Path(value) if kind in (Path, Path | None) else value


def refuse_changes(config: Config, folder: Path, free: frozenset[str]) -> Config:
    """Raise `UsageError` where a flag contradicts what the folder began with, unless `free`.

    Returns the configuration with the saved values of what was resolved when the folder was begun
    (precision, the name of the backbone, the path of the weights) and may be given as it was then.
    """
    saved = saved_config(folder, type(config))
    config = _with_resolved_values(saved, config)
    config = _with_code(saved, config, folder)
    for name in code_in(vars(saved)):  # compared by the hash of the file
        free |= {name, f"{name}_sha256"}
    for field in fields(config):
        now, before = getattr(config, field.name), getattr(saved, field.name)
        if field.name not in free and now != before:
            raise UsageError(
                f"--{field.name.replace('_', '-')} is {now}, but {folder} began with {before}.",
                "Leave the flag out to resume there, or start a new one in another folder.",
            )
    return config


def _with_code(saved: Config, config: Config, folder: Path) -> Config:
    """Return the configuration with the hashes that code of one's own should have.

    The files may lie elsewhere now. Raises `UsageError` where one is not named: no code runs
    because a folder says so. The weighters of a comparison are left to it.
    """
    hint = f"Resume with: {resume_command(folder, saved)}{way_of(config)}"
    given = code_in(vars(config))
    for name, text in code_in(vars(saved)).items():
        if name not in KINDS:
            continue
        if name not in given:
            raise UsageError(
                f"{folder} began with the {name} {text}, code of your own, which runs only where "
                "it is named.",
                hint,
            )
        before, now = (
            KINDS[name].parse(one.removeprefix(COMPOSITE)) for one in (text, given[name])
        )
        if now.member != before.member or _is_composite(text) != _is_composite(given[name]):
            raise UsageError(f"--{name} is {given[name]}, but {folder} began with {text}.", hint)
        path, expected = now.find(), getattr(saved, f"{name}_sha256")
        refuse_other_file(path, sha256_of(path), expected)
        config = replace(config, **{f"{name}_sha256": expected})
    return config


def _is_composite(weighter: str) -> bool:
    return weighter.startswith(COMPOSITE)


def _with_resolved_values(saved: Config, config: Config) -> Config:
    same = {
        "precision": config.precision == "auto",
        "backbone": resolve_backbone(config.backbone) == resolve_backbone(saved.backbone),
        # runs/latest may name another run by now
        "weights": config.weights == AUTO_WEIGHTS
        or repeatable(config).weights == saved.weights
        or LATEST in Path(config.weights).parts,
        "weights_sha256": True,  # recorded; no flag sets it
    }
    if isinstance(config, CompareConfig):
        same |= {"threads": config.threads is None, "data_sha256": True}
    return replace(config, **{key: getattr(saved, key) for key, is_same in same.items() if is_same})


def open_data_again(config: Config, folder: Path) -> RadiographDataset:
    """Return the data that a run or comparison is resumed with.

    They have the order and the names that the run began with. Raises `UsageError` where they are
    not found, with the flag that names them, and where they are others.
    """
    several = _opened_again(config, folder)
    if not (folder / LAST).is_file():
        return merge_datasets(several)
    return _in_order(several, read_checkpoint(folder / LAST), folder)


def open_folds_again(config: TrainConfig, folder: Path) -> RadiographDataset:
    """Return the data that a run with folds is resumed with, not yet folded; errors likewise."""
    several, first = _opened_again(config, folder), folder / f"{FOLD}1" / LAST
    if not first.is_file():
        return merge_datasets(several)
    content, folds = read_checkpoint(first), config.folds or 1
    in_first = [dataset.folded(0, folds, config.seed).only for dataset in several]
    return _in_order(several, content, folder, in_first)


def _opened_again(config: Config, folder: Path) -> list[RadiographDataset]:
    try:
        return [open_dataset(Path(data)) for data in config.data]
    except UsageError as error:
        command = "train" if isinstance(config, TrainConfig) else "compare-weighters"
        raise UsageError(
            f"The data of {folder} are not found: {error.message}",
            f"If they lie elsewhere now, name them: deepchest {command} "
            f"--resume {quote(str(folder))}{' --data FOLDER' * len(config.data)}{way_of(config)}",
        ) from error


def _in_order(
    several: Sequence[RadiographDataset],
    content: dict[str, Any],
    folder: Path,
    compared: Sequence[Member] = (),
) -> RadiographDataset:
    """Return data sets as one, in the order and with the names that a checkpoint has.

    compared: what should be as the checkpoint has it; without any, the data sets themselves.
    """
    recorded = content["origin"]["data_sets"]
    _refuse_other_data(content, compared or [dataset.only for dataset in several], folder)
    hashes = [one["sha256"] for one in recorded]
    merged = merge_datasets(sorted(several, key=lambda dataset: hashes.index(dataset.sha256)))
    return merged.named([one["name"] for one in recorded])


def record_changes(config: TrainConfig, folder: Path) -> None:
    """Write where a run's data were found this time, and its trackers, into its configuration."""
    saved = saved_config(folder, TrainConfig)
    changed = replace(saved, data=config.data, track=config.track)
    if changed != saved:
        write_text(folder / RUN_CONFIG, to_toml(changed))


def load_state(components: TrainingComponents, folder: Path) -> dict[str, Any] | None:
    """Load a run's last weights into the model and return what `snapshot` saved.

    None: the run ended before its first checkpoint and begins anew. Raises `UsageError` when the
    data, the model or the version are not those that the run began with.
    """
    if not (folder / LAST).is_file():
        if (folder / METRICS).exists():
            raise UsageError(f"{folder} has lost its {LAST} and cannot go on.", "Start a new run.")
        return None
    content = read_checkpoint(folder / LAST)
    if content["training"] is None:
        raise UsageError(f"{folder / LAST} holds no training state.", "Use it with --model.")
    refuse_old_state(folder, content["origin"].get("deepchest"))
    _refuse_other_data(content, components.dataset.members, folder)
    if tuple(content["architecture"]["findings"]) != components.dataset.findings:
        raise UsageError(
            f"{components.dataset.folders}: the findings are others than those of {folder}, or in "
            "another order.",
            "Name the data sets in the order that the run began with.",
        )
    try:
        components.classifier.load_state_dict(content["tensors"])
    except RuntimeError as error:
        raise UsageError(
            f"{folder / LAST} holds another model than {folder / RUN_CONFIG} describes.",
            f"Restore {RUN_CONFIG}, or start a new run.",
        ) from error
    training: dict[str, Any] = content["training"]
    return training


def _refuse_other_data(content: dict[str, Any], members: Sequence[Member], folder: Path) -> None:
    """Raise `UsageError` unless the data sets, in any order, are those of a checkpoint."""
    recorded = content["origin"]["data_sets"]
    lost = [one for one in recorded if not any(is_training_data_set(one, m) for m in members)]
    new = [m for m in members if not any(is_training_data_set(one, m) for one in recorded)]
    if not lost and not new:
        return
    changes = []
    for before, now in zip_longest(lost, new):
        if now is None:
            changes.append(f"{before['name']} ({before['data']}) is missing")
        elif before is None:
            changes.append(f"{now.folder} is one more than the run has")
        else:
            where = f"{now.folder}: " if len(recorded) > 1 else ""
            found = _changes_of_one(before, now.manifest) or ["other images"]
            changes.append(where + ", ".join(found))
    folders = ", ".join(str(member.folder) for member in members)
    raise UsageError(
        f"The data in {folders} have changed since the run {folder} began: {'; '.join(changes)}.",
        "Name the data that it began with by --data, prepare them with the same settings "
        "again, or start a new run.",
    )


def _changes_of_one(origin: dict[str, Any], manifest: dict[str, Any]) -> list[str]:
    """Return which settings and sources of a data set have changed."""
    changes = []
    for section in ("settings", "source"):
        for key in sorted(origin[section].keys() | manifest[section].keys()):
            before, now = origin[section].get(key), manifest[section].get(key)
            if before != now:
                plain = not isinstance(before, dict) and not isinstance(now, dict)
                changes.append(f"{key} {now!r}, not {before!r}" if plain else f"another {key}")
    return changes
