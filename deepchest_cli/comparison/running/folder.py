"""The folder of a comparison: created, locked, resumed, and extended by weighters and seeds."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepchest_cli.comparison.running.jobs import COMPARISONS, Arm, merge_weighters, parse_arms
from deepchest_cli.config import AUTO, RUN_CONFIG, CompareConfig
from deepchest_cli.device_errors import explain_device
from deepchest_cli.errors import ExitCode, InterruptedRunError, LostDeviceError, UsageError
from deepchest_cli.files import locked, sweep_locked
from deepchest_cli.interruption import InterruptionError
from deepchest_cli.training.resume import folder_to_resume, refuse_changes, saved_config
from deepchest_cli.training.run_directory import (
    describe_environment,
    fill_run,
    make_named,
    make_unique,
    now,
    resume_command,
    way_of,
)
from deepchest_cli.training.run_files import ENVIRONMENT
from deepchest_cli.weighting.own import WEIGHTER, code_of

# flags that may change on --resume: they add runs, or choose where they are computed, or only
# concern the results
MAY_CHANGE = frozenset(
    {
        "resume", "recipe", "out", "data", "weighters", "weighter_sha256", "seeds", "single_task",
        "bootstrap_replicates", "fail_if_inferior", "margin", "device", "devices", "cache",
        "cost_only", "cost_rounds", "cost_tasks", "cost_backbones", "plan", "job", "report", "dask",
        "track",
    }
)  # fmt: skip


def extended_config(config: CompareConfig) -> CompareConfig:
    """Return the configuration with all weighters and seeds of the comparison that it resumes.

    Weighters and seeds are added and never dropped, so that results cannot be selected. The files
    of weighters of one's own are hashed. Raises `UsageError` for a folder with another
    configuration, and for code of it that is not named again or has changed.
    """
    folder = folder_to_resume(config)
    if folder is None:
        return _with_hashes(config)
    config = refuse_changes(config, folder, MAY_CHANGE)
    before = saved_config(folder, CompareConfig)
    if config.devices == before.devices and config.device != before.device:
        config = replace(config, devices=None)  # a --device that is given now, for what was saved
    seeds = max(before.seeds, config.seeds)
    weighters = merge_weighters(_named_again(before, config, folder), config.weighters)
    return _with_hashes(replace(config, seeds=seeds, weighters=weighters))


def _with_hashes(config: CompareConfig) -> CompareConfig:
    arms = parse_arms(config.weighters)
    hashes = _code_hashes(arms)
    if not hashes:
        return config
    return replace(
        config,
        weighters=",".join(arm.text for arm in arms),
        weighter_sha256=tuple(f"{name}={sha256}" for name, sha256 in hashes.items()),
    )


def _code_hashes(arms: Sequence[Arm]) -> dict[str, str]:
    """Return the SHA-256 of the files of weighters of one's own by their full names."""
    found = {code_of(arm.weighter): arm.weighter_sha256 for arm in arms}
    return {code.name: sha256 for code, sha256 in found.items() if code and sha256}


def _named_again(before: CompareConfig, config: CompareConfig, folder: Path) -> str:
    """Return the saved weighters, the files of one's own in the places where they lie now.

    Raises `UsageError` where one is not named: no code runs because a folder says so.
    """
    named = _code_hashes(parse_arms(config.weighters))
    saved = dict(text.rpartition("=")[::2] for text in before.weighter_sha256)
    if not saved:
        return before.weighters  # as it was typed: a resumed comparison is that of one go
    texts, unnamed = [], []
    for arm in parse_arms(before.weighters):
        code = code_of(arm.weighter)
        if code is None:
            texts.append(arm.text)
            continue
        alike = [n for n, sha256 in named.items() if sha256 == saved.get(code.name)]
        moved = [name for name in alike if WEIGHTER.parse(name).member == code.member]
        if code.name in named and code.name not in moved:
            raise UsageError(
                f"{code.find()} has changed since {folder} began.",
                "Restore the file, or begin a new comparison: the runs with the former version "
                "cannot be compared with runs of this one.",
            )
        place = code.name if code.name in moved else "".join(moved[:1])
        texts.append(arm.text.replace(code.name, place))
        if not moved:
            unnamed.append(arm.text)
    if unnamed:
        raise UsageError(
            f"{folder} compares {', '.join(unnamed)}, code of your own, which runs only where it "
            "is named.",
            f"{_resume_hint(folder)}{way_of(config)}",
        )
    return ",".join(texts)


@contextmanager
def locked_folder(config: CompareConfig) -> Iterator[Path]:
    """Lock the folder of a comparison, new or resumed; an interruption names the way to resume.

    Raises `UsageError` for a folder that exists, or that another process has locked.
    """
    resumed = folder_to_resume(config)
    folder = resumed or _create(config)
    with locked(folder):
        sweep_locked(folder, ())  # jobs on other machines may be writing into their runs
        if resumed is None:
            write_configuration(config, folder)
        with going_on(folder, config):
            yield folder


@contextmanager
def going_on(folder: Path, config: CompareConfig) -> Iterator[None]:
    """Let what interrupts the block name the command that goes on."""
    flags = way_of(config)
    try:
        yield
    except InterruptedRunError as error:
        hint = f"{_resume_hint(folder)}{flags}"
        raise InterruptedRunError(error.message, hint, error.exit_code) from error
    except (LostDeviceError, RuntimeError) as error:
        lost = error if isinstance(error, LostDeviceError) else explain_device(error)
        if lost is None:
            raise
        hint = f"{_resume_hint(folder)}{flags}, with another --device or fewer --devices."
        raise LostDeviceError(lost.message, f"What has finished is kept. {hint}") from error
    except (KeyboardInterrupt, InterruptionError) as error:  # outside of a training step
        message = "Interrupted; what has finished is kept."
        code = getattr(error, "exit_code", ExitCode.INTERRUPTED)
        raise InterruptedRunError(message, f"{_resume_hint(folder)}{flags}", code) from error


def refuse_other_plan(config: CompareConfig, folder: Path) -> None:
    """Raise `UsageError` where flags would add to the runs that a folder's plan has."""
    saved = saved_config(folder, CompareConfig)
    labels = [arm.label for arm in parse_arms(config.weighters)]
    changed = {
        "--weighters": labels != [arm.label for arm in parse_arms(saved.weighters)],
        "--seeds": config.seeds != saved.seeds,
        "--single-task": config.single_task != saved.single_task,
    }
    for flag, is_changed in changed.items():
        if is_changed:
            raise UsageError(
                f"{flag} would change the plan in {folder}.",
                f"Leave it out, or plan the additional runs first: --plan --resume {folder}",
            )


def refuse_other_environment(folder: Path) -> None:
    """Raise `UsageError` for another version than the one that a comparison was planned with.

    Runs that are compared are computed alike.
    """
    try:
        planned = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
        before = _versions(planned)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # lost or damaged: it says nothing
    here = _versions(describe_environment())
    if before != here:
        again = f"plan it again in this one: --plan --resume {folder}"
        if any(folder.glob("*/*/*/")):  # there are runs, of which others differ by rounding
            again = "begin a new comparison."
        raise UsageError(
            f"{folder} was planned with {before}, and this is {here}.",
            f"Start the job in the environment of the plan (the same on every machine), or {again}",
        )


def _versions(environment: Mapping[str, Any]) -> str:
    python = environment["python"].rpartition(".")[0]  # builds of one version may differ
    torch = environment["packages"]["torch"].partition("+")[0]
    return f"deepchest {environment['deepchest']}, Python {python} and torch {torch}"


def _resume_hint(folder: Path) -> str:
    config = saved_config(folder, CompareConfig)
    own = [arm.text for arm in parse_arms(config.weighters) if code_of(arm.weighter)]
    return f"Resume with: {resume_command(folder, replace(config, weighters=','.join(own)))}"


def write_configuration(config: CompareConfig, folder: Path) -> None:
    """Write the configuration and the environment."""
    once = replace(config, fail_if_inferior=(), plan=False, job=None, report=False, dask=None)
    fill_run(folder, once)


def _create(config: CompareConfig) -> Path:
    out = config.out
    if out is None:
        return make_unique(COMPARISONS, now())
    hint = f"{_resume_hint(out)}. Or choose" if (out / RUN_CONFIG).is_file() else "Choose"
    return make_named(out, config.resume == AUTO, f"{hint} another --out.")
