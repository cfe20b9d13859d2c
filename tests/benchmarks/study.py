"""The study's numbers, table and plot, from its records alone; docs/study.md is the protocol.

`seeds` estimates how many seeds are needed, from the pilot of equal weighting and its twin or,
blind, from the first seeds of the study: it shows variances, and no difference. `report` prints
the results once all seeds are there, and draws the weights. `steps` says whether differences of
single findings go with how far their weights would move their heads.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from study_records import SeedRecord, missing_seeds, read_all
from study_sample import IMAGES, POSITIVES, RECORDS

from deepchest_cli.comparison.analysis.document import RESAMPLING_SEED
from deepchest_cli.comparison.analysis.evidence import DEEPCHEST
from deepchest_cli.comparison.analysis.metrics import (
    MACRO_ACCURACY,
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
from deepchest_cli.comparison.running.jobs import BASELINE
from deepchest_cli.config import TrainConfig
from deepchest_cli.evaluation.bootstrap import resample_patients
from deepchest_cli.evaluation.statistics import LEVEL, Difference
from deepchest_cli.reporting.numbers import interval, number, p_value, signed
from deepchest_cli.reporting.weight_chart import draw_weights, weight_charts
from deepchest_cli.training.optimization import learning_rate, optimizer_of, set_learning_rate
from deepchest_cli.weighting import DeepChestWeighter, Performance

RAREST = ("Hernia", "Pneumonia", "Fibrosis", "Edema", "Emphysema")  # of all of NIH
MARGIN = 0.005
ARMS = 3  # that are compared with equal weighting
MIN_SEEDS, MAX_SEEDS = 20, 60
REPLICATES = 1000
MIN_SPREAD = 2.0  # of the weights; with less a run says nothing of weighting
METRICS = ("auroc", "accuracy")


def scores_of(records: Sequence[SeedRecord]) -> dict[str, Scores]:
    """Return AUROC and accuracy of each arm, on the same resampled patients."""
    first = records[0]
    resampling = resample_patients(first.patient, REPLICATES, RESAMPLING_SEED)
    return {
        arm: score([record.predictions(arm) for record in records], resampling, metrics=METRICS)
        for arm in first.arms
    }


def chosen_metrics(findings: Sequence[str]) -> tuple[SummaryMetric, ...]:
    """Return what the arms are compared by, the primary metric first."""
    columns = np.array([findings.index(name) for name in RAREST])
    tertile = next(one for one in summary_metrics(columns) if one.name == "rarest_tertile_auroc")
    rarest = replace(
        tertile,
        name="rarest_auroc",
        title=f"Mean AUROC of {', '.join(RAREST[:-1])} and {RAREST[-1]}",
    )
    return MACRO_AUROC, rarest, MACRO_ACCURACY


def seeds_needed(found: Difference) -> int | None:
    """Return how many seeds find a difference of the margin, at the level of the arms together.

    None: more than `seeds_needed` of a difference ever says, or the patients are too few.
    """
    return found.seeds_needed(MARGIN, LEVEL / ARMS)


def detectable(row: Mapping[str, Any], tests: int) -> float | None:
    """Return the true difference that a row of `tested` finds, as one of so many tests."""
    found = Difference(
        row["estimate"],
        row["seeds"],
        row["seed_variance"],
        row["patient_variance"],
        patients=row["effective_patients"],
    )
    return found.detectable(LEVEL / tests)


def variances(records: Sequence[SeedRecord]) -> Iterator[str]:
    """Yield variances of the differences in macro AUROC and the seeds needed; no difference."""
    scores, needed = scores_of(records), []
    yield "| arm | SD by seed | SD by patient | seeds needed |"
    yield "|---|---|---|---|"
    for arm, one in scores.items():
        if arm == BASELINE:
            continue
        samples = MACRO_AUROC.of(one), MACRO_AUROC.of(scores[BASELINE])
        found = paired(*samples, MACRO_AUROC.carriers(scores[BASELINE]))
        if found.untested:
            yield f"| `{arm}` | | | unknown: {found.untested} |"
            continue
        by_seed, by_patient = (
            number(None if value is None else value**0.5, 4)
            for value in (found.seed_variance, found.patient_variance)
        )
        own = seeds_needed(found)
        needed.append(own or MAX_SEEDS)
        yield f"| `{arm}` | {by_seed} | {by_patient} | {own or f'more than {MAX_SEEDS}'} |"
    if needed:
        chosen = min(max(MIN_SEEDS, *needed), MAX_SEEDS)
        yield f"\nSeeds, the most of any arm from {MIN_SEEDS} to {MAX_SEEDS}: {chosen}"


def spreads(records: Sequence[SeedRecord], arm: str) -> np.ndarray:
    """Return the largest over the smallest weight of each run and epoch, (R, E)."""
    weights = np.concatenate([record.weights[record.arms.index(arm)] for record in records])
    smallest = weights.min(axis=-1)
    unbounded = np.full_like(smallest, np.inf)
    return np.divide(weights.max(axis=-1), smallest, out=unbounded, where=smallest > 0)


def is_harmed(row: Mapping[str, Any]) -> bool:
    """Return whether a finding's AUROC is significantly lower, however little."""
    return row["estimate"] < 0 and row["p_holm"] is not None and row["p_holm"] < LEVEL


def results(records: Sequence[SeedRecord]) -> dict[str, Any]:
    """Return all that the report says, in plain values.

    By arm: `metrics` and `differences` by metric, `finding_differences` by finding (rows of
    `tested`, and `detectable`, the AUROC that would be found), `harmed` findings, `spread` of the
    weights by epoch, the share `runs_spread_enough` of runs.
    """
    findings, scores = records[0].findings, scores_of(records)
    metrics, others = chosen_metrics(findings), [arm for arm in scores if arm != BASELINE]
    rows = differences({arm: scores[arm] for arm in others}, scores[BASELINE], metrics, MARGIN, {})
    for row in (row for by_metric in rows.values() for row in by_metric.values()):
        row["detectable"] = detectable(row, len(others))
    pairs = [(arm, column) for arm in others for column in range(len(findings))]
    found = [finding_difference(scores[arm], scores[BASELINE], "auroc", i) for arm, i in pairs]
    by_finding: dict[str, Any] = {arm: {} for arm in others}
    for (arm, column), row in zip(pairs, tested(found, False, None), strict=True):
        by_finding[arm][findings[column]] = {**row, "detectable": detectable(row, len(pairs))}
    return {
        "seeds": [record.seed for record in records],
        "radiographs": len(records[0].labels),
        "patients": len(np.unique(records[0].patient)),
        "all_negative_accuracy": float(1 - records[0].labels.mean()),
        "titles": {one.name: one.title for one in metrics},
        "metrics": {
            arm: {one.name: describe(one.of(own)) for one in metrics} for arm, own in scores.items()
        },
        "differences": rows,
        "finding_differences": by_finding,
        "harmed": {
            arm: [name for name, row in table.items() if is_harmed(row)]
            for arm, table in by_finding.items()
        },
        "spread": {arm: spreads(records, arm).mean(axis=0).tolist() for arm in scores},
        "runs_spread_enough": {
            arm: float((spreads(records, arm)[:, -1] >= MIN_SPREAD).mean()) for arm in scores
        },
    }


def tables(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the results as tables in Markdown."""
    yield (
        f"{len(found['seeds'])} seeds, {found['radiographs']} radiographs of "
        f"{found['patients']} patients; accuracy of answering no to everything: "
        f"{number(found['all_negative_accuracy'], 4)}"
    )
    for metric, title in found["titles"].items():
        yield from _table_of_metric(found, metric, title)
    epochs = len(found["spread"][BASELINE])
    yield f"\n| arm | largest over smallest weight in epoch {epochs} | runs of 2 or more | harmed |"
    yield "|---|---|---|---|"
    for arm, spread in found["spread"].items():
        share, harmed = found["runs_spread_enough"][arm], found["harmed"].get(arm, [])
        yield f"| `{arm}` | {spread[-1]:.2f} | {share:.0%} | {', '.join(harmed) or 'none'} |"
    yield "\n| finding | " + " | ".join(f"`{arm}`" for arm in found["finding_differences"]) + " |"
    yield "|---" * (1 + len(found["finding_differences"])) + "|"
    for finding in POSITIVES:
        rows = [table[finding] for table in found["finding_differences"].values()]
        cells = (
            f"{signed(row['estimate'], 4)} (p {p_value(row['p_holm'])}; "
            f"detectable {number(row['detectable'], 3)})"
            for row in rows
        )
        yield f"| {finding} | " + " | ".join(cells) + " |"


def _table_of_metric(found: Mapping[str, Any], metric: str, title: str) -> Iterator[str]:
    """Yield a metric's table; an arm whose weights hardly spread has a verdict on itself alone."""
    yield f"\n{title}:\n"
    yield "| arm | mean | difference to equal (95 %, simultaneous) | detectable | p | verdict |"
    yield "|---|---|---|---|---|---|"
    for arm, values in found["metrics"].items():
        mean = number(values[metric]["mean"], 4)
        row = found["differences"].get(arm, {}).get(metric)
        if row is None:
            yield f"| `{arm}` | {mean} | | | | |"
            continue
        verdict = row["verdict"] if metric != MACRO_ACCURACY.name else ""
        if verdict and found["spread"][arm][-1] < MIN_SPREAD:
            verdict += ", not on weighting: the weights hardly spread"
        ends = f"{signed(row['estimate'], 4)} ({interval(row, 4, sign=True)})"
        detectable = number(row["detectable"], 4)
        p = p_value(row["p_holm"])
        yield f"| `{arm}` | {mean} | {ends} | {detectable} | {p} | {verdict} |"


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


def step_sizes(records: Sequence[SeedRecord], arm: str) -> np.ndarray:
    """Return how far a run would move the head of each finding, relative to weights of 1, (T,).

    Were gradients constant but for the mean weights of the runs; optimizer and learning rates are
    theirs. AdamW moves a head as far by any constant weight as by 1.
    """
    about = records[0].about
    kept = ("optimizer", "learning_rate", "schedule", "warmup_steps")
    config = TrainConfig(**{name: about["config"][name] for name in kept})
    steps = max(run["steps"] for run in about["runs"].values())
    weights = np.concatenate([record.weights[record.arms.index(arm)] for record in records])
    mean = torch.from_numpy(weights.mean(axis=0))
    gradients = torch.cat([mean, torch.ones(len(mean), 1)], dim=1)
    moved = torch.nn.Parameter(torch.zeros(gradients.shape[1]))
    optimizer = optimizer_of([{"params": [moved], "weight_decay": 0.0, "lr_scale": 1.0}], config)
    for step in range(steps):
        set_learning_rate(optimizer, learning_rate(config, step, steps))
        moved.grad = gradients[step * len(mean) // steps]
        optimizer.step()
    return (moved[:-1] / moved[-1]).detach().numpy()


def steps_and_differences(records: Sequence[SeedRecord]) -> Iterator[str]:
    """Yield how the differences of single findings follow the sizes of their heads' steps."""
    yield "| arm | path of a head, relative to weights of 1 | correlation with AUROC | same sign |"
    yield "|---|---|---|---|"
    all_sizes, all_found = [], []
    for arm, table in results(records)["finding_differences"].items():
        sizes = step_sizes(records, arm) - 1
        found = np.array([table[name]["estimate"] for name in records[0].findings])
        all_sizes.append(sizes)
        all_found.append(found)
        ends = f"{1 + sizes.min():.2f} to {1 + sizes.max():.2f}"
        yield f"| `{arm}` | {ends} | {_agreement(sizes, found)} |"
    yield f"| all | | {_agreement(np.concatenate(all_sizes), np.concatenate(all_found))} |"


def _agreement(sizes: np.ndarray, found: np.ndarray) -> str:
    correlation = number(float(np.corrcoef(sizes, found)[0, 1]), 2) if np.ptp(sizes) else "–"
    return f"{correlation} | {int((sizes * found > 0).sum())} of {len(sizes)}"


def draw(records: Sequence[SeedRecord], path: Path) -> None:
    """Draw the weights of the authors' rule over the epochs, measured and simulated."""
    if DEEPCHEST not in records[0].arms:
        raise SystemExit(f"--plot: the records have no arm {DEEPCHEST}.")
    weights = np.concatenate([one.weights[one.arms.index(DEEPCHEST)] for one in records])
    measured = dict(zip(records[0].findings, weights.mean(axis=0).T.astype(float), strict=True))
    charts = weight_charts([measured, simulated(weights.shape[1])], one_scale=True)
    titles = ("On the sample, mean of all runs", "Simulated at the prevalences of NIH")
    draw_weights(titles, charts).savefig(path, dpi="figure")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["seeds", "report", "steps"])
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--plot", type=Path, help="of the weights, in a report")
    options = parser.parse_args(arguments)
    records = read_all(options.records)
    if options.action == "seeds":
        print("\n".join(variances(records)))
        return
    if missing := missing_seeds(records):
        planned = len(records) + len(missing)
        raise SystemExit(
            f"{options.records} has {len(records)} seeds of {planned}; missing: "
            f"{', '.join(map(str, missing))}. The results are looked at once, when all are there."
        )
    tell = steps_and_differences(records) if options.action == "steps" else tables(results(records))
    print("\n".join(tell))
    if options.plot:
        draw(records, options.plot)


if __name__ == "__main__":
    main()
