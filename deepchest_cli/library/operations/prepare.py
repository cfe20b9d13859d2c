"""What preparing does, for the command and for the function."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deepchest_cli.config import DEFAULT_DATA, DEMO_DATA, DEMO_SOURCE, NIH_SOURCE, PrepareConfig
from deepchest_cli.errors import ExitCode, InterruptedRunError, UsageError
from deepchest_cli.reporter import Reporter

if TYPE_CHECKING:
    from deepchest_cli.data.demo import Demo
    from deepchest_cli.data.preparation import Plan, PlannedJobs, Preparation
    from deepchest_cli.interruption import StopRequest


def data_folder(config: PrepareConfig) -> Path:
    """Return the folder that the data set is published in."""
    return config.data or (DEMO_DATA if config.demo else DEFAULT_DATA)


@contextmanager
def interruptible() -> Iterator["StopRequest"]:
    """Yield what signals set; an interruption says that finished shards are kept."""
    from deepchest_cli.interruption import stop_on_signal

    try:
        with stop_on_signal() as stop:
            yield stop
    except (KeyboardInterrupt, InterruptedRunError) as interruption:
        raise InterruptedRunError(
            "Interrupted; finished shards are kept.",
            "Run the same command again to go on.",
            stop.exit_code or ExitCode.INTERRUPTED,
        ) from interruption


def plan_site(site: "Site", reporter: Reporter) -> "Plan":
    """Return the plan of a site, whose notes and warnings are said."""
    from deepchest_cli.data.preparation import plan_preparation

    plan = plan_preparation(site.config, site.source)
    reporter.note(f"{site.source}: {plan.source.title}; images: {plan.images.describe()}.")
    for note in plan.notes:
        reporter.note(note)
    for warning in plan.warnings:
        reporter.warning(warning)
    return plan


def convert(
    plan: "Plan", site: "Site", reporter: Reporter, stop: "StopRequest"
) -> "tuple[Preparation, ...]":
    """Convert a site, on a Dask cluster where one is named, and publish its data sets."""
    from deepchest_cli.data.preparation import run_preparation

    if site.config.dask is not None:
        _distribute(plan, site, reporter, stop)
    with reporter.progress("Converting") as progress:
        return run_preparation(
            plan, site.config, site.data, stop.heeded(progress), reporter.warning
        )


def plan_numbered_jobs(
    plan: "Plan", site: "Site", reporter: Reporter, stop: "StopRequest"
) -> "PlannedJobs":
    """Write the numbered jobs of a site; archives are read where their images are not known."""
    from deepchest_cli.data.preparation import plan_jobs

    reads = not plan.streamed.is_certain
    if reads:
        reporter.note("Planning reads the archives once, to learn which images they hold.")
    with reporter.progress("Reading archives" if reads else "Planning") as progress:
        return plan_jobs(plan, site.config, site.data, stop.heeded(progress), reporter.warning)


def _distribute(plan: "Plan", site: "Site", reporter: Reporter, stop: "StopRequest") -> None:
    """Plan jobs and complete them on a Dask cluster."""
    from deepchest_cli.data.preparation.distributing import distribute_jobs
    from deepchest_cli.engines.dask_connection import refuse_unreachable

    refuse_unreachable(str(site.config.dask))  # before archives are read for an hour
    plan_numbered_jobs(plan, site, reporter, stop)
    with reporter.progress("Converting") as progress:
        say = reporter.warning, reporter.note
        distribute_jobs(plan, site.config, site.source, site.data, stop.heeded(progress), *say)


@dataclass(frozen=True)
class Site:
    """What is prepared, as what, and where to; for a demo, what is drawn there first."""

    source: Path
    data: Path
    config: PrepareConfig
    demo: "Demo | None" = None


def sites_of(config: PrepareConfig, data: Path) -> list[Site]:
    """Return what to prepare: one source, or the sites of a demo, none of which is in the way."""
    if not config.demo:
        beside = config.labels_csv.parent if config.labels_csv else NIH_SOURCE
        return [Site(config.source or beside, data, config)]
    from deepchest_cli.data.demo import Demo
    from deepchest_cli.data.synthetic import DEFAULT_IMAGES, MINIMUM_IMAGES, TABLE

    images, source = config.images or DEFAULT_IMAGES, config.source or DEMO_SOURCE
    if images < MINIMUM_IMAGES:
        raise UsageError(f"--images should be at least {MINIMUM_IMAGES}. Found {images}.")
    demo = Demo(images, config.seed, config.long_tail)
    sites = [Site(source, data, config, demo)]
    if config.sites == 2:
        source, data = _of_site_2(source), _of_site_2(data)
        table = source / TABLE
        scheme = config.split_scheme or str(table)
        own = replace(config, labels_csv=table, split_scheme=scheme)
        sites.append(Site(source, data, own, replace(demo, site=2)))
    for site in sites:
        _refuse_other_content(site, config.force)
    return sites


def _of_site_2(folder: Path) -> Path:
    """Return the second site's folder beside the first one's: `-site-2` before any `-shards`."""
    name = folder.absolute().name
    end = "-shards" if name.endswith("-shards") else ""
    return folder.parent / f"{name.removesuffix(end)}-site-2{end}"


def refuse_contradictions(config: PrepareConfig) -> None:
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


def _refuse_other_content(site: Site, force: bool) -> None:
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


def draw(site: Site, reporter: Reporter, stop: "StopRequest") -> None:
    """Draw the synthetic radiographs of a demo, unless just those are there."""
    from deepchest_cli.data.demo import make_demo, matches

    demo = site.demo
    if demo is None or matches(site.source, demo):
        return
    with reporter.progress("Drawing") as progress:
        make_demo(site.source, demo, site.config.workers, stop.heeded(progress))
    named = f" of site {demo.site}" if demo.site > 1 else ""
    reporter.note(f"Made {demo.images} synthetic radiographs{named} in {site.source}.")
