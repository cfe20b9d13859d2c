"""What the plots of a comparison show, in words for those who cannot see them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from deepchest_cli.comparison.analysis.summary import shortened, shown_verdict
from deepchest_cli.comparison.output.plots import Results, Traces, compared
from deepchest_cli.data.text import count_of
from deepchest_cli.evaluation.statistics import LEVEL
from deepchest_cli.reporting.numbers import interval, number, signed


def descriptions(results: Results, traces: Traces) -> dict[str, str]:
    """Return the alternative text of each figure of a comparison, by the figure's name."""
    return {
        "differences": _differences(results),
        "findings": _findings(results),
        "cost": _cost(results),
        "weights": _weights(traces),
    }


def _differences(results: Results) -> str:
    """Return each weighter's difference with its interval, the best first."""
    rows = []
    for label, entry in compared(results).items():
        row = entry["differences"]["macro_auroc"]
        ends = "" if row["low"] is None else f" ({interval(row, 4, sign=True)})"
        rows.append(f"{shortened(label)} {signed(row['estimate'], 4)}{ends}, {shown_verdict(row)}")
    margin = results["design"]["margin"]
    return (
        f"Forest plot of differences in macro AUROC to equal weighting, with the margin of "
        f"{margin:g} on either side of zero: {'; '.join(rows)}."
    )


def _findings(results: Results) -> str:
    """Return the largest gain and loss of a finding, and how many differences are significant."""
    cells = [
        (found["auroc"], finding, shortened(label))
        for label, entry in compared(results).items()
        for finding, found in entry["finding_differences"].items()
    ]
    defined = [cell for cell in cells if np.isfinite(cell[0]["estimate"])]
    size = (
        f"{count_of(len(results['data']['findings']), 'finding')} and "
        f"{count_of(len(compared(results)), 'weighter')}"
    )
    text = f"Heat map of the differences in AUROC to equal weighting of {size}"
    if not defined:
        return f"{text}: none is defined."
    significant = sum(_is_significant(row) for row, *_ in defined)
    low, high = (pick(defined, key=lambda c: c[0]["estimate"]) for pick in (min, max))
    ends = f"from {_cell(low)} to {_cell(high)}"
    return f"{text}: {ends}; {significant:,} of {len(cells):,} significant."


def _is_significant(row: Mapping[str, Any]) -> bool:
    return row["p_holm"] is not None and row["p_holm"] < LEVEL


def _cell(cell: tuple[Mapping[str, Any], str, str]) -> str:
    row, finding, label = cell
    return f"{signed(row['estimate'])} ({finding}, {label})"


def _cost(results: Results) -> str:
    """Return the step time of each weighter that is compared."""
    times = [
        f"{shortened(label)} {number(results['costs'][label]['ratio'], 2)}"
        for label in compared(results)
        if label in results["costs"]
    ]
    return (
        "Difference in macro AUROC to equal weighting against the time of a step relative to equal "
        f"weighting: {', '.join(times) or 'no weighter was timed'}."
    )


def _weights(traces: Traces) -> str:
    """Return the smallest and the largest weight of each weighter at the end."""
    rows = []
    for label, columns in traces.items():
        finite = {finding: values[np.isfinite(values)] for finding, values in columns.items()}
        last = {finding: values[-1] for finding, values in finite.items() if len(values)}
        if last:
            low, high = min(last, key=last.__getitem__), max(last, key=last.__getitem__)
            text = f"{number(last[low])} ({low}) to {number(last[high])} ({high})"
            same = last[low] == last[high]
            rows.append(f"{shortened(label)} {f'{number(last[low])} for all' if same else text}")
    return f"Task weights over the epochs, in the last epoch: {'; '.join(rows)}."
