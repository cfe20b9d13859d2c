"""The folder of a comparison: begun, gone on with, and widened by weighters and seeds."""

from dataclasses import replace
from pathlib import Path

from deepchest_cli.config import RUN_CONFIG, CompareConfig, to_toml
from deepchest_cli.errors import UsageError
from deepchest_cli.files import write_json, write_text
from deepchest_cli.training.resume import refuse_changes
from deepchest_cli.training.run_directory import (
    ENVIRONMENT,
    describe_environment,
    make_unique,
    now,
    repeatable,
)

COMPARISONS = Path("comparisons")
# these add runs, or change where and how they are computed and what is made of them
FREE = frozenset(
    {
        "resume", "recipe", "out", "weighters", "seeds", "single_task", "replicates", "not_worse",
        "device", "devices", "cache", "cost_only", "cost_rounds", "cost_tasks", "cost_backbones",
    }
)  # fmt: skip


def open_comparison(config: CompareConfig) -> Path:
    """Return the folder of a comparison, new or to go on with, its configuration written.

    Raises `UsageError` for a folder that exists, and for one from another configuration.
    """
    folder = _begin(config.out) if config.resume is None else _go_on(config, config.resume)
    plain = replace(repeatable(config), resume=None, not_worse=())
    write_text(folder / RUN_CONFIG, to_toml(plain))
    write_json(folder / ENVIRONMENT, describe_environment())
    return folder


def _begin(out: Path | None) -> Path:
    if out is None:
        return make_unique(COMPARISONS, now())
    try:
        out.mkdir(parents=True)
    except FileExistsError as error:
        raise UsageError(
            f"{out} exists already.",
            f"Go on with it: deepchest compare-weighters --resume {out}. Or choose another --out.",
        ) from error
    return out


def _go_on(config: CompareConfig, folder: Path) -> Path:
    refuse_changes(config, folder, FREE)
    return folder
