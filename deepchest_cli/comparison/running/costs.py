"""The cost of a step of each weighter, measured apart from the training."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from deepchest_cli.comparison.running.comparison import TrainedComparison
from deepchest_cli.comparison.running.jobs import BASELINE, Arm, train_config
from deepchest_cli.comparison.running.run import free_memory
from deepchest_cli.comparison.running.step_costs import candidates, cost_of, measure, prepare_cost
from deepchest_cli.config import CompareConfig
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.errors import UsageError
from deepchest_cli.files import write_json
from deepchest_cli.weighting import WEIGHTERS

COSTS = "costs.json"

Costs = dict[str, dict[str, Any]]  # by the arm's label
Progress = Callable[[int, int], None]


def measure_costs(
    config: CompareConfig, arms: Sequence[Arm], dataset: RadiographDataset, tasks: int | None = None
) -> Costs:
    """Return each arm's cost: all take steps in turn, on one model and one batch.

    An arm that cannot take a step, for lack of memory for instance, has no entry.
    """
    device = config.device_list[0]
    configs = {arm.label: replace(train_config(config, arm, 0), device=device) for arm in arms}
    components, batch = prepare_cost(configs[arms[0].label], dataset, tasks)
    measured = candidates(components, configs)
    measure(measured, batch, config.cost_rounds)
    baseline, tasks = measured[arms[0].label], batch.labels.shape[1]
    costs = {
        arm.label: cost_of(measured[arm.label], baseline, _passes_of(arm, config, tasks))
        for arm in arms
        if arm.label in measured
    }
    del components, batch, measured, baseline
    free_memory()
    return costs


def _passes_of(arm: Arm, config: CompareConfig, tasks: int) -> str:
    """Return the forward and backward passes of a step in words."""
    info = WEIGHTERS[arm.weighter.removeprefix("deepchest+")]
    if arm.needs_gradients and config.gradient_level == "parameters":
        return f"1 forward, {tasks} backward"
    return info.passes


def load_or_measure_costs(comparison: TrainedComparison) -> Costs:
    """Return the costs of the finished arms, measured anew unless the folder has those of the same.

    Without the baseline among them there are no costs, since all are relative to it.
    """
    config, dataset, arms = comparison.config, comparison.dataset, comparison.finished_arms
    if BASELINE not in {arm.label for arm in arms}:
        return {}
    path = comparison.folder / COSTS
    wanted = [config.device_list[0], config.cost_rounds, *(arm.label for arm in arms)]
    with suppress(OSError, ValueError, KeyError, TypeError):  # missing or damaged: measured anew
        kept = json.loads(path.read_text(encoding="utf-8"))
        costs: Costs = kept["costs"]
        if kept["measured"] == wanted:
            return costs
    view = dataset if config.folds is None else dataset.folded(0, config.folds)
    costs = measure_costs(config, arms, view)
    write_json(path, {"measured": wanted, "costs": costs})
    return costs


def cost_tables(
    config: CompareConfig, arms: Sequence[Arm], dataset: RadiographDataset, progress: Progress
) -> list[dict[str, Any]]:
    """Return the costs for each requested backbone and number of findings."""
    backbones = _split(config.cost_backbones) or [config.backbone]
    counts: Sequence[int | None] = _task_counts(config.cost_tasks) or [None]
    tables = []
    for backbone in backbones:
        for tasks in counts:
            costs = measure_costs(replace(config, backbone=backbone), arms, dataset, tasks)
            number = tasks or len(dataset.findings)
            tables.append({"backbone": backbone, "findings": number, "costs": costs})
            progress(len(tables), len(backbones) * len(counts))
    return tables


def _split(text: str | None) -> list[str]:
    return [entry for entry in (text or "").replace(" ", "").split(",") if entry]


def _task_counts(text: str | None) -> list[int]:
    entries = _split(text)
    if not all(entry.isdecimal() and int(entry) > 0 for entry in entries):
        raise UsageError(
            f"--cost-tasks should be whole numbers above 0 with commas between. Found {text!r}.",
            "For instance: --cost-tasks 2,14,56",
        )
    return [int(entry) for entry in entries]
