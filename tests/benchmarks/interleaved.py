"""Rates measured in turn, so that a noisy machine disturbs all of them alike."""

import platform
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

Measure = Callable[[], float]  # one round; returns a rate: higher is better


def compare(candidates: Mapping[str, Measure], rounds: int, unit: str = "images/s") -> None:
    """Print each candidate's rate, and how many times as fast the first one is."""
    rates: dict[str, list[float]] = {name: [] for name in candidates}
    for measure in candidates.values():
        measure()  # warm up
    for _ in range(rounds):
        for name, measure in candidates.items():
            rates[name].append(measure())
    first = next(iter(rates.values()))
    for name, found in rates.items():
        ratios = [one / other for one, other in zip(first, found, strict=True)]
        print(f"  {name}: {_spread(found, ',.1f')} {unit}, ratio {_spread(ratios, '.2f')}")


def _spread(values: list[float], form: str) -> str:
    low, middle, high = (
        format(value, form) for value in (min(values), statistics.median(values), max(values))
    )
    return f"median {middle} ({low} to {high})"


def conditions(**more: object) -> None:
    """Print what the figures depend on."""
    stated = {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        **more,
    }
    print("; ".join(f"{key.replace('_', ' ')} {value}" for key, value in stated.items()))


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
