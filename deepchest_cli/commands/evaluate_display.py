"""How `evaluate` shows its results: tables for people, one JSON document, or CSV."""

from typing import Any

from deepchest_cli.commands.evaluate_summary import (
    cautions,
    operating_points_lacking,
    subject,
    summary,
)
from deepchest_cli.data.text import counts_by_reason
from deepchest_cli.files import to_csv
from deepchest_cli.reporting.numbers import number, p_value, with_interval
from deepchest_cli.terminal import Terminal

WITH_INTERVAL = {"auroc": "AUROC", "average_precision": "AP"}  # metric: heading
MORE = {  # in the order of importance; in brackets, the baseline of the metric before it
    "prevalence": ("prevalence",),
    "AP / prevalence": ("ap_over_prevalence",),
    "F1": ("f1",),
    "accuracy (all-negative)": ("accuracy", "accuracy_all_negative"),
    "loss (prevalence baseline)": ("loss", "prevalence_baseline_loss"),
    "class-mean F1 (all-negative)": ("f1_class_mean", "f1_class_mean_all_negative"),
    "weighted F1": ("f1_weighted",),
}
MEAN = "Macro mean"
CI = "(95 % CI)"

Document = dict[str, Any]
Table = tuple[list[str], list[list[str]]]  # columns, rows


def render(document: Document, form: str, terminal: Terminal) -> None:
    """Write the results to standard output."""
    from deepchest_cli.evaluation.output.tables import data_set_rows, finding_rows

    several = "external_validation" in document
    if form == "json":
        terminal.document(document)
    elif form == "csv":
        rows = list((data_set_rows if several else finding_rows)(document))
        terminal.text(to_csv(list(rows[0]), rows))
    elif several:
        _render_several(document, terminal)
    else:
        terminal.table(*_results(document), essential=2 + len(WITH_INTERVAL))
        terminal.line("")
        if document["folds"]:
            terminal.table(*fold_table(document))
            terminal.line("")
        for sentence in summary(document, terminal.verbose):
            terminal.paragraph(sentence)
        if document["expert_labels"] and document["expert_labels"]["findings"]:
            terminal.line("")
            terminal.table(*_expert_labels(document["expert_labels"]))
        if document["compared_to"]:
            _render_differences(document, terminal)


def _render_several(document: Document, terminal: Terminal) -> None:
    """Write what several data sets have in common; the table of each is in the other outputs."""
    from deepchest_cli.evaluation.output import external

    found = document["external_validation"]
    for table in (external.auroc_table(found, 2), external.drop_table(found, 2)):
        terminal.table(*table)
        terminal.line("")
    said: set[str] = set()  # findings without a threshold are the same on all data sets
    for one, its_own in zip(found["data_sets"], document["data_sets"], strict=True):
        terminal.paragraph(f"{one['name']}, {subject(its_own)}.")
        terminal.table(*external.short_carried_table(one))
        sentences = list(cautions(its_own, terminal.verbose))
        if not its_own["findings"].keys() <= said:
            sentences.append(operating_points_lacking(its_own, terminal.verbose))
        said |= its_own["findings"].keys()
        for sentence in filter(None, sentences):
            terminal.paragraph(sentence)
        terminal.line("")
    for sentence in (*external.fits(document), *external.result(found)):
        terminal.paragraph(sentence)


def _results(document: Document) -> Table:
    from deepchest_cli.evaluation.output.statements import metric as shown

    ending = f" {CI}" if document["bootstrap_replicates"] else ""
    columns = ["Finding", "positives", *(f"{name}{ending}" for name in WITH_INTERVAL.values())]
    rows = []
    for name, values in [*document["findings"].items(), (MEAN, document["macro"])]:
        row = [name, str(values.get("positives", ""))]
        row += [shown(values, metric) for metric in WITH_INTERVAL]
        for metric, *baseline in MORE.values():
            value = number(values[metric], 1 if metric == "ap_over_prevalence" else 3)
            row.append(f"{value} ({number(values[baseline[0]])})" if baseline else value)
        rows.append(row)
    return [*columns, *MORE], rows


def fold_table(document: Document) -> Table:
    """Return the out-of-fold AUROC of each finding beside that of its folds."""
    from deepchest_cli.evaluation.output.statements import metric as shown

    found = document["folds"]
    ending = f" {CI}" if document["bootstrap_replicates"] else ""
    columns = ["Finding", "positives", f"AUROC{ending}", "mean of folds", "SD"]
    rows = []
    for name, values in [*document["findings"].items(), (MEAN, document["macro"])]:
        folds = found["findings"].get(name, found["macro"])
        spread = [number(folds["mean"]), number(folds["sd"])]
        rows.append([name, str(values.get("positives", "")), shown(values, "auroc"), *spread])
    return columns, rows


def _expert_labels(labels: Document) -> Table:
    rows = []
    for name, entry in labels["findings"].items():
        counts = (f"{entry[of]:,}" for of in ("images", "positives"))
        ppv = number(entry["nih_ppv"]["value"])
        rows.append([name, *counts, with_interval(entry["auroc"]), ppv])
    return ["Expert labels", "images", "positives", f"AUROC {CI}", "PPV of NIH's label"], rows


def _render_differences(document: Document, terminal: Terminal) -> None:
    """Write the differences to another model, and which were not tested."""
    from deepchest_cli.evaluation.output.statements import not_tested

    compared = document["compared_to"]
    terminal.line("")
    terminal.paragraph(f"Difference to {compared['other']} (above 0: this model is better):")
    columns, rows = _differences(compared)
    terminal.table(columns, rows, "lrlrl", essential=5)
    untested = not_tested(document) if terminal.verbose else _untested(compared)
    if untested:
        terminal.paragraph(untested)


def _untested(compared: Document) -> str:
    """Return how many differences were not tested, and why."""
    found = [
        (name, one["not_tested"])
        for name, entry in [*compared["findings"].items(), (MEAN, compared["macro"])]
        for one in entry.values()
    ]
    reasons = [(name, why) for name, why in found if why]
    if not reasons:
        return ""
    counted = f"{len(reasons)} of {len(found)} differences"
    return f"Not tested: {counted}; {counts_by_reason(reasons)}. --verbose names them."


def _differences(compared: Document) -> Table:
    columns, corrected = ["Finding"], []
    for heading in WITH_INTERVAL.values():
        columns += [f"{heading} {CI}", f"{heading} verdict"]
        corrected.append(f"{heading} p (Holm)")
    rows = []
    for name, found in [*compared["findings"].items(), (MEAN, compared["macro"])]:
        row = [name]
        for metric in WITH_INTERVAL:
            one = {**found[metric], "value": found[metric]["difference"]}
            row += [with_interval(one, sign=True), one["verdict"]]
        rows.append([*row, *(p_value(found[metric]["p_holm"]) for metric in WITH_INTERVAL)])
    return [*columns, *corrected], rows
