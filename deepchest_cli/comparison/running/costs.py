"""What the weighters of a comparison cost, measured apart from their training."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepchest_cli.comparison.running.arms import BASELINE, Arm
from deepchest_cli.comparison.running.jobs import needs_gradients, train_config
from deepchest_cli.comparison.running.run import release
from deepchest_cli.comparison.running.step_costs import candidates, cost_of, measure, prepare_cost
from deepchest_cli.config import CompareConfig
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.errors import UsageError
from deepchest_cli.files import write_json
from deepchest_cli.weighting import WEIGHTERS

COSTS = "costs.json"

Costs = dict[str, dict[str, Any]]  # label to figures
Progress = Callable[[int, int], None]


def measure_costs(
    config: CompareConfig,
    arms: Sequence[Arm],
    dataset: RadiographDataset,
    device: str,
    tasks: int | None = None,
) -> Costs:
    """Return each arm's cost by its label: steps of all in turn, on one model and one batch.

    An arm that cannot take a step, for want of memory for instance, has none.
    """
    configs = {arm.label: replace(train_config(config, arm, 0), device=device) for arm in arms}
    setup, batch = prepare_cost(configs[arms[0].label], dataset, tasks)
    found = candidates(setup, configs)
    measure(found, batch, config.cost_rounds)
    baseline, tasks = found[arms[0].label], batch.labels.shape[1]
    costs = {
        arm.label: cost_of(found[arm.label], baseline, passes_of(arm, config, tasks))
        for arm in arms
        if arm.label in found
    }
    del setup, batch, found, baseline
    release()
    return costs


def passes_of(arm: Arm, config: CompareConfig, tasks: int) -> str:
    """Return the passes of a step in words."""
    info = WEIGHTERS[arm.weighter.removeprefix("deepchest+")]
    if needs_gradients(arm) and config.gradient_level == "parameters":
        return f"1 forward, {tasks} backward"
    return info.passes


def kept_costs(
    config: CompareConfig,
    arms: Sequence[Arm],
    dataset: RadiographDataset,
    device: str,
    folder: Path,
) -> Costs:
    """Return the costs that a comparison's folder has, measured anew where an arm is missing.

    arms: those that have finished; none, unless equal weighting, which they are related to, is
    among them.
    """
    path = folder / COSTS
    if BASELINE not in {arm.label for arm in arms}:
        return {}
    wanted = [device, config.cost_rounds, *(arm.label for arm in arms)]
    with suppress(
        OSError, ValueError, KeyError, TypeError
    ):  # not there, or damaged: measured again
        kept = json.loads(path.read_text(encoding="utf-8"))
        costs: Costs = kept["costs"]
        if kept["measured"] == wanted:
            return costs
    view = dataset if config.folds is None else dataset.folded(0, config.folds)
    costs = measure_costs(config, arms, view, device)
    write_json(path, {"measured": wanted, "costs": costs})
    return costs


def cost_table(
    config: CompareConfig,
    arms: Sequence[Arm],
    dataset: RadiographDataset,
    device: str,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Return the costs for each backbone and number of findings that was asked for."""
    backbones = _listed(config.cost_backbones) or [config.backbone]
    counts: Sequence[int | None] = _counts(config.cost_tasks) or [None]
    tables = []
    for backbone in backbones:
        for tasks in counts:
            changed = replace(config, backbone=backbone)
            costs = measure_costs(changed, arms, dataset, device, tasks)
            number = tasks or len(dataset.findings)
            tables.append({"backbone": backbone, "findings": number, "costs": costs})
            progress(len(tables), len(backbones) * len(counts))
    return tables


def _listed(text: str | None) -> list[str]:
    return [entry for entry in (text or "").replace(" ", "").split(",") if entry]


def _counts(text: str | None) -> list[int]:
    entries = _listed(text)
    if not all(entry.isdecimal() and int(entry) > 0 for entry in entries):
        raise UsageError(
            f"--cost-tasks should be whole numbers above 0 with commas between. Found {text!r}.",
            "For instance: --cost-tasks 2,14,56",
        )
    return [int(entry) for entry in entries]
