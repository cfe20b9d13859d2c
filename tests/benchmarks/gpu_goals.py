"""What the figures of `gpu.py` are held against: the goals of the project for a GPU."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gpu_rates import BARE, EPOCH

from deepchest_cli.comparison.running.jobs import BASELINE
from deepchest_cli.weighting import WEIGHTERS

SHARE = 0.95  # of the rate with synthetic tensors and no loading
OWN_WORK = 1.01  # a step of deepchest over one of equal
SECOND_PASS = 1.5  # of famo, which computes the network's output twice
AT_FEATURES = 1.25  # of weighters that need task gradients

Document = Mapping[str, Any]
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Goal:
    """A goal, what was found with its 95 % interval, and whether it holds."""

    name: str
    target: str
    value: float | None
    low: float | None
    high: float | None
    verdict: str  # holds, does not hold, inconclusive, not measured
    reason: str = ""


def goals_of(document: Document) -> list[Goal]:
    """Return all goals; those without figures are not measured."""
    return [*_of_shares(document), *_of_epochs(document), *_of_weighters(document)]


def figures_of(document: Document, section: str) -> dict[str, Any]:
    """Return the figures of a section's measured parts by their names."""
    parts = document["sections"].get(section, {"parts": {}})["parts"]
    return {name: part["figures"] for name, part in parts.items() if part["status"] == "measured"}


def _of_shares(document: Document) -> Iterator[Goal]:
    name = f"{EPOCH} over the bare step".capitalize()
    parts = figures_of(document, "share")
    if not parts:
        yield _missing(name, f"at least {SHARE}")
    for part, figures in parts.items():
        for entry, found in figures["rates"].items():
            if not entry.startswith(EPOCH):
                continue
            title = f"{name}, {part}, {entry.rpartition(', ')[2]}"
            if found.get("ratio") is None:
                other = figures["rates"].get(f"{BARE}, {entry.rpartition(', ')[2]}", {})
                reason = found.get("reason") or other.get("reason", "")
                yield _missing(title, f"at least {SHARE}", reason)
            else:
                yield _at_least(title, SHARE, found["ratio"])


def _of_epochs(document: Document) -> Iterator[Goal]:
    name, parts = "Epoch of NIH's size over the bare step", figures_of(document, "epoch")
    if not parts:
        yield _missing(name, f"at least {SHARE}")
    for part, figures in parts.items():
        yield _at_least(f"{name}, {part}", SHARE, figures["share"])


def _of_weighters(document: Document) -> Iterator[Goal]:
    parts = figures_of(document, "weighters")
    costs = {
        name: {"value": cost["ratio"], "low": cost["ratio_low"], "high": cost["ratio_high"]}
        for figures in parts.values()
        if figures["level"] == "features"
        for name, cost in figures["costs"].items()
    }
    for name, bound in (("deepchest", OWN_WORK), ("famo", SECOND_PASS)):
        title = f"Step of {name} over one of {BASELINE}"
        found = costs.get(name)
        yield (
            _missing(title, f"at most {bound}") if found is None else _at_most(title, bound, found)
        )
    title = f"Slowest step by gradients at the features over one of {BASELINE}"
    gradient = {n: found for n, found in costs.items() if WEIGHTERS[n].kind == "gradient"}
    if not gradient:
        yield _missing(title, f"at most {AT_FEATURES}")
        return
    slowest = max(gradient, key=lambda name: gradient[name]["value"])
    yield _at_most(f"{title} ({slowest})", AT_FEATURES, gradient[slowest])


def _missing(name: str, target: str, reason: str = "") -> Goal:
    return Goal(name, target, None, None, None, NOT_MEASURED, reason)


def _at_least(name: str, bound: float, found: Mapping[str, float]) -> Goal:
    verdict = _verdict(found["low"] >= bound, found["high"] < bound)
    return Goal(name, f"at least {bound}", found["value"], found["low"], found["high"], verdict)


def _at_most(name: str, bound: float, found: Mapping[str, float]) -> Goal:
    verdict = _verdict(found["high"] <= bound, found["low"] > bound)
    return Goal(name, f"at most {bound}", found["value"], found["low"], found["high"], verdict)


def _verdict(holds: bool, fails: bool) -> str:
    """Judge by the whole interval."""
    return "holds" if holds else "does not hold" if fails else "inconclusive"
