"""What the folder of a run says, of one alone and of one that belongs to a comparison."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepchest_cli.comparison.listing.entry import (
    Contents,
    Entry,
    State,
    begun,
    read_config,
    resume_of,
    setting,
)
from deepchest_cli.comparison.listing.folded_runs import with_fold_states
from deepchest_cli.comparison.listing.progress import RunProgress, read_progress
from deepchest_cli.comparison.running.jobs import RUNS, SINGLE_TASK, parse_arms
from deepchest_cli.comparison.running.records import RunRecord, read_record
from deepchest_cli.config import RUN_CONFIG
from deepchest_cli.errors import DeepChestError
from deepchest_cli.files import is_locked
from deepchest_cli.model.checkpoint_format import BEST, LAST
from deepchest_cli.training.run_files import LATEST
from deepchest_cli.weighting.own import code_of, short_name

# names of the folders of a comparison's runs, and of attempts at them
OF_COMPARISON = re.compile(r"(?P<run>seed-\d+(-fold-\d+)?(-rate-.+?)?)(\.attempt-\d+)?")


def read_run(folder: Path, values: Mapping[str, Any], contents: Contents) -> Entry:
    """Return the entry of a run with a configuration. A file that is damaged is named in it."""
    label = _label(values)
    entry = replace(
        begun("run", folder, values, contents),
        weighter=label,
        weighters=(label,),
        is_latest=_is_latest(folder),
    )
    folds = setting(values, "folds", int)
    if folds and "fold" not in values:
        return with_fold_states(entry, folds, values, contents)
    try:
        progress = read_progress(folder)
        record = read_record(folder)
        state, reason = _state(folder, values, contents, progress, record)
        resume = _resume(folder, values, entry.version) if state == "interrupted" else None
    except (ValueError, DeepChestError) as error:
        return replace(entry, state="damaged", reason=str(error))
    return replace(
        entry,
        state=state,
        reason=reason,
        epochs=progress.epochs,
        best_epoch=progress.best_epoch,
        macro_auroc=progress.macro_auroc,
        resume=resume,
        model=folder if contents.files.get(BEST) else None,
    )


def _state(
    folder: Path,
    values: Mapping[str, Any],
    contents: Contents,
    progress: RunProgress,
    record: RunRecord | None,
) -> tuple[State, str | None]:
    """Return the state of a run, and the reason where it has failed or is damaged."""
    if is_locked(folder):
        return "running", None
    if record is not None and record.status != "finished":
        return "failed", record.error
    is_finished = record is not None or progress.is_finished(values)
    damage = _damage(contents, progress, is_finished)
    if damage is not None:
        return "damaged", damage
    return "finished" if is_finished else "interrupted", None


def _damage(contents: Contents, progress: RunProgress, is_finished: bool) -> str | None:
    """Return what is wrong with the checkpoints of a run; None: they are there, or not needed."""
    empty = [name for name in (BEST, LAST) if contents.files.get(name) == 0]
    if empty:
        return f"{empty[0]} is empty."
    if progress.best_epoch is not None and BEST not in contents.files:
        return f"{BEST} is missing: there is no model to evaluate."
    if progress.epochs and not is_finished and LAST not in contents.files:
        return f"{LAST} is missing: the run cannot be resumed."
    return None


def _label(values: Mapping[str, Any]) -> str:
    """Return the weighter of a run with the options that it was given, as a comparison names it."""
    name, options = str(values["weighter"]), values.get("weighter_option")
    with suppress(DeepChestError):  # not the name of any code
        name = short_name(name)
    given = f"[{','.join(map(str, options))}]" if isinstance(options, list) and options else ""
    return f"{name}{given}"


def _is_latest(folder: Path) -> bool:
    link = folder.absolute().parent / LATEST
    try:
        return link.samefile(folder)
    except OSError:  # there is none, or what it names is gone
        return False


def _resume(folder: Path, values: Mapping[str, Any], version: str | None) -> str | None:
    if "fold" in values:  # all folds go on together
        return resume_of("train", folder.parent, values, version)
    comparison = _comparison_of(folder)
    if comparison is None:
        return resume_of("train", folder, values, version)
    return resume_comparison(comparison, read_config(comparison)[0], version)


def _comparison_of(folder: Path) -> Path | None:
    """Return the folder of the comparison that a run belongs to; None: to none."""
    above = folder.absolute().parent.parent
    inside = OF_COMPARISON.fullmatch(folder.name) and above.name in (RUNS, SINGLE_TASK)
    return above.parent if inside and (above.parent / RUN_CONFIG).is_file() else None


def resume_comparison(folder: Path, values: Mapping[str, Any], version: str | None) -> str | None:
    """Return the command that goes on with a comparison, of whose weighters it names one's own."""
    arms = parse_arms(str(values.get("weighters", "")))
    own = ",".join(arm.text for arm in arms if code_of(arm.weighter))
    return resume_of("compare-weighters", folder, {**values, "weighters": own}, version)
