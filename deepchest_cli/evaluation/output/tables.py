"""The CSV tables of an evaluation."""

from collections.abc import Callable, Iterator
from typing import Any

from deepchest_cli.evaluation.operating_points import RATES, RULES
from deepchest_cli.evaluation.scored_images import ScoredImages
from deepchest_cli.files import to_csv

Document = dict[str, Any]
PREDICTIONS = "predictions.csv"


def tables(document: Document, cases: ScoredImages) -> dict[str, str]:
    """Return the tables by their file's name; those without a row are left out."""
    rows = {name: list(make(document)) for name, make in TABLES.items()}
    rows[PREDICTIONS] = list(_predictions(document, cases))
    return {name: to_csv(list(found[0]), found) for name, found in rows.items() if found}


def finding_rows(document: Document) -> Iterator[Document]:
    """Yield a row for each finding and one for the macro mean, intervals beside their figures."""
    keys: list[str] = []
    for name, values in [*document["findings"].items(), ("macro", document["macro"])]:
        row = {"finding": name, **{k: v for k, v in values.items() if not isinstance(v, dict)}}
        for metric, found in values["intervals"].items():
            row |= {f"{metric}_low": found["low"], f"{metric}_high": found["high"]}
        keys = keys or list(row)
        yield {key: row.get(key) for key in keys}


def _flat(name: str, found: Document) -> Document:
    return {name: found["value"], f"{name}_low": found["low"], f"{name}_high": found["high"]}


def _points(document: Document) -> Iterator[Document]:
    for finding, entry in document["operating_points"]["findings"].items():
        for rule in RULES:
            point = entry[rule]
            if point:
                row = {"finding": finding, "rule": rule, "threshold": point["threshold"]}
                row |= {key: point[key] for key in ("tp", "fp", "fn", "tn")}
                for rate in RATES:
                    row |= _flat(rate, point[rate])
                yield row


def _calibration(document: Document) -> Iterator[Document]:
    for finding, entry in document["calibration"]["findings"].items():
        scaling = entry["scaling"] or {"slope": None, "intercept": None}
        for when in ("before", "after"):
            if entry[when]:
                figures = {k: v for k, v in entry[when].items() if k != "bins"}
                fitted = {f"fitted_{key}": value for key, value in scaling.items()}
                yield {"finding": finding, "when": when, **figures, **fitted}


def _reliability(document: Document) -> Iterator[Document]:
    for finding, entry in document["calibration"]["findings"].items():
        for when in ("before", "after"):
            for number, one in enumerate(entry[when]["bins"] if entry[when] else ()):
                yield {"finding": finding, "when": when, "bin": number + 1, **one}


def _groups(document: Document) -> Iterator[Document]:
    for group in document["subgroups"]["groups"]:
        about = {key: group[key] for key in ("attribute", "group", "images", "patients")}
        nothing = {"value": None, "low": None, "high": None}
        whole = {**about, "finding": "macro", "positives": None, "negatives": None}
        whole |= _flat("auroc", group["macro_auroc"]) | _flat("fnr", nothing)
        yield whole | _flat("fpr", nothing) | _flat("underdiagnosis", group["underdiagnosis"])
        for finding, entry in group["findings"].items():
            row = {**about, "finding": finding}
            row |= {key: entry[key] for key in ("positives", "negatives")}
            for name in ("auroc", "fnr", "fpr"):
                row |= _flat(name, entry[name])
            yield row | _flat("underdiagnosis", nothing)


def _localization(document: Document) -> Iterator[Document]:
    found = document["localization"]
    if not found:
        return
    for kind, entry in found["maps"].items():
        for name, shares in [*entry["findings"].items(), ("all", entry["all"])]:
            chance = found["random_baseline"]["findings"].get(name, found["random_baseline"]["all"])
            row = {"map": kind, "finding": name, "boxes": shares["boxes"], "chance": chance}
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


def _predictions(document: Document, cases: ScoredImages) -> Iterator[Document]:
    table = cases.predictions
    for name, row in zip(cases.image_index.tolist(), table.probabilities.tolist(), strict=True):
        yield {
            "Image Index": name,
            "split": document["split"],
            **dict(zip(table.findings, row, strict=True)),
        }
