"""The folder of a comparison: begun, gone on with, and widened by weighters and seeds."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shlex import quote

from deepchest_cli.comparison.running.arms import joined
from deepchest_cli.config import AUTO, RUN_CONFIG, CompareConfig
from deepchest_cli.errors import ExitCode, InterruptedRunError
from deepchest_cli.files import locked, sweep_locked
from deepchest_cli.interruption import InterruptionError
from deepchest_cli.training.resume import folder_to_resume, refuse_changes, saved_config
from deepchest_cli.training.run_directory import OWN, fill_run, make_named, make_unique, now

COMPARISONS = Path("comparisons")
# these add runs, or change where and how they are computed and what is made of them
FREE = frozenset(
    {
        "resume", "recipe", "out", "data", "weighters", "seeds", "single_task",
        "bootstrap_replicates", "fail_if_inferior", "margin", "device", "devices", "cache",
        "cost_only", "cost_rounds", "cost_tasks", "cost_backbones",
    }
)  # fmt: skip


def widened(config: CompareConfig) -> CompareConfig:
    """Return the configuration with all that the folder to go on with has compared so far.

    Seeds and weighters are added and never dropped: results are not to be chosen from. Raises
    `UsageError` for a folder from another configuration.
    """
    folder = folder_to_resume(config)
    if folder is None:
        return config
    config = refuse_changes(config, folder, FREE)
    before = saved_config(folder, CompareConfig)
    seeds = max(before.seeds, config.seeds)
    return replace(config, seeds=seeds, weighters=joined(before.weighters, config.weighters))


@contextmanager
def opened(config: CompareConfig) -> Iterator[Path]:
    """Hold the folder of a comparison, new or to go on with; an interruption says how.

    Raises `UsageError` for a folder that exists, or that another process holds.
    """
    begun = folder_to_resume(config)
    folder = begun or _begin(config)
    with locked(folder):
        sweep_locked(folder, OWN)
        if begun is None:
            record_configuration(config, folder)
        try:
            yield folder
        except InterruptedRunError as error:
            raise InterruptedRunError(error.message, _way_on(folder), error.exit_code) from error
        except (KeyboardInterrupt, InterruptionError) as error:  # where no step is waited for
            message = "Interrupted; what has finished is kept."
            code = getattr(error, "exit_code", ExitCode.INTERRUPTED)
            raise InterruptedRunError(message, _way_on(folder), code) from error


def _way_on(folder: Path) -> str:
    return f"Go on with: deepchest compare-weighters --resume {quote(str(folder))}"


def record_configuration(config: CompareConfig, folder: Path) -> None:
    """Write what is compared, how, and on what machine."""
    fill_run(folder, replace(config, fail_if_inferior=()))


def _begin(config: CompareConfig) -> Path:
    out = config.out
    if out is None:
        return make_unique(COMPARISONS, now())
    begun = f"{_way_on(out)}. Or choose" if (out / RUN_CONFIG).is_file() else "Choose"
    return make_named(out, config.resume == AUTO, f"{begun} another --out.")
