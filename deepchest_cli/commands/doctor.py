"""`deepchest doctor`: what this machine has, what is missing and how to fix it."""

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepchest_cli.commands.next_steps import training_command
from deepchest_cli.config import (
    DEFAULT_DATA,
    DEMO_DATA,
    NIH_SOURCE,
    DoctorConfig,
    PrepareConfig,
    TrainConfig,
    command_line,
    find_data,
)
from deepchest_cli.data.text import count_of, size_of
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.library.launchers import find_launch
from deepchest_cli.terminal import INDENT, Terminal
from deepchest_cli.user_cache import features_folder, training_rates_file


def doctor(config: DoctorConfig, terminal: Terminal) -> None:
    """Show versions, devices, data and model, and how to fix what is missing."""
    from deepchest_cli.data.dataset import open_dataset
    from deepchest_cli.data.sources.nih import find_metadata
    from deepchest_cli.model.checkpoint import find_checkpoint, read_checkpoint
    from deepchest_cli.training.device import resolve_device
    from deepchest_cli.training.run_directory import describe_environment
    from deepchest_cli.weighting.gradients.adapter import find_packages

    device = resolve_device("auto")
    (data,), _ = find_data((str(config.data),))
    report: dict[str, Any] = {
        **describe_environment(),
        "device": str(device),
        **_precision(device),
        "launcher": _launcher(),
        "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "features": _features(),
        "checks": {
            "source": _check(lambda: str(find_metadata(config.source))),
            "data": _check(lambda: _describe(open_dataset(Path(data)))),
            "gradient": _check(find_packages),
            "model": _check(lambda: _origin(read_checkpoint(find_checkpoint(config.model)))),
        },
    }
    if terminal.json:
        terminal.document(report)
    else:
        _render(report, terminal)
        terminal.next_step(_command_after(report, config, data))


def _launcher() -> dict[str, Any] | None:
    """Return what a launcher of several processes said; None where this process is alone."""
    try:
        launch = find_launch(os.environ)
    except UsageError as error:
        return {"error": error.message, "hint": error.hint}
    if launch is None:
        return None
    return {
        "name": launch.launcher,
        "rank": launch.rank,
        "processes": launch.world_size,
        "local_rank": launch.local_rank,
        "node": platform.node(),
    }


def _precision(device: Any) -> dict[str, Any]:
    """Return the precision that `auto` chooses for the default network, and all measured rates."""
    from deepchest_cli.data.findings import FINDINGS
    from deepchest_cli.model.classifier import Architecture
    from deepchest_cli.training.precision import choose_precision, rates_of_this_machine

    defaults, size = TrainConfig(), int(PrepareConfig().size)
    architecture = Architecture(defaults.backbone, defaults.head, FINDINGS, size, size)
    choice = choose_precision(
        "auto", device, architecture, defaults.batch_size, training_rates_file()
    )
    measured = {} if choice.rates is None else rates_of_this_machine(training_rates_file())
    return {
        "precision": choice.precision,
        "rates": [
            {"network": name, "fp32": rates.fp32, "bf16": rates.bf16, "auto": rates.faster}
            for name, rates in measured.items()
        ],
    }


def _features() -> dict[str, Any]:
    """Return where features of linear probes are kept, and how many bytes they take."""
    folder = features_folder()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {"folder": str(folder), "bytes": size}


def _check(check: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"ok": True, "found": check(), "hint": None}
    except DeepChestError as error:
        return {"ok": False, "found": error.message, "hint": error.hint}
    except Exception as error:  # one broken thing must not hide the others
        return {"ok": False, "found": f"{type(error).__name__}: {error}", "hint": None}


def _describe(dataset: Any) -> str:
    return f"{dataset.folder}: {count_of(len(dataset.labels), 'image')}, {dataset.size} px"


def _origin(checkpoint: dict[str, Any]) -> str:
    architecture, origin = checkpoint["architecture"], checkpoint["origin"]
    site = (checkpoint.get("validation_fit") or {}).get("site")
    thresholds = f", operating points of {site['name']}" if site else ""
    if "published" in origin:
        return f"{origin['published']}{thresholds}"
    return (
        f"{architecture['backbone']} with {origin['weighter']}, epoch {origin['epoch']}"
        f"{_data_sets(origin)}{thresholds}"
    )


def _data_sets(origin: dict[str, Any]) -> str:
    """Return the names of several data sets of training; empty for a single one."""
    names = [one["name"] for one in origin.get("data_sets", ())]
    return f", trained on {' and '.join(names)}" if len(names) > 1 else ""


def _describe_launcher(launcher: dict[str, Any]) -> str:
    if "error" in launcher:
        return f"{launcher['error']} {launcher['hint']}"
    return (
        f"{launcher['name']}, process {launcher['rank']} of {launcher['processes']}, "
        f"local rank {launcher['local_rank']} on node {launcher['node']}"
    )


def _command_after(report: dict[str, Any], config: DoctorConfig, data: str) -> str:
    """Return the command that makes the first thing that is missing, or one that trains."""
    if report["checks"]["data"]["ok"]:
        return training_command([data], synthetic=data == str(DEMO_DATA))
    if not report["checks"]["source"]["ok"]:
        return "deepchest prepare --demo"
    source = None if config.source == NIH_SOURCE else config.source
    folder = None if config.data == DEFAULT_DATA else config.data
    return command_line("prepare", PrepareConfig(source=source, data=folder))


def _render(report: dict[str, Any], terminal: Terminal) -> None:
    terminal.paragraph(f"deepchest {report['deepchest']}, Python {report['python']}")
    for name, version in report["packages"].items():
        terminal.paragraph(f"{INDENT}{name} {version or 'is missing'}")
    gpus = ", ".join(report["gpus"]) or "none"
    terminal.paragraph(
        f"GPUs: {gpus}; --device auto is {report['device']} in {report['precision']}"
    )
    visible = report["cuda_visible_devices"]
    if visible is not None:
        terminal.paragraph(f"{INDENT}CUDA_VISIBLE_DEVICES is {visible!r}: no other GPU is used")
    if report["launcher"] is not None:
        terminal.paragraph(f"launcher: {_describe_launcher(report['launcher'])}")
    for rates in report["rates"]:
        terminal.paragraph(
            f"{rates['network']}: {rates['fp32']:.3g} images/s in fp32, {rates['bf16']:.3g} in "
            f"bf16 on one core; --precision auto chooses {rates['auto']}",
            INDENT,
        )
    features = report["features"]
    terminal.paragraph(
        f"features of linear probes: {size_of(features['bytes'])} in {features['folder']}"
    )
    for name, check in report["checks"].items():
        terminal.paragraph(f"{name}: {'' if check['ok'] else 'missing. '}{check['found']}")
        if not check["ok"] and check["hint"]:
            terminal.paragraph(check["hint"], INDENT)
