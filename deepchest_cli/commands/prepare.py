"""`deepchest prepare`: radiographs in any of their usual forms, or synthetic ones, to shards."""

from pathlib import Path
from typing import TYPE_CHECKING

from deepchest_cli.commands.prepare_display import render_check, render_estimate, render_prepared
from deepchest_cli.config import DEFAULT_DATA, DEMO_DATA, DEMO_SOURCE, NIH_SOURCE, PrepareConfig
from deepchest_cli.errors import ExitCode, InterruptedRunError, UsageError
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

    deepchest prepare --labels-csv labels.csv --source images --patient-column patient

    deepchest prepare --demo
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
    except KeyboardInterrupt as interruption:
        raise InterruptedRunError(
            "Interrupted; finished shards are kept.",
            "Run the same command again to go on.",
            stop.exit_code or ExitCode.INTERRUPTED,
        ) from interruption


def _prepare(config: PrepareConfig, folder: Path, terminal: Terminal, stop: "StopRequest") -> None:
    from deepchest_cli.data.preparation import plan_preparation, run_preparation

    source = _source(config)
    if config.demo:
        _make_demo(config, source, terminal, stop)
    plan = plan_preparation(config, source)
    terminal.note(f"{source}: {plan.source.title}; images: {plan.images.describe()}.")
    for note in plan.notes:
        terminal.note(note)
    for warning in plan.warnings:
        terminal.warning(warning)
    if config.dry_run:
        from deepchest_cli.data.preparation.estimate import estimate

        render_estimate(plan, estimate(plan, config, folder), terminal)
        return
    with terminal.progress("Converting") as progress:
        results = run_preparation(plan, config, folder, stop.heeded(progress), terminal.warning)
    render_prepared(results, terminal)


def _source(config: PrepareConfig) -> Path:
    if config.source is not None:
        return config.source
    if config.labels_csv is not None:
        return config.labels_csv.parent
    return DEMO_SOURCE if config.demo else NIH_SOURCE


def _refuse_contradictions(config: PrepareConfig) -> None:
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
    if config.long_tail:
        raise UsageError("--long-tail is about synthetic findings.", "Add --demo.")


def _check(config: PrepareConfig, folder: Path, terminal: Terminal) -> None:
    from deepchest_cli.data.preparation.checking import check_shards

    with terminal.progress("Checking") as progress:
        results = check_shards(folder, progress)
    render_check(results, terminal)


def _make_demo(
    config: PrepareConfig, source: Path, terminal: Terminal, stop: "StopRequest"
) -> None:
    """Draw synthetic radiographs in NIH's layout, unless just those are there."""
    from deepchest_cli.data.demo import Demo, is_demo, make_demo, matches
    from deepchest_cli.data.synthetic import DEFAULT_IMAGES, MINIMUM_IMAGES

    images = config.images or DEFAULT_IMAGES
    if images < MINIMUM_IMAGES:
        raise UsageError(f"--images should be at least {MINIMUM_IMAGES}. Found {images}.")
    demo = Demo(images, config.seed, config.long_tail)
    if matches(source, demo):
        return
    if source.exists() and not (config.force and is_demo(source)):
        can_replace = "Replace them with --force, or name" if is_demo(source) else "Name"
        raise UsageError(
            f"{source} exists and does not hold {images} synthetic radiographs of seed "
            f"{config.seed}{' with a long tail' if config.long_tail else ''}.",
            f"{can_replace} another folder with --source.",
        )
    with terminal.progress("Drawing") as progress:
        make_demo(source, demo, config.workers, stop.heeded(progress))
    terminal.note(f"Made {images} synthetic radiographs in {source}.")
