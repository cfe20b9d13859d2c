"""The study's numbers, table and plot, from its records alone; docs/study.md is the protocol.

`power` says how many seeds the pilot of equal weighting and its twin calls for. `blind` estimates
the variances anew from the records, and shows nothing else. `report` prints the results, and draws
the weights.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from study_records import SeedRecord, read_all
from study_sample import IMAGES, POSITIVES, RECORDS

from deepchest_cli.comparison.analysis.metrics import (
    MACRO_AUROC,
    SummaryMetric,
    describe,
    differences,
    finding_difference,
    paired,
    summary_metrics,
    tested,
)
from deepchest_cli.comparison.analysis.scores import Scores, score
from deepchest_cli.evaluation.bootstrap import resample_patients
from deepchest_cli.evaluation.statistics import LEVEL, WORSE, Difference
from deepchest_cli.reporting.numbers import interval, number, p_value, signed
from deepchest_cli.reporting.weight_chart import draw_weights, weight_charts
from deepchest_cli.weighting import DeepChestWeighter, Performance

BASELINE, AUTHORS = "equal", "deepchest"
RAREST = ("Hernia", "Pneumonia", "Fibrosis", "Edema", "Emphysema")  # of NIH, and of the sample
MARGIN = 0.005
ARMS = 3  # that are compared with equal weighting
LEAST_SEEDS = 20
REPLICATES, RESAMPLING_SEED = 1000, 0
LEAST_SPREAD = 2.0  # of the weights; with less a run says nothing of weighting
METRICS = ("macro_auroc", "rarest_tertile_auroc", "macro_accuracy")


def scores_of(records: Sequence[SeedRecord]) -> dict[str, Scores]:
    """Return the metrics of each arm, on the same resampled patients."""
    first = records[0]
    resampling = resample_patients(first.patient, REPLICATES, RESAMPLING_SEED)
    return {
        arm: score([record.predictions(arm) for record in records], resampling)
        for arm in first.arms
    }


def chosen_metrics(findings: Sequence[str]) -> tuple[SummaryMetric, ...]:
    """Return what the arms are compared by, the primary metric first."""
    rarest = np.array([findings.index(name) for name in RAREST if name in findings])
    return tuple(one for one in summary_metrics(rarest) if one.name in METRICS)


def seeds_needed(found: Difference) -> int | None:
    """Return how many seeds find a difference of the margin, corrected for all arms."""
    return found.seeds_needed(MARGIN, LEVEL / ARMS)


def variances(records: Sequence[SeedRecord]) -> Iterator[str]:
    """Yield what variances and seeds the differences of each arm have, and no difference."""
    scores = scores_of(records)
    yield "| arm | SD by seed | SD by patient | seeds needed |"
    yield "|---|---|---|---|"
    for arm, one in scores.items():
        if arm == BASELINE:
            continue
        samples = MACRO_AUROC.of(one), MACRO_AUROC.of(scores[BASELINE])
        found = paired(*samples, MACRO_AUROC.carriers(scores[BASELINE]))
        by_seed, by_patient = (
            number(None if value is None else value**0.5, 4)
            for value in (found.seed_variance, found.patient_variance)
        )
        yield f"| `{arm}` | {by_seed} | {by_patient} | {seeds_needed(found) or 'more than 1,000'} |"


def spreads(records: Sequence[SeedRecord], arm: str) -> np.ndarray:
    """Return the largest over the smallest weight of each run and epoch, (R, E)."""
    weights = np.concatenate([record.weights[record.arms.index(arm)] for record in records])
    return weights.max(axis=-1) / weights.min(axis=-1)


def results(records: Sequence[SeedRecord]) -> dict[str, Any]:
    """Return all that the report says, in plain values."""
    findings, scores = records[0].findings, scores_of(records)
    metrics, others = chosen_metrics(findings), [arm for arm in scores if arm != BASELINE]
    rows = differences({arm: scores[arm] for arm in others}, scores[BASELINE], metrics, MARGIN, {})
    pairs = [(arm, column) for arm in others for column in range(len(findings))]
    found = [finding_difference(scores[arm], scores[BASELINE], "auroc", i) for arm, i in pairs]
    by_finding: dict[str, Any] = {arm: {} for arm in others}
    for (arm, column), row in zip(pairs, tested(found, False, MARGIN), strict=True):
        by_finding[arm][findings[column]] = row
    return {
        "seeds": [record.seed for record in records],
        "radiographs": len(records[0].labels),
        "patients": len(np.unique(records[0].patient)),
        "all_negative_accuracy": float(1 - records[0].labels.mean()),
        "metrics": {
            arm: {one.name: describe(one.of(own)) for one in metrics} for arm, own in scores.items()
        },
        "differences": rows,
        "finding_differences": by_finding,
        "harmed": {
            arm: [name for name, row in table.items() if row["verdict"] == WORSE]
            for arm, table in by_finding.items()
        },
        "spread": {arm: spreads(records, arm).mean(axis=0).tolist() for arm in scores},
        "runs_spread_enough": {
            arm: float((spreads(records, arm)[:, -1] >= LEAST_SPREAD).mean()) for arm in scores
        },
    }


def tables(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the results as tables in Markdown."""
    yield (
        f"{len(found['seeds'])} seeds, {found['radiographs']} radiographs of "
        f"{found['patients']} patients; accuracy of answering no to everything: "
        f"{number(found['all_negative_accuracy'], 4)}"
    )
    for metric in METRICS:
        yield f"\n| {metric} | mean | difference to equal | p (Holm) | verdict |"
        yield "|---|---|---|---|---|"
        for arm, values in found["metrics"].items():
            mean = number(values[metric]["mean"], 4)
            row = found["differences"].get(arm, {}).get(metric)
            if row is None:
                yield f"| `{arm}` | {mean} | | | |"
                continue
            verdict = row["verdict"] if metric != "macro_accuracy" else ""
            ends = f"{signed(row['estimate'], 4)} ({interval(row, 4, sign=True)})"
            yield f"| `{arm}` | {mean} | {ends} | {p_value(row['p_holm'])} | {verdict} |"
    yield "\n| arm | spread of the weights after 15 epochs | runs of 2 to 1 or more | harmed |"
    yield "|---|---|---|---|"
    for arm, spread in found["spread"].items():
        share, harmed = found["runs_spread_enough"][arm], found["harmed"].get(arm, [])
        yield f"| `{arm}` | {spread[-1]:.2f} | {share:.0%} | {', '.join(harmed) or 'none'} |"
    yield "\n| finding | " + " | ".join(f"`{arm}`" for arm in found["finding_differences"]) + " |"
    yield "|---" * (1 + len(found["finding_differences"])) + "|"
    for finding in POSITIVES:
        rows = [table[finding] for table in found["finding_differences"].values()]
        cells = (f"{signed(row['estimate'], 4)} (p {p_value(row['p_holm'])})" for row in rows)
        yield f"| {finding} | " + " | ".join(cells) + " |"


def simulated(epochs: int) -> dict[str, np.ndarray]:
    """Return the weights (E,) that the authors' rule has in each epoch at NIH's prevalences.

    The accuracy of a finding is that of answering no to everything, which training exceeds by
    little.
    """
    weighter = DeepChestWeighter(tuple(POSITIVES))
    accuracy = 1 - torch.tensor(list(POSITIVES.values()), dtype=torch.float64) / IMAGES
    trace = []
    for _ in range(epochs):
        trace.append(weighter.weights.tolist())
        weighter.end_epoch(Performance({"accuracy": accuracy}))
    return dict(zip(POSITIVES, np.array(trace).T, strict=True))


def draw(records: Sequence[SeedRecord], path: Path) -> None:
    """Draw the weights of the authors' rule over the epochs, measured and simulated."""
    weights = np.concatenate([one.weights[one.arms.index(AUTHORS)] for one in records])
    measured = dict(zip(records[0].findings, weights.mean(axis=0).T.astype(float), strict=True))
    charts = weight_charts([measured, simulated(weights.shape[1])], one_scale=True)
    titles = ("On the sample, mean of all runs", "Simulated at the prevalences of NIH")
    draw_weights(titles, charts).savefig(path, dpi="figure")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["power", "blind", "report"])
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--plot", type=Path, help="of the weights, in a report")
    options = parser.parse_args()
    records = read_all(options.records)
    if options.action != "report":
        print("\n".join(variances(records)))
        return
    print("\n".join(tables(results(records))))
    if options.plot:
        draw(records, options.plot)


if __name__ == "__main__":
    main()
