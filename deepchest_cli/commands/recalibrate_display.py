"""How `recalibrate` shows a model before and after: a table for people, or one JSON document."""

from typing import Any

from deepchest_cli.data.text import by_reason, count_of, counts_by_reason
from deepchest_cli.reporting.numbers import number, with_interval
from deepchest_cli.terminal import Terminal

DIGITS = 2  # so that a row with its intervals fits into 80 columns
COLUMNS = ("Finding", "Slope (95 % CI)", "Intercept (95 % CI)", "Sens.", "Spec.")
INTERVALS = (
    "After the choice, intervals of slope and intercept include its own error: other images of the "
    "site would have chosen another calibration. Those of the rates are for the chosen thresholds."
)
Document = dict[str, Any]


def render(document: Document, terminal: Terminal) -> None:
    """Write the results to standard output."""
    if terminal.json:
        terminal.document(document)
        return
    rule = document["reference_operating_point"]
    rows = []
    for finding, entry in document["findings"].items():
        if entry["carried_over"] is None:  # what is carried over stays as it was
            rows.append([finding, *[""] * (len(COLUMNS) - 1)])
            shown = [when for when in ("before", "after") if entry[when] is not None]
            rows += [[f"  {when}", *_cells(entry[when], rule)] for when in shown]
    terminal.table(COLUMNS, rows)
    terminal.line("")
    for sentence in _summary(document, terminal.verbose):
        terminal.paragraph(sentence)


def _cells(judged: Document, rule: str) -> list[str]:
    point = judged["operating_points"][rule]
    rates = (point[key]["value"] if point else None for key in ("sensitivity", "specificity"))
    return [
        with_interval(judged["slope"], DIGITS),
        with_interval(judged["intercept"], DIGITS),
        *(number(rate) for rate in rates),
    ]


def _summary(document: Document, verbose: bool) -> list[str]:
    site, judged, findings = document["site"], document["judged_on"], document["findings"]
    images = f"{count_of(judged['images'], 'image')} of {count_of(judged['patients'], 'patient')}"
    kept = [(n, e["carried_over"]) for n, e in findings.items() if e["carried_over"]]
    raw = [(n, e["uncalibrated"]) for n, e in findings.items() if e["uncalibrated"]]
    shown = [
        f"Judged on {judged['split']}: {images}. Calibration slope (1: right) and intercept (0: "
        f"right); sensitivity and specificity at {document['reference_operating_point']}.",
        judged["note"] or INTERVALS,
        f"Chosen on {site['split']}: {count_of(site['images'], 'image')} of "
        f"{count_of(site['patients'], 'patient')} of {site['name']} ({site['data']}), for "
        f"{len(site['findings'])} of {count_of(len(findings), 'finding')}.",
        _reasons("Carried over from the model", kept, len(findings), verbose),
        _reasons("Not calibrated", raw, len(findings), verbose),
        f"Not predicted: {', '.join(document['not_predicted'])}."
        if document["not_predicted"]
        else "",
        f"Written: {document['written']['path']}",
    ]
    return [line for line in shown if line]


def _reasons(what: str, reasons: list[tuple[str, str]], total: int, verbose: bool) -> str:
    """Return which findings have a reason, or how many of them; empty where none has."""
    if not reasons:
        return ""
    if verbose:
        return f"{what}: {by_reason(reasons)}."
    counted = f"{len(reasons)} of {count_of(total, 'finding')}"
    return f"{what}: {counted}, {counts_by_reason(reasons)}. --verbose names them."
