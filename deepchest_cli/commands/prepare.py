"""`deepchest prepare`: radiographs in any of their usual forms, or synthetic ones, to shards."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deepchest_cli.commands.prepare_display import (
    render_check,
    render_estimate,
    render_job,
    render_planned,
    render_prepared,
)
from deepchest_cli.config import PrepareConfig, command_line
from deepchest_cli.library.operations.prepare import (
    convert,
    data_folder,
    draw,
    interruptible,
    plan_numbered_jobs,
    plan_site,
    refuse_contradictions,
    sites_of,
)
from deepchest_cli.terminal import Terminal

if TYPE_CHECKING:
    from deepchest_cli.interruption import StopRequest


def prepare(config: PrepareConfig, terminal: Terminal) -> None:
    """Convert NIH ChestX-ray14 or other data sets, or synthetic radiographs, to shards.

    The source is recognized by its files: NIH's folder with its archives untouched or unpacked, or
    from Kaggle or Hugging Face (also as Parquet); ChestMNIST; CheXpert, MIMIC-CXR-JPG, PadChest,
    VinDr-CXR; or any table of paths and labels (--labels-csv). PNG, JPEG, TIFF and DICOM files are
    read.

    Examples:  deepchest prepare --source ~/nih --size 128

    deepchest prepare --source images --labels-csv labels.csv

    deepchest prepare --demo --sites 2

    deepchest prepare --source /shared/nih --data /shared/shards --plan --jobs 8
    """
    refuse_contradictions(config)
    if config.check:
        _check(data_folder(config), terminal)
        return
    with interruptible() as stop:
        _prepare(config, data_folder(config), terminal, stop)


def _prepare(config: PrepareConfig, folder: Path, terminal: Terminal, stop: "StopRequest") -> None:
    from deepchest_cli.data.preparation import complete_job

    results = []
    for site in sites_of(config, folder):
        draw(site, terminal, stop)
        if config.job is not None:
            with terminal.progress(f"Job {config.job}") as progress:
                heeded = stop.heeded(progress)
                done = complete_job(config, site.source, folder, config.job, heeded)
            render_job(done, _publishing(config), terminal)
            return
        plan = plan_site(site, terminal)
        if config.dry_run:
            from deepchest_cli.data.preparation.estimate import estimate

            command = command_line("prepare", replace(config, dry_run=False))
            render_estimate(estimate(plan, config, folder), command, terminal)
            return
        if config.plan:
            planned = plan_numbered_jobs(plan, site, terminal, stop)
            render_planned(planned, _publishing(config), terminal)
            return
        results.append(convert(plan, site, terminal, stop))
    render_prepared(results, terminal)


def _publishing(config: PrepareConfig) -> str:
    """Return the command that does what is missing of planned jobs and publishes."""
    whole = replace(config, plan=False, job=None, jobs=None, force=False)
    return command_line("prepare", whole)


def _check(folder: Path, terminal: Terminal) -> None:
    from deepchest_cli.data.preparation.checking import check_shards

    with terminal.progress("Checking") as progress:
        results = check_shards(folder, progress)
    render_check(results, terminal)
