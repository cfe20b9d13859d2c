"""The command that usually follows a comparison, by its results."""

from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from deepchest_cli.config import RUN_CONFIG, CompareConfig, command_line


def command_after(results: dict[str, Any], folder: Path, config: CompareConfig) -> str:
    """Return the command that follows: what is missing, more seeds, or training by the best.

    What is missing are runs that failed, as for want of memory. More seeds are those of the
    weighter that needs the fewest to detect a difference of the margin.
    """
    from deepchest_cli.evaluation.statistics import BETTER
    from deepchest_cli.training.run_directory import resume_command

    weighters, baseline = results["weighters"], results["design"]["baseline"]
    resume = resume_command(folder, config)
    if any(entry["status"] == "failed" for entry in weighters.values()):
        return resume
    if seeds := _seeds_to_add_up_to(results):
        return f"{resume} --seeds {seeds}"
    better = {
        label: row["estimate"]
        for label, entry in weighters.items()
        if entry["differences"]
        and (row := entry["differences"]["macro_auroc"])["verdict"] == BETTER
    }
    best = max(better, key=lambda label: better[label], default=baseline)
    first = folder / weighters[best]["runs"][0]["folder"] / RUN_CONFIG
    return f"deepchest train --config {quote(str(first))}"


def _seeds_to_add_up_to(results: dict[str, Any]) -> int | None:
    """Return how many seeds would help an inconclusive weighter; None where none would."""
    from deepchest_cli.evaluation.statistics import INCONCLUSIVE

    design = results["design"]
    if len(design["seeds"]) < design["min_seeds"]:
        return int(design["min_seeds"])
    rows = [
        entry["differences"]["macro_auroc"]
        for entry in results["weighters"].values()
        if entry["differences"]
    ]
    needed = [
        row["seeds_needed"]
        for row in rows
        if row["verdict"] == INCONCLUSIVE and (row["seeds_needed"] or 0) > row["seeds"]
    ]
    return min(needed, default=None)


def command_after_costs(config: CompareConfig) -> str:
    """Return the comparison of the weighters whose costs were measured."""
    compared = replace(config, cost_only=False, cost_tasks=None, cost_backbones=None)
    return command_line("compare-weighters", compared)
