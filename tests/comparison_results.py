"""Results of a comparison made by hand, for its pages and plots."""

import math

import numpy as np

from deepchest_cli.comparison.analysis.metrics import summary_metrics

HOSTILE = '<script>alert("1")</script>&'
FINDINGS = ("Mass", HOSTILE)
FEW = "too few patients carry the metric"
NAMES = {one.name: one.title for one in summary_metrics(np.array([0]))}


def quality(mean, sd=0.0125):
    return {"mean": mean, "sd": sd, "low": mean - 0.1, "high": mean + 0.1, "by_seed": [mean] * 3}


def difference(estimate, half=0.0625, verdict="inconclusive", p=0.5):
    low, high = (None, None) if half is None else (estimate - half, estimate + half)
    return {
        "estimate": estimate, "low": low, "high": high, "p": p, "p_holm": p, "verdict": verdict,
        "untested": FEW if p is None else None, "seeds": 3, "seeds_needed": 9,
        "patients_factor_needed": 2.5,
    }  # fmt: skip


def run(seed, status="finished", error=None):
    return {
        "seed": seed, "fold": None, "status": status, "error": error, "earlier_errors": [],
        "epochs": 9, "best_epoch": 4,
        "validation_score": math.nan if error else 0.75,
    }  # fmt: skip


def entry(mean=0.75, found=None, single=None, findings=FINDINGS):
    """Return a weighter's results; `found` is its difference, None for the baseline."""
    return {
        "status": "finished", "mean_rank": 1.5, "delta_m": single,
        "metrics": dict.fromkeys(NAMES, quality(mean)),
        "finding_metrics": {name: {"auroc": quality(mean)} for name in findings},
        "differences": found and dict.fromkeys(NAMES, found),
        "finding_differences": found and {name: {"auroc": found} for name in findings},
        "runs": [run(seed) for seed in range(3)], "data_sets": {},
    }  # fmt: skip


def data_set(name, images=20):
    return {
        "name": name, "folder": HOSTILE, "sha256": "c" * 64, "split_scheme": "random",
        "test_images": images, "test_patients": 9,
    }  # fmt: skip


def of_two_data_sets(results):
    """Return the results with two data sets, the second one's name hostile."""
    results["data"]["data_sets"] = [data_set("one", 12), data_set(HOSTILE, 8)]
    for place, one in enumerate(results["weighters"].values()):
        if one["metrics"]:
            found = place and dict.fromkeys(NAMES, difference(0.125 * place, verdict="better"))
            results_of_one = {"metrics": one["metrics"], "differences": found or None}
            one["data_sets"] = dict.fromkeys(("one", HOSTILE), results_of_one)
    return results


DIVERGED = {
    "status": "diverged", "metrics": None, "finding_metrics": None, "differences": None,
    "finding_differences": None, "mean_rank": math.nan, "delta_m": None, "data_sets": {},
    "runs": [run(0, "diverged", f"the loss is NaN {HOSTILE}")],
}  # fmt: skip


def claim_row(subject, tested=True):
    verdict, reason = ("does not hold", None) if tested else ("not measured", HOSTILE)
    low, high = (0.5, 1.5) if tested else (None, None)
    return {
        "subject": subject, "estimate": 1.0, "low": low, "high": high, "largest": None,
        "p_holds": 0.9, "p_fails": 0.001, "verdict": verdict, "reason": reason,
    }  # fmt: skip


def cost(ratio):
    return {
        "ratio": ratio, "ratio_low": ratio - 0.25, "ratio_high": ratio + 0.25,
        "synchronized_ratio": ratio + 1, "synchronized_ratio_low": ratio,
        "synchronized_ratio_high": ratio + 2,
        "images_per_second": 1234.5, "peak_memory": None if ratio > 1 else 1_500_000_000,
        "state_bytes": 1120, "passes": "1 forward, 1 backward",
    }  # fmt: skip


def comparison_results(findings=FINDINGS, others=()):
    """Return results of weighters that end in every way; others: labels of more, inconclusive."""
    worse, better = difference(-0.25, verdict="worse", p=1e-6), difference(0.125, 0.0625, "better")
    weighters = {
        "equal": entry(findings=findings),
        "worst": entry(0.5, worse, findings=findings),
        "diverging": DIVERGED,
        "best": entry(0.875, {**better, "p_holm": 0.01}, {"mean": 12.5}, findings),
        "untested": entry(0.625, difference(-0.125, half=None, p=None), findings=findings),
    }
    weighters |= {label: entry(0.75, difference(0.0), findings=findings) for label in others}
    return {
        "deepchest": "0.2.0", "summary": [HOSTILE], "weighters": weighters,
        "single_task_unfinished": [],
        "claims": [{
            "name": "speed", "quote": "fast", "claim": "It is fast.", "result": HOSTILE,
            "verdict": "does not hold", "readings": [{
                "reading": "3 times as fast", "holds_above": 3.0, "fails_below": 3.0,
                "verdict": "does not hold", "rows": [claim_row(HOSTILE), claim_row("mgda", False)],
            }],
        }],
        "costs": {"equal": cost(1.0), "best": cost(2.0), **dict.fromkeys(others, cost(1.5))},
        "shared_starts": [{
            "seed": 0, "fold": None, "runs": 5,
            "initial_weights_sha256": "a" * 64, "batches_sha256": ["b" * 64],
        }],
        "data": {
            "sha256": "c" * 64, "synthetic": False, "images": 90,
            "training_images": 60, "validation_images": 10, "test_images": 20, "test_patients": 9,
            "data_sets": [data_set("one")],
            "findings": {name: {"positives": 7} for name in findings},
        },
        "design": {
            "baseline": "equal", "margin": 0.005,
            "weighters": list(weighters), "seeds": [0, 1, 2], "folds": None,
            "interim_analyses": [{"missing_runs": 0}], "metrics": NAMES,
            "rarest_tertile": ["Mass"], "tuning": [],
            "learning_rates": {"equal": 0.00025}, "settings": {"backbone": HOSTILE},
        },
    }  # fmt: skip
