"""How `evaluate` shows its results: a table for people, one JSON document, or CSV."""

import math
from typing import Any

from deepchest_cli.data.text import count_of
from deepchest_cli.files import to_csv
from deepchest_cli.reporting.numbers import interval, number, p_value, signed, with_interval
from deepchest_cli.terminal import Terminal, table_of

COLUMNS = {  # metric: heading; in brackets, the baseline of the column before it
    "auroc": "AUROC",
    "average_precision": "AP",
    "prevalence": "prevalence",
    "ap_over_prevalence": "AP / prevalence",
    "accuracy": "accuracy",
    "accuracy_all_negative": "(all-negative)",
    "f1": "F1",
    "f1_class_mean": "class-mean F1",
    "f1_class_mean_all_negative": "(all-negative)",
    "f1_weighted": "weighted F1",
    "loss": "loss",
    "prevalence_baseline_loss": "(prevalence baseline)",
}
WITH_INTERVAL = ("auroc", "average_precision")
ATTRIBUTES = ("sex", "age", "view")  # crossings are in the other outputs
SHOWN_GROUPS = 3  # with the lowest macro AUROC

Document = dict[str, Any]


def render(document: Document, form: str, terminal: Terminal) -> None:
    """Write the results to standard output."""
    if form == "json":
        terminal.document(document)
    elif form == "csv":
        terminal.text(findings_csv(document))
    else:
        terminal.table(table_of(["Finding", "positives", *_headings(document)], _rows(document)))
        terminal.line("")
        for line in (_subject(document), *_cautions(document), *_summary(document)):
            terminal.line(line)
        if document["compared_to"]:
            terminal.line("")
            terminal.table(_differences(document["compared_to"]))


def findings_csv(document: Document) -> str:
    """Return the findings and the macro mean as CSV, intervals beside their metrics."""
    from deepchest_cli.evaluation.output.tables import finding_rows

    rows = list(finding_rows(document))
    return to_csv(list(rows[0]), rows)


def _headings(document: Document) -> list[str]:
    headings = []
    for metric, heading in COLUMNS.items():
        headings.append(heading)
        if metric in WITH_INTERVAL and document["bootstrap_replicates"]:
            headings.append("95 % CI")
    return headings


def _rows(document: Document) -> list[list[str]]:
    entries = [(name, str(v["positives"]), v) for name, v in document["findings"].items()]
    entries.append(("Macro mean", "", document["macro"]))
    rows = []
    for name, positives, values in entries:
        row = [name, positives]
        for metric in COLUMNS:
            row.append(number(values[metric], 1 if metric == "ap_over_prevalence" else 3))
            if metric in WITH_INTERVAL and document["bootstrap_replicates"]:
                row.append(interval(values["intervals"][metric]))
        rows.append(row)
    return rows


def _subject(document: Document) -> str:
    counted = (
        f"{document['split']}: {count_of(document['images'], 'image')} of "
        f"{count_of(document['patients'], 'patient')}"
    )
    models = document["models"]
    if not models:
        return f"{counted}; predictions {document['predictions']}"
    named = ", ".join(f"{model['path']}, epoch {model['epoch']}" for model in models)
    return f"{counted}; {'mean of models' if len(models) > 1 else 'model'} {named}"


def _cautions(document: Document) -> list[str]:
    from deepchest_cli.evaluation.output import statements

    cautions = (statements.overlap, statements.undefined, statements.few_patients)
    return [text for caution in cautions if (text := caution(document))]


def _summary(document: Document) -> list[str]:
    lines = []
    if document["split_title"]:
        lines.append(f"These are {document['split_title']}.")
    if document["baseline"]:
        macro = with_interval(document["baseline"]["macro_auroc"])
        lines.append(f"Metadata baseline (age, sex and view alone): macro AUROC {macro}")
    lines += [
        f"{row['title']}: macro AUROC {number(row['macro_auroc'])} on the same images "
        f"[{row['source']}]"
        for row in document["references"]["rows"]
    ]
    lines += [*_operating_point(document), *_calibration(document), *_subgroups(document)]
    return [*lines, *_localization(document), *_expert_labels(document)]


def _operating_point(document: Document) -> list[str]:
    points = document["operating_points"]
    if not points["findings"]:
        return [f"No operating points and no calibration. {document['choices']['note']}"]
    rule = points["reference_operating_point"]
    entries = [entry[rule] for entry in points["findings"].values() if entry[rule]]
    rates = []
    for name in ("sensitivity", "specificity", "ppv", "npv"):
        found = [e[name]["value"] for e in entries if not math.isnan(e[name]["value"])]
        title = name.upper() if len(name) == 3 else name
        rates.append(f"{title} {number(sum(found) / len(found) if found else None)}")
    return [f"Thresholds chosen on validation ({rule}), means over findings: {', '.join(rates)}"]


def _calibration(document: Document) -> list[str]:
    from deepchest_cli.evaluation.output import statements

    macro = document["calibration"]["macro"]
    before, after, scaled = macro["before"], macro["after"], macro["calibrated_findings"]
    if not after:
        return []
    others = len(document["findings"]) - scaled
    return [
        f"{statements.calibration_method(document)} of {count_of(scaled, 'finding')} "
        f"({others} not calibrated): ECE {number(before['ece'], 4)} before, "
        f"{number(after['ece'], 4)} after; Brier skill score {number(before['brier_skill'])} "
        f"before, {number(after['brier_skill'])} after"
    ]


def _subgroups(document: Document) -> list[str]:
    groups = [g for g in document["subgroups"]["groups"] if g["attribute"] in ATTRIBUTES]
    known = [g for g in groups if not math.isnan(g["macro_auroc"]["value"])]
    lowest = sorted(known, key=lambda group: group["macro_auroc"]["value"])[:SHOWN_GROUPS]
    if not lowest:
        return []
    named = [
        f"{g['attribute']} {g['group']} {with_interval(g['macro_auroc'])} over "
        f"{count_of(g['scored_findings'], 'finding')}"
        for g in lowest
    ]
    return [f"Subgroups with the lowest macro AUROC: {'; '.join(named)}"]


def _localization(document: Document) -> list[str]:
    from deepchest_cli.evaluation.output.statements import MAP_NAMES

    found = document["localization"]
    if not found:
        return []
    maps = ", ".join(
        f"{MAP_NAMES[kind]} {with_interval(entry['all']['pointing'])}"
        for kind, entry in found["maps"].items()
    )
    return [
        f"Pointing-game accuracy on {count_of(found['boxes'], 'box')}: {maps}; random baseline "
        f"{number(found['chance']['all'])}"
    ]


def _expert_labels(document: Document) -> list[str]:
    found = document["expert_labels"]
    if not found:
        return []
    return [
        f"Expert labels, {name} ({count_of(entry['images'], 'image')}, "
        f"{entry['positives']:,} positive): AUROC {with_interval(entry['auroc'])}; PPV of NIH's "
        f"label {number(entry['nih_ppv']['value'])}"
        for name, entry in found["findings"].items()
    ]


def _differences(compared: Document) -> Any:
    columns = ["Difference to " + compared["other"]]
    for metric in ("AUROC", "AP"):
        columns += [metric, "95 % CI", "p (Holm)", "verdict"]
    rows = []
    for name, found in [*compared["findings"].items(), ("Macro mean", compared["macro"])]:
        row = [name]
        for metric in ("auroc", "average_precision"):
            one = found[metric]
            row += [signed(one["difference"]), interval(one, sign=True)]
            row += [p_value(one["p_holm"]), one["verdict"]]
        rows.append(row)
    return table_of(columns, rows)
