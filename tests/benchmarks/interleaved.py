"""Rates measured in turn, so that a noisy machine disturbs all of them alike."""

import platform
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

Measure = Callable[[], float]  # one round; returns a rate: higher is better


def in_turn(
    candidates: Mapping[str, Measure],
    rounds: int,
    on_failure: Callable[[str, Exception], None] | None = None,
    on_round: Callable[[int], None] = lambda number: None,
) -> dict[str, list[float]]:
    """Return each candidate's rates by round, after a round that warms up.

    on_failure: receives the error of a candidate, which is then left out; None: it is raised.
    """
    left, rates = dict(candidates), {name: list[float]() for name in candidates}
    for number in range(rounds + 1):
        for name, measure in list(left.items()):
            try:
                rate = measure()
            except Exception as error:
                if on_failure is None:
                    raise
                del left[name], rates[name], measure
                on_failure(name, error)
                continue
            if number:
                rates[name].append(rate)
        on_round(number)
    return rates


def compare(candidates: Mapping[str, Measure], rounds: int, unit: str = "images/s") -> None:
    """Print each candidate's rate, and how many times as fast the first one is."""
    rates = in_turn(candidates, rounds)
    first = next(iter(rates.values()))
    for name, found in rates.items():
        ratios = [one / other for one, other in zip(first, found, strict=True)]
        print(f"  {name}: {spread(found, ',.1f')} {unit}, ratio {spread(ratios, '.2f')}")


def spread(values: list[float], form: str) -> str:
    low, middle, high = (
        format(value, form) for value in (min(values), statistics.median(values), max(values))
    )
    return f"median {middle} ({low} to {high})"


def conditions(**more: object) -> None:
    """Print what the figures depend on."""
    stated = {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        **more,
    }
    print("; ".join(f"{key.replace('_', ' ')} {value}" for key, value in stated.items()))


def processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
