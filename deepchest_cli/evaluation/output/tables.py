"""The CSV tables of an evaluation, and its predictions as MedMNIST's evaluator reads them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.evaluation_input import EvaluationInput
from deepchest_cli.evaluation.operating_points import RATES, RULES
from deepchest_cli.evaluation.reading.medmnist import (
    CHESTMNIST,
    is_medmnist,
    medmnist_name,
    write_medmnist,
)
from deepchest_cli.files import to_csv

Document = dict[str, Any]
NOTHING = {"value": None, "low": None, "high": None}


def tables(document: Document) -> dict[str, str]:
    """Return the tables by their file's name; those without a row are not written."""
    rows = {name: list(make(document)) for name, make in TABLES.items()}
    return {name: to_csv(list(found[0]), found) for name, found in rows.items() if found}


def finding_rows(document: Document) -> Iterator[Document]:
    """Yield a row for each finding and one for the macro mean, intervals beside their metrics."""
    keys: list[str] = []
    for name, values in [*document["findings"].items(), ("macro", document["macro"])]:
        row = {"finding": name, **{k: v for k, v in values.items() if not isinstance(v, dict)}}
        for metric, found in values["intervals"].items():
            row |= {f"{metric}_low": found["low"], f"{metric}_high": found["high"]}
        keys = keys or list(row)
        yield {key: row.get(key) for key in keys}


def data_set_rows(document: Document) -> Iterator[Document]:
    """Yield the rows of `finding_rows` for each of several data sets, and what is carried over."""
    pairs = zip(document["external_validation"]["data_sets"], document["data_sets"], strict=True)
    for one, its_own in pairs:
        drops = one["drop"] or {"macro_auroc": NOTHING, "findings": {}}
        for row in finding_rows(its_own):
            name = row["finding"]
            found = one["findings"].get(name)
            point = found and found["operating_point"]
            scaled = found and (found["calibration"]["after"] or found["calibration"]["before"])
            # over the findings of all data sets; `auroc` is over this one's own
            shared = NOTHING if found else one["macro_auroc"]
            drop = drops["findings"].get(name, NOTHING) if found else drops["macro_auroc"]
            yield {"data_set": one["name"], **row} | {
                "threshold": point and point["threshold"],
                **_flat("sensitivity", point["sensitivity"] if point else NOTHING),
                **_flat("specificity", point["specificity"] if point else NOTHING),
                **_flat("slope", scaled["slope"] if scaled else NOTHING),
                **_flat("intercept", scaled["intercept"] if scaled else NOTHING),
                **_flat("shared_macro_auroc", shared),
                **_flat("auroc_drop", drop),
            }


def _flat(name: str, found: Document) -> Document:
    return {name: found["value"], f"{name}_low": found["low"], f"{name}_high": found["high"]}


def _points(document: Document) -> Iterator[Document]:
    for finding, entry in document["operating_points"]["findings"].items():
        for rule in RULES:
            point = entry[rule]
            if point:
                row = {"finding": finding, "operating_point": rule, "threshold": point["threshold"]}
                row |= {key: point[key] for key in ("tp", "fp", "fn", "tn")}
                for rate in RATES:
                    row |= _flat(rate, point[rate])
                yield row


def _calibration(document: Document) -> Iterator[Document]:
    for finding, entry in document["calibration"]["findings"].items():
        scaling = entry["scaling"] or {"slope": None, "intercept": None}
        for when in ("before", "after"):
            if entry[when]:
                metrics = {k: v for k, v in entry[when].items() if k not in ("bins", "intervals")}
                for name, ends in entry[when]["intervals"].items():
                    metrics |= {f"{name}_low": ends["low"], f"{name}_high": ends["high"]}
                fitted = {f"fitted_{key}": value for key, value in scaling.items()}
                yield {"finding": finding, "calibration": when, **metrics, **fitted}


def _reliability(document: Document) -> Iterator[Document]:
    for finding, entry in document["calibration"]["findings"].items():
        for when in ("before", "after"):
            for number, one in enumerate(entry[when]["bins"] if entry[when] else ()):
                yield {"finding": finding, "calibration": when, "bin": number + 1, **one}


def _groups(document: Document) -> Iterator[Document]:
    for group in document["subgroups"]["groups"]:
        about = {key: group[key] for key in ("attribute", "group", "images", "units", "patients")}
        own = {"auroc": group["macro_auroc"], "underdiagnosis": group["underdiagnosis"]}
        macro = group["differences"] or {}
        gains = {"auroc": macro.get("macro_auroc"), "underdiagnosis": macro.get("underdiagnosis")}
        counts = {"positives": None, "negatives": None}
        yield about | {"finding": "macro"} | counts | _rates(group["reference"], own, gains)
        for finding, entry in group["findings"].items():
            counts = {key: entry[key] for key in ("positives", "negatives")}
            rates = _rates(group["reference"], entry, entry["differences"] or {})
            yield about | {"finding": finding} | counts | rates


def _rates(reference: str | None, own: Document, differences: Document) -> Document:
    """Return the rates of a group, then what they are more than those of the reference group."""
    names = ("auroc", "fnr", "fpr", "underdiagnosis")
    row: Document = {}
    for name in names:
        row |= _flat(name, own.get(name, NOTHING))
    row["reference"] = reference
    for name in names:
        row |= _flat(f"{name}_difference", differences.get(name) or NOTHING)
    return row


def _localization(document: Document) -> Iterator[Document]:
    found = document["localization"]
    if not found:
        return
    baseline = found["random_baseline"]
    for kind, entry in found["maps"].items():
        for name, shares in [*entry["findings"].items(), ("all", entry["all"])]:
            row = {"map": kind, "finding": name, "boxes": shares["boxes"]}
            row["random_baseline"] = baseline["findings"].get(name, baseline["all"])
            for key, share in shares.items():
                if key != "boxes":
                    row |= _flat(key, share)
            yield row


def _differences(document: Document) -> Iterator[Document]:
    against = document["compared_to"]
    if against:
        for name, entry in [*against["findings"].items(), ("macro", against["macro"])]:
            for metric, found in entry.items():
                yield {"finding": name, "metric": metric, **found}


TABLES: dict[str, Callable[[Document], Iterator[Document]]] = {
    "findings.csv": finding_rows,
    "operating-points.csv": _points,
    "calibration.csv": _calibration,
    "reliability.csv": _reliability,
    "subgroups.csv": _groups,
    "localization.csv": _localization,
    "differences.csv": _differences,
}


def write_for_medmnist(
    folder: Path, document: dict[str, Any], material: EvaluationInput, force: bool
) -> Path:
    """Write the file into a folder and return its path.

    Rows are in the order of the images, which for chestmnist is that of its arrays. Raises
    `UsageError` where a finding is missing or the file is there already.
    """
    predictions, split = material.scored.predictions, document["split"]
    scored = material.description["predictions"]
    from_medmnist = scored is not None and is_medmnist(Path(scored))
    whole, macro = len(material.scored) == CHESTMNIST[split], document["macro"]
    data = "chestmnist" if from_medmnist or whole else "chestxray14"
    name = medmnist_name(data, split, macro["auroc"], macro["accuracy"], "deepchest")
    path = folder / name
    if path.exists() and not force:
        raise UsageError(f"{path} exists already.", "Replace it with --force.")
    write_medmnist(path, predictions.findings, predictions.probabilities)
    return path
