"""Every figure that the package can make, of results made by hand for any findings."""

from types import SimpleNamespace

import numpy as np

from deepchest_cli.comparison.output import plots as comparison
from deepchest_cli.evaluation.bootstrap import resample_patients
from deepchest_cli.evaluation.output import confident_errors, external
from deepchest_cli.evaluation.output import plots as evaluation
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.validation_fit import calibration_results
from deepchest_cli.model.logistic import sigmoid
from deepchest_cli.training import plots as training

PREVALENCES = (0.002, 0.6, 0.02, 0.15, 0.004, 0.4, 0.0005, 0.05, 0.9)
LONG = "Enlarged_Cardiomediastinum_Right"  # 32 letters
WEIGHTERS = (
    "equal", "deepchest", "deepchest floor=0.25,renormalize=mean,signal=average_precision", "dwa",
    "uncertainty", "gradnorm", "stch warmup_epochs=3",
)  # fmt: skip


def long_names(count):
    """Return different names of 32 letters, some as wide as letters can be."""
    return tuple(
        f"{'W' * 29 if place % 7 == 3 else LONG[:29]}_{place:02d}" for place in range(count)
    )


def predictions(names, images, signal=1.8):
    """Return predictions whose prevalences go from 0.05 % to 90 %, some of them overconfident."""
    random, columns = np.random.default_rng(0), []
    for place in range(len(names)):
        share = PREVALENCES[place % len(PREVALENCES)]
        labels = (random.random(images) < share).astype(np.uint8)
        weighted = 3.0 * (place % 3 == 0)  # as where positives are weighted
        logits = np.log(share / (1 - share)) - signal**2 / 2 + signal * random.normal(size=images)
        columns.append((labels, logits + signal**1.5 * labels + weighted))
    labels, logits = (np.stack(one, axis=1) for one in zip(*columns, strict=True))
    return Predictions(names, sigmoid(logits), labels, np.ones_like(labels), np.arange(images) // 3)


def interval(value, half=0.04):
    return {"value": value, "low": value - half, "high": value + half}


def calibrated(table):
    """Return a validation fit of slope 1 that takes the weight of positives back."""
    logits = np.log(table.probabilities) - np.log1p(-table.probabilities)
    shift = np.log(np.maximum(table.labels.mean(axis=0), 1e-4) / table.probabilities.mean(axis=0))
    known = {name: SimpleNamespace(slope=1.0, intercept=0.0) for name in table.findings}
    return SimpleNamespace(
        scalings=known, prevalence={}, uncalibrated={}, method="platt",
        calibrated=lambda _: sigmoid(logits + shift),
    )  # fmt: skip


def evaluation_document(names, images=4000):
    table = predictions(names, images)
    resampling = resample_patients(table.patient_id, 1, 0)
    point = {
        "specificity": interval(0.7), "sensitivity": interval(0.8),
        "tn": 17_404, "fp": 1202, "fn": 86, "tp": 3,
    }  # fmt: skip
    groups = [
        {
            "attribute": attribute, "group": name, "units": 12_345, "scored_findings": len(names),
            "suppressed": False, "macro_auroc": interval(0.7), "underdiagnosis": interval(0.1),
        }
        for attribute, name in (
            ("sex", "female"), ("sex and age", "female and 40 to 60 years"),
            ("manufacturer", "M" * 80),
        )
    ]  # fmt: skip
    document = {
        "unit": "image", "macro": {"auroc": 0.75}, "subgroups": {"groups": groups},
        "findings": {name: {"auroc": 0.8123, "average_precision": 0.0312} for name in names},
        "operating_points": {
            "reference_operating_point": "youden",
            "findings": {name: {"youden": point if place != 1 else None}
                         for place, name in enumerate(names)},
        },
        "calibration": calibration_results(table, calibrated(table), resampling),
    }  # fmt: skip
    return document, table


def evaluation_figures(names, images=4000):
    document, table = evaluation_document(names, images)
    return {
        "roc": evaluation.roc_figure(document, table),
        "precision-recall": evaluation.precision_recall_figure(document, table),
        "reliability": evaluation.reliability_figure(document),
        "confusion": evaluation.confusion_figure(document),
        "subgroups": evaluation.subgroups_figure(document),
        "errors": contact_sheet(names),
        "external": external_figure(names),
    }


def contact_sheet(names, count=10):
    errors = [
        confident_errors.ConfidentError(
            place, "a-very-long-file-name-of-a-hospital" * (place % 2) + f"{place:08d}_000.png",
            names[place % len(names)], confident_errors.FALSE_NEGATIVE, 0.0123, 0.4567,
        )
        for place in range(count)
    ]  # fmt: skip
    images = np.random.default_rng(0).integers(0, 256, (count, 16, 16), np.uint8)
    material = SimpleNamespace(
        dataset=SimpleNamespace(gather=lambda rows: images[rows]), rows=np.arange(count)
    )
    return confident_errors.contact_sheet(errors, material)


def external_figure(names):
    sets = [
        {
            "name": name, "macro_auroc": interval(0.7),
            "findings": {finding: {"auroc": interval(0.8 - 0.05 * place)} for finding in names},
        }
        for place, name in enumerate(("NIH ChestX-ray14", "CheXpert", "H" * 60, "MIMIC"))
    ]  # fmt: skip
    return external.forest_figure({"data_sets": sets, "findings": list(names)})


def difference(estimate, verdict="inconclusive", p=0.5):
    return {
        "estimate": estimate, "low": estimate - 0.01, "high": estimate + 0.01, "p": p,
        "p_holm": p,
        "verdict": verdict,
    }  # fmt: skip


def comparison_results(names, weighters=WEIGHTERS):
    verdicts = ("better", "worse", "equivalent", "inconclusive")
    entries = {}
    for place, label in enumerate(weighters):
        found = difference(0.004 * (place % 5 - 2), verdicts[place % 4], 0.01 * place)
        seeds = {"by_seed": [0.7, 0.71, 0.72 + 0.001 * place]}
        entries[label] = {
            "differences": {"macro_auroc": found} if place else None,
            "finding_differences": {name: {"auroc": found} for name in names},
            "metrics": {"macro_auroc": seeds}, "data_sets": {},
        }  # fmt: skip
    return {
        "design": {"baseline": weighters[0], "margin": 0.005},
        "weighters": entries,
        "data": {"findings": {name: {"positives": 12_345} for name in names}},
        "costs": {
            label: {"ratio": 1 + 0.01 * place, "ratio_low": 0.98, "ratio_high": 1.2}
            for place, label in enumerate(weighters)
        },
    }


def traces(names, epochs=12):
    """Return weights: all equal, all different, and in two groups."""
    time, finding = np.arange(epochs)[:, None], np.arange(len(names))
    tables = {
        "equal": np.ones((epochs, len(names))),
        "deepchest": np.clip(1.05 ** (time * np.sin(3 * finding + time / 4)), 0.2, 1.5),
        "dwa": np.where(finding % 3 == 0, 1.5 - 0.02 * time, 0.8 + 0.01 * time),
    }
    return {label: dict(zip(names, table.T, strict=True)) for label, table in tables.items()}


def comparison_figures(names):
    results = comparison_results(names)
    return {
        "differences": comparison.forest_figure(results),
        "findings": comparison.findings_figure(results),
        "cost": comparison.cost_figure(results),
        "task-weights": comparison.weights_figure(traces(names)),
    }


def training_figures(names, epochs=12):
    random = np.random.default_rng(0)
    epoch = np.arange(1.0, epochs + 1)
    scores = {
        f"validation_auroc/{name}": 0.6 + 0.03 * np.log(epoch) + 0.01 * random.normal(size=epochs)
        for name in names
    }
    columns = {
        "epoch": epoch, "best": (epoch <= 7) * 1.0, "training_loss": 0.3 / epoch,
        "validation_loss": 0.2 + 0.1 / epoch, "validation_auroc": 0.6 + 0.03 * np.log(epoch),
        **scores,
    }  # fmt: skip
    several = {"all": columns, "NIH ChestX-ray14": columns, "H" * 60: columns}
    weights = {"epoch": epoch}
    by_source = {"epoch": epoch}
    for place, (name, values) in enumerate(traces(names, epochs)["dwa"].items()):
        weights[name] = values
        by_source[f"{name} ({'ab'[place % 2]})"] = values
    return {
        "metrics": training.metrics_figure(columns),
        "sources": training.sources_figure(several),
        "weights": training.weights_figure(weights),
        "weights-by-source": training.weights_figure(by_source, ("a", "b")[: len(names)]),
    }
