"""The page of `gpu.py`: its figures in tables and plots, in one file."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_goals import SHARE, figures_of
from gpu_rates import BARE, CHANNELS_LAST, CONTIGUOUS, EPOCH, STEP

from deepchest_cli.files import write_text
from deepchest_cli.reporting.html import template_environment
from deepchest_cli.reporting.plots import (
    BLUE,
    GRAY,
    ORANGE,
    hide_frame,
    new_figure,
    render_figures,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).with_name("gpu_page.html")
VERDICTS = {  # of one goal, and of several
    "holds": ("holds", "hold"),
    "does not hold": ("does not hold", "do not hold"),
    "inconclusive": ("is inconclusive", "are inconclusive"),
    "not measured": ("was not measured", "were not measured"),
}
VERDICT_COLORS = {"holds": "#1a7f37", "does not hold": "#b3261e"}

Document = Mapping[str, Any]


def write_page(document: Document, path: Path) -> None:
    """Write the page of a document."""
    draw = {}
    if _shares(document):
        draw["goals"] = lambda: goals_figure(document)
    if figures_of(document, "weighters"):
        draw["weighters"] = lambda: weighters_figure(document)
    figures = {name: svg for name, (_, svg) in render_figures(draw).items()}
    template = template_environment().from_string(TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(
        document=document,
        machine=document["machine"],
        settings=document["settings"],
        found={name: figures_of(document, name) for name in document["sections"]},
        missing={name: _missing(section) for name, section in document["sections"].items()},
        names={
            "epoch": EPOCH, "step": STEP, "bare": BARE,
            "last": CHANNELS_LAST, "contiguous": CONTIGUOUS,
        },
        summary=[_summary(document)],
        costs=_costs_by_level(document),
        figures=figures,
    )  # fmt: skip
    write_text(path, page)


def _summary(document: Document) -> str:
    verdicts = [goal["verdict"] for goal in document["goals"]]
    counts = {name: verdicts.count(name) for name in VERDICTS}
    said = [
        f"{counts[name]} {texts[counts[name] > 1]}"
        for name, texts in VERDICTS.items()
        if counts[name]
    ]
    return f"Of {len(verdicts)} goals {', '.join(said)}."


def _missing(section: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return what of a section was skipped or has failed, with its reason."""
    found = []
    for name, part in section["parts"].items():
        if part["status"] != "measured":
            found.append((name, part["status"], part["reason"]))
            continue
        for entry, rate in part["figures"].get("rates", {}).items():
            if "reason" in rate:
                found.append((f"{name}, {entry}", "failed", rate["reason"]))
        for weighter in part["figures"].get("failed", ()):
            found.append((f"{name}, {weighter}", "failed", "see gpu.log"))
    return found


def _costs_by_level(document: Document) -> dict[str, dict[str, Any]]:
    """Return each weighter's cost by the level of its gradients."""
    found: dict[str, dict[str, Any]] = {}
    for figures in figures_of(document, "weighters").values():
        for name, cost in figures["costs"].items():
            found.setdefault(name, {})[figures["level"]] = cost
    return found


def _shares(document: Document) -> list[dict[str, Any]]:
    """Return the goals for the share of the bare step that were measured."""
    goals = [goal for goal in document["goals"] if goal["target"] == f"at least {SHARE}"]
    return [goal for goal in goals if goal["value"] is not None]


def goals_figure(document: Document) -> "Figure":
    """Return the ratios that were held against the goal for the share of the bare step."""
    goals = _shares(document)
    figure = new_figure(72 + 24 * len(goals))
    axes = figure.add_subplot()
    axes.axvline(SHARE, color="black", linewidth=0.8)
    for place, goal in enumerate(goals):
        color = VERDICT_COLORS.get(goal["verdict"], GRAY)
        axes.plot([goal["low"], goal["high"]], [place, place], color=color, linewidth=2)
        axes.plot(goal["value"], place, "o", color=color, markersize=6)
    axes.set_yticks(range(len(goals)), [goal["name"] for goal in goals])
    axes.set_ylim(len(goals) - 0.5, -0.5)
    axes.set_xlim(0, min(2, max(1.05, *(goal["high"] for goal in goals))))
    axes.set_xlabel("share of the bare step's rate")
    hide_frame(axes)
    return figure


def weighters_figure(document: Document) -> "Figure":
    """Return the time of a step of each weighter over one of equal, by level of the gradients."""
    costs = _costs_by_level(document)
    figure = new_figure(80 + 18 * len(costs))
    axes = figure.add_subplot()
    colors = {"features": BLUE, "parameters": ORANGE}
    for place, levels in enumerate(costs.values()):
        for level, cost in levels.items():
            ends = [cost["ratio_low"], cost["ratio_high"]]
            axes.plot(ends, [place, place], color=colors[level], linewidth=2)
            axes.plot(cost["ratio"], place, "o", color=colors[level], markersize=5)
    axes.set_yticks(range(len(costs)), list(costs))
    axes.set_ylim(len(costs) - 0.5, -0.5)
    if "parameters" in {level for levels in costs.values() for level in levels}:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: "")
    largest = max(cost["ratio"] for levels in costs.values() for cost in levels.values())
    axes.set_xlim(0.5, 1.5 * largest)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("time of a step over one of equal")
    hide_frame(axes)
    return figure
