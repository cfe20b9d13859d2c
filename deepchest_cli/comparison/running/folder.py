"""The folder of a comparison: created, locked, resumed, and extended by weighters and seeds."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shlex import quote

from deepchest_cli.comparison.running.jobs import merge_weighters
from deepchest_cli.config import AUTO, RUN_CONFIG, CompareConfig
from deepchest_cli.errors import ExitCode, InterruptedRunError
from deepchest_cli.files import locked, sweep_locked
from deepchest_cli.interruption import InterruptionError
from deepchest_cli.training.resume import folder_to_resume, refuse_changes, saved_config
from deepchest_cli.training.run_directory import OWN, fill_run, make_named, make_unique, now

COMPARISONS = Path("comparisons")
# flags that may change on --resume: they add runs, or choose where they are computed, or only
# concern the results
MAY_CHANGE = frozenset(
    {
        "resume", "recipe", "out", "data", "weighters", "seeds", "single_task",
        "bootstrap_replicates", "fail_if_inferior", "margin", "device", "devices", "cache",
        "cost_only", "cost_rounds", "cost_tasks", "cost_backbones",
    }
)  # fmt: skip


def extended_config(config: CompareConfig) -> CompareConfig:
    """Return the configuration with all weighters and seeds of the comparison that it resumes.

    Weighters and seeds are added and never dropped, so that results cannot be selected. Raises
    `UsageError` for a folder with another configuration.
    """
    folder = folder_to_resume(config)
    if folder is None:
        return config
    config = refuse_changes(config, folder, MAY_CHANGE)
    before = saved_config(folder, CompareConfig)
    seeds = max(before.seeds, config.seeds)
    return replace(
        config, seeds=seeds, weighters=merge_weighters(before.weighters, config.weighters)
    )


@contextmanager
def locked_folder(config: CompareConfig) -> Iterator[Path]:
    """Lock the folder of a comparison, new or resumed; an interruption names the way to resume.

    Raises `UsageError` for a folder that exists, or that another process has locked.
    """
    resumed = folder_to_resume(config)
    folder = resumed or _create(config)
    with locked(folder):
        sweep_locked(folder, OWN)
        if resumed is None:
            write_configuration(config, folder)
        try:
            yield folder
        except InterruptedRunError as error:
            raise InterruptedRunError(
                error.message, _resume_hint(folder), error.exit_code
            ) from error
        except (KeyboardInterrupt, InterruptionError) as error:  # outside of a training step
            message = "Interrupted; what has finished is kept."
            code = getattr(error, "exit_code", ExitCode.INTERRUPTED)
            raise InterruptedRunError(message, _resume_hint(folder), code) from error


def _resume_hint(folder: Path) -> str:
    return f"Resume with: deepchest compare-weighters --resume {quote(str(folder))}"


def write_configuration(config: CompareConfig, folder: Path) -> None:
    """Write the configuration and the environment."""
    fill_run(folder, replace(config, fail_if_inferior=()))


def _create(config: CompareConfig) -> Path:
    out = config.out
    if out is None:
        return make_unique(COMPARISONS, now())
    hint = f"{_resume_hint(out)}. Or choose" if (out / RUN_CONFIG).is_file() else "Choose"
    return make_named(out, config.resume == AUTO, f"{hint} another --out.")
