"""How `evaluate` shows its results: a table for people, one JSON document, or CSV."""

import math
from typing import Any

from deepchest_cli.data.text import count_of, p_value
from deepchest_cli.files import to_csv
from deepchest_cli.terminal import Terminal, number, table_of

COLUMNS = {  # heading: metric
    "AUROC": "auroc",
    "AP": "average_precision",
    "prevalence": "prevalence",
    "ap_over_prevalence": "ap_over_prevalence",
    "accuracy": "accuracy",
    "(of nothing)": "accuracy_all_negative",
    "F1": "f1",
    "F1 macro": "f1_class_mean",
    "(nothing's)": "f1_class_mean_all_negative",
    "F1 micro": "f1_micro",
    "F1 weighted": "f1_weighted",
    "loss": "loss",
    "(prevalence's)": "prevalence_baseline_loss",
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
        terminal.table(table_of(["Finding", "n+", *_headings(document)], _rows(document)))
        terminal.line("")
        for line in (_subject(document), *_cautions(document), *_summary(document)):
            terminal.line(line)
        if document["compared_to"]:
            terminal.line("")
            terminal.table(_differences(document["compared_to"]))


def findings_csv(document: Document) -> str:
    """Return the findings and the macro mean as CSV, intervals beside their figures."""
    from deepchest_cli.evaluation.output.tables import finding_rows

    rows = list(finding_rows(document))
    return to_csv(list(rows[0]), rows)


def _headings(document: Document) -> list[str]:
    headings = []
    for heading, metric in COLUMNS.items():
        headings.append(heading)
        if metric in WITH_INTERVAL and document["bootstrap_replicates"]:
            headings.append("95 % interval")
    return headings


def _rows(document: Document) -> list[list[str]]:
    entries = [(name, str(v["positives"]), v) for name, v in document["findings"].items()]
    entries.append(("Macro mean", "", document["macro"]))
    rows = []
    for name, positives, values in entries:
        row = [name, positives]
        for metric in COLUMNS.values():
            row.append(number(values[metric], 1 if metric == "ap_over_prevalence" else 3))
            if metric in WITH_INTERVAL and document["bootstrap_replicates"]:
                row.append(_interval(values["intervals"][metric]))
        rows.append(row)
    return rows


def _interval(found: Document) -> str:
    low, high = number(found["low"]), number(found["high"])
    return low if low == "–" else f"{low} to {high}"


def _with_interval(found: Document) -> str:
    return f"{number(found['value'])} ({_interval(found)})"


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
    from deepchest_cli.evaluation.output import words

    cautions = (words.overlap, words.undefined, words.few_patients)
    return [said for caution in cautions if (said := caution(document))]


def _summary(document: Document) -> list[str]:
    lines = []
    if document["split_title"]:
        lines.append(f"These are {document['split_title']}.")
    baseline = document["baseline"]
    if baseline:
        lines.append(
            "Age, sex and view alone: macro AUROC " + _with_interval(baseline["macro_auroc"])
        )
    lines += [
        f"{row['title']}: macro AUROC {row['macro_auroc']:.3f} on the same images [{row['source']}]"
        for row in document["references"]["rows"]
    ]
    lines += [*_points(document), *_calibration(document), *_groups(document)]
    lines += [*_localization(document), *_relabels(document)]
    return lines


def _points(document: Document) -> list[str]:
    points = document["operating_points"]
    if not points["findings"]:
        return [f"No operating points and no calibration. {document['validation_fit']['note']}"]
    rule = points["reference_operating_point"]
    entries = [entry[rule] for entry in points["findings"].values() if entry[rule]]
    rates = []
    for name in ("sensitivity", "specificity", "ppv", "npv"):
        found = [e[name]["value"] for e in entries if not math.isnan(e[name]["value"])]
        rates.append(f"{name} {number(sum(found) / len(found)) if found else '–'}")
    return [f"At the thresholds of validation ({rule}), means: {', '.join(rates)}"]


def _calibration(document: Document) -> list[str]:
    found = document["calibration"]
    before, after = found["macro"]["before"], found["macro"]["after"]
    if not after:
        return []
    scaled = found["macro"]["calibrated_findings"]
    return [
        f"Calibration ({found['method']}), {count_of(scaled, 'finding')}, "
        f"{count_of(len(document['findings']) - scaled, 'left as it is', 'left as they are')}: "
        f"ECE {number(before['ece'], 4)} to {number(after['ece'], 4)}, "
        f"Brier skill {number(before['brier_skill'])} to {number(after['brier_skill'])}"
    ]


def _groups(document: Document) -> list[str]:
    groups = [g for g in document["subgroups"]["groups"] if g["attribute"] in ATTRIBUTES]
    known = [g for g in groups if not math.isnan(g["macro_auroc"]["value"])]
    lowest = sorted(known, key=lambda group: group["macro_auroc"]["value"])[:SHOWN_GROUPS]
    if not lowest:
        return []
    named = [
        f"{g['attribute']} {g['group']} {_with_interval(g['macro_auroc'])}"
        f" over {g['scored_findings']}"
        for g in lowest
    ]
    return [f"Subgroups with the lowest macro AUROC over their scored findings: {'; '.join(named)}"]


def _localization(document: Document) -> list[str]:
    found = document["localization"]
    if not found:
        return []
    maps = ", ".join(
        f"{kind.replace('_', '-')} {_with_interval(entry['all']['pointing_game_accuracy'])}"
        for kind, entry in found["maps"].items()
    )
    return [
        f"Pointing game on {count_of(found['boxes'], 'box')}: {maps}; chance by area "
        f"{number(found['random_baseline']['all'])}"
    ]


def _relabels(document: Document) -> list[str]:
    found = document["expert_labels"]
    if not found:
        return []
    return [
        f"By radiologists' labels, {name} ({count_of(entry['images'], 'image')}, "
        f"{entry['positives']:,} positive): AUROC {_with_interval(entry['auroc'])}; NIH's own "
        f"label has PPV {number(entry['nih_ppv']['value'])}"
        for name, entry in found["findings"].items()
    ]


def _differences(against: Document) -> Any:
    columns = ["Minus " + against["other"]]
    for metric in ("AUROC", "AP"):
        columns += [metric, "95 % interval", "p (Holm)", "verdict"]
    entries = [*against["findings"].items(), ("Macro mean", against["macro"])]
    rows = []
    for name, found in entries:
        row = [name]
        for metric in ("auroc", "average_precision"):
            one = found[metric]
            p = p_value(one["p_holm"])
            row += [number(one["difference"]), _interval(one), p, one["verdict"]]
        rows.append(row)
    return table_of(columns, rows)
