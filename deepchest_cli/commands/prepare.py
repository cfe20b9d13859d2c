"""`deepchest prepare`: radiographs in any of their usual forms, or synthetic ones, to shards."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deepchest_cli.commands.prepare_display import (
    render_check,
    render_estimate,
    render_job,
    render_planned,
    render_prepared,
)
from deepchest_cli.config import (
    DEFAULT_DATA,
    DEMO_DATA,
    DEMO_SOURCE,
    NIH_SOURCE,
    PrepareConfig,
    command_line,
)
from deepchest_cli.errors import ExitCode, InterruptedRunError, UsageError
from deepchest_cli.terminal import Terminal

if TYPE_CHECKING:
    from deepchest_cli.data.demo import Demo
    from deepchest_cli.data.preparation import Plan, PlannedJobs
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
    folder = config.data or (DEMO_DATA if config.demo else DEFAULT_DATA)
    _refuse_contradictions(config)
    if config.check:
        _check(config, folder, terminal)
        return
    from deepchest_cli.interruption import stop_on_signal

    try:
        with stop_on_signal() as stop:
            _prepare(config, folder, terminal, stop)
    except (KeyboardInterrupt, InterruptedRunError) as interruption:
        raise InterruptedRunError(
            "Interrupted; finished shards are kept.",
            "Run the same command again to go on.",
            stop.exit_code or ExitCode.INTERRUPTED,
        ) from interruption


def _prepare(config: PrepareConfig, folder: Path, terminal: Terminal, stop: "StopRequest") -> None:
    from deepchest_cli.data.preparation import complete_job, plan_preparation, run_preparation

    results = []
    for site in _sites(config, folder):
        if site.demo is not None:
            _draw(site.demo, site.source, config.workers, terminal, stop)
        if config.job is not None:
            with terminal.progress(f"Job {config.job}") as progress:
                heeded = stop.heeded(progress)
                done = complete_job(config, site.source, folder, config.job, heeded)
            render_job(done, _publishing(config), terminal)
            return
        plan = plan_preparation(site.config, site.source)
        terminal.note(f"{site.source}: {plan.source.title}; images: {plan.images.describe()}.")
        for note in plan.notes:
            terminal.note(note)
        for warning in plan.warnings:
            terminal.warning(warning)
        if config.dry_run:
            from deepchest_cli.data.preparation.estimate import estimate

            command = command_line("prepare", replace(config, dry_run=False))
            render_estimate(estimate(plan, config, folder), command, terminal)
            return
        if config.plan:
            planned = _plan_jobs(plan, config, folder, terminal, stop)
            render_planned(planned, _publishing(config), terminal)
            return
        if config.dask is not None:
            _distribute(plan, config, site.source, folder, terminal, stop)
        with terminal.progress("Converting") as progress:
            heeded = stop.heeded(progress)
            results.append(run_preparation(plan, site.config, site.data, heeded, terminal.warning))
    render_prepared(results, terminal)


def _plan_jobs(
    plan: "Plan", config: PrepareConfig, data: Path, terminal: Terminal, stop: "StopRequest"
) -> "PlannedJobs":
    from deepchest_cli.data.preparation import plan_jobs

    reads = not plan.streamed.is_certain
    if reads:
        terminal.note("Planning reads the archives once, to learn which images they hold.")
    with terminal.progress("Reading archives" if reads else "Planning") as progress:
        return plan_jobs(plan, config, data, stop.heeded(progress), terminal.warning)


def _publishing(config: PrepareConfig) -> str:
    """Return the command that does what is missing of planned jobs and publishes."""
    whole = replace(config, plan=False, job=None, jobs=None, force=False)
    return command_line("prepare", whole)


def _distribute(
    plan: "Plan",
    config: PrepareConfig,
    source: Path,
    data: Path,
    terminal: Terminal,
    stop: "StopRequest",
) -> None:
    """Plan jobs and complete them on a Dask cluster."""
    from deepchest_cli.data.preparation.distributing import distribute_jobs
    from deepchest_cli.engines.dask_connection import refuse_unreachable

    refuse_unreachable(str(config.dask))  # before archives are read for an hour
    _plan_jobs(plan, config, data, terminal, stop)
    with terminal.progress("Converting") as progress:
        say = terminal.warning, terminal.note
        distribute_jobs(plan, config, source, data, stop.heeded(progress), *say)


@dataclass(frozen=True)
class _Site:
    """What is prepared, as what, and where to; for a demo, what is drawn there first."""

    source: Path
    data: Path
    config: PrepareConfig
    demo: "Demo | None" = None


def _sites(config: PrepareConfig, data: Path) -> list[_Site]:
    """Return what to prepare: one source, or the sites of a demo, none of which is in the way."""
    if not config.demo:
        beside = config.labels_csv.parent if config.labels_csv else NIH_SOURCE
        return [_Site(config.source or beside, data, config)]
    from deepchest_cli.data.demo import Demo
    from deepchest_cli.data.synthetic import DEFAULT_IMAGES, MINIMUM_IMAGES, TABLE

    images, source = config.images or DEFAULT_IMAGES, config.source or DEMO_SOURCE
    if images < MINIMUM_IMAGES:
        raise UsageError(f"--images should be at least {MINIMUM_IMAGES}. Found {images}.")
    demo = Demo(images, config.seed, config.long_tail)
    sites = [_Site(source, data, config, demo)]
    if config.sites == 2:
        source, data = _of_site_2(source), _of_site_2(data)
        table = source / TABLE
        scheme = config.split_scheme or str(table)
        own = replace(config, labels_csv=table, split_scheme=scheme)
        sites.append(_Site(source, data, own, replace(demo, site=2)))
    for site in sites:
        _refuse_other_content(site, config.force)
    return sites


def _of_site_2(folder: Path) -> Path:
    """Return the second site's folder beside the first one's: `-site-2` before any `-shards`."""
    name = folder.absolute().name
    end = "-shards" if name.endswith("-shards") else ""
    return folder.parent / f"{name.removesuffix(end)}-site-2{end}"


def _refuse_contradictions(config: PrepareConfig) -> None:
    _refuse_jobs_of_other_work(config)
    if config.check and (config.dry_run or config.demo):
        raise UsageError(
            "--check looks at shards that are there; it goes with neither --dry-run nor --demo."
        )
    if config.demo:
        for flag, value in (("--labels-csv", config.labels_csv), ("--dry-run", config.dry_run)):
            if value:
                raise UsageError(f"{flag} and --demo exclude each other.")
        return
    if config.images is not None:
        raise UsageError("--images says how many synthetic radiographs to make.", "Add --demo.")
    if config.sites != 1:
        raise UsageError("--sites says how many synthetic hospitals to make.", "Add --demo.")
    if config.long_tail:
        raise UsageError("--long-tail is about synthetic findings.", "Add --demo.")


def _refuse_jobs_of_other_work(config: PrepareConfig) -> None:
    """Raise `UsageError` where jobs are planned or completed of what has none."""
    ways = {"--plan": config.plan, "--job": config.job is not None, "--dask": config.dask}
    others = {"--check": config.check, "--dry-run": config.dry_run, "--demo": config.demo}
    given = [flag for flag, value in ways.items() if value]
    if config.jobs is not None and not (config.plan or config.dask):
        raise UsageError("--jobs says how many jobs to plan.", "Add --plan.")
    if not given:
        return
    given += [flag for flag, value in others.items() if value]
    if "--demo" in given:
        raise UsageError(
            f"{given[0]} and --demo exclude each other.",
            "Draw the radiographs first (deepchest prepare --demo), and name them with --source "
            f"{DEMO_SOURCE} and another --data.",
        )
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other.", "Give one of them.")
    if config.job is not None and config.force:
        raise UsageError(
            "--force replaces a whole data set, and a job is a piece of one.",
            "Give it to --plan, and leave it out with --job.",
        )


def _check(config: PrepareConfig, folder: Path, terminal: Terminal) -> None:
    from deepchest_cli.data.preparation.checking import check_shards

    with terminal.progress("Checking") as progress:
        results = check_shards(folder, progress)
    render_check(results, terminal)


def _refuse_other_content(site: _Site, force: bool) -> None:
    """Raise `UsageError` for a folder that holds something else than a demo would make there."""
    from deepchest_cli.data.demo import is_demo, matches

    source, demo = site.source, site.demo
    if demo is None or matches(source, demo):
        return
    if source.exists() and not (force and is_demo(source)):
        can_replace = "Replace them with --force, or name" if is_demo(source) else "Name"
        raise UsageError(
            f"{source} exists and does not hold {demo}.",
            f"{can_replace} another folder with --source.",
        )


def _draw(
    demo: "Demo", folder: Path, workers: int | None, terminal: Terminal, stop: "StopRequest"
) -> None:
    """Draw synthetic radiographs, unless just those are there."""
    from deepchest_cli.data.demo import make_demo, matches

    if matches(folder, demo):
        return
    with terminal.progress("Drawing") as progress:
        make_demo(folder, demo, workers, stop.heeded(progress))
    site = f" of site {demo.site}" if demo.site > 1 else ""
    terminal.note(f"Made {demo.images} synthetic radiographs{site} in {folder}.")
