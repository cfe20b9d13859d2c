"""`deepchest prepare`: NIH's files, or synthetic ones, to shards."""

from pathlib import Path
from typing import Any

from deepchest_cli.config import DEFAULT_DATA, DEMO_DATA, DEMO_SOURCE, NIH_SOURCE, PrepareConfig
from deepchest_cli.errors import ExitCode, InterruptedRunError, UsageError
from deepchest_cli.terminal import Terminal, table_of


def prepare(config: PrepareConfig, terminal: Terminal) -> None:
    """Convert NIH ChestX-ray14, or synthetic radiographs, to shards.

    Examples:  deepchest prepare --source ~/nih --size 128

    deepchest prepare --demo
    """
    from deepchest_cli.data.preparation import plan_preparation, run_preparation

    source = config.source or (DEMO_SOURCE if config.demo else NIH_SOURCE)
    folder = config.data or (DEMO_DATA if config.demo else DEFAULT_DATA)
    _refuse_without_demo(config)
    try:
        if config.demo:
            _make_demo(config, source, terminal)
        plan = plan_preparation(config, source)
        for note in plan.notes:
            terminal.note(note)
        with terminal.progress("Converting") as progress:
            result = run_preparation(plan, config, folder, progress)
    except KeyboardInterrupt as interruption:
        raise InterruptedRunError(
            "Interrupted; finished shards are kept.",
            "Run the same command again to go on.",
            ExitCode.INTERRUPTED,
        ) from interruption
    for lost in result.manifest["left_out"]:
        terminal.detail(f"Left out {lost['image']}: {lost['reason']}")
    if result.unchanged:
        terminal.note(f"{folder} is complete and unchanged.")
    if terminal.json:
        terminal.document({"data": str(folder), **result.manifest})
    else:
        _render(result.manifest, folder, terminal)


def _refuse_without_demo(config: PrepareConfig) -> None:
    if config.demo:
        return
    if config.images is not None:
        raise UsageError("--images says how many synthetic radiographs to make.", "Add --demo.")
    if config.long_tail:
        raise UsageError("--long-tail is about synthetic findings.", "Add --demo.")


def _make_demo(config: PrepareConfig, source: Path, terminal: Terminal) -> None:
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
        make_demo(source, demo, config.workers, progress)
    terminal.note(f"Made {images} synthetic radiographs in {source}.")


def _render(manifest: dict[str, Any], folder: Path, terminal: Terminal) -> None:
    counts = manifest["counts"]
    terminal.table(table_of(["", *counts], _summary(manifest)))
    settings = manifest["settings"]
    terminal.line("")
    terminal.line(
        f"{folder}: {settings['size']} px, split {settings['split_scheme']} by patient, "
        f"labels of {manifest['source']['label_version']}, {len(manifest['shards'])} shards"
    )
    left_out = manifest["left_out"]
    if left_out:
        reasons = [lost["reason"] for lost in left_out]
        counted = ", ".join(f"{reasons.count(r)} × {r}" for r in sorted(set(reasons)))
        terminal.line(f"Left out: {len(left_out)} images ({counted})")


def _summary(manifest: dict[str, Any]) -> list[list[str]]:
    """Return images, patients and positives per part."""
    counts = manifest["counts"]
    rows = [
        [label, *(f"{part[key]:,}" for part in counts.values())]
        for label, key in (("Images", "images"), ("Patients", "patients"))
    ]
    rows += [
        [finding, *(f"{part['positives'][finding]:,}" for part in counts.values())]
        for finding in manifest["findings"]
    ]
    rows.append(["No finding", *(f"{part['no_finding']:,}" for part in counts.values())])
    return rows
