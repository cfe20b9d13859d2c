"""How `evaluate` shows its results: a table for people, one JSON document, or CSV."""

import math
from collections.abc import Iterator
from typing import Any

from deepchest_cli.data.text import count_of
from deepchest_cli.files import to_csv
from deepchest_cli.reporting.numbers import interval, number, p_value, signed, with_interval
from deepchest_cli.terminal import Terminal

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
ATTRIBUTES = ("sex", "age", "view")  # combinations are in the other outputs
RATES = {"sensitivity": "sensitivity", "specificity": "specificity", "ppv": "PPV", "npv": "NPV"}
MEAN = "Macro mean"
SHOWN_GROUPS = 3  # with the lowest macro AUROC

Document = dict[str, Any]
Table = tuple[list[str], list[list[str]]]  # columns, rows


def render(document: Document, form: str, terminal: Terminal) -> None:
    """Write the results to standard output."""
    from deepchest_cli.evaluation.output import statements
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
        rule, overlap = statements.unit_rule, statements.overlap
        cautions = (rule, overlap, statements.undefined, statements.few_patients)
        terminal.table(*_results(document))
        terminal.line("")
        terminal.line(_subject(document))
        for line in (*filter(None, (of(document) for of in cautions)), *_summary(document)):
            terminal.line(line)
        if document["compared_to"]:
            terminal.line("")
            terminal.table(*_differences(document["compared_to"]))
            untested = statements.not_tested(document)
            if untested:
                terminal.line(untested)


def _render_several(document: Document, terminal: Terminal) -> None:
    """Write what several data sets have in common; the table of each is in the other outputs."""
    from deepchest_cli.evaluation.output import external, statements

    found = document["external_validation"]
    for table in (external.auroc_table(found, 2), external.drop_table(found, 2)):
        terminal.table(*table)
        terminal.line("")
    cautions = (statements.overlap, statements.undefined, statements.few_patients)
    said: set[str] = set()  # findings without a threshold are the same on all data sets
    for one, its_own in zip(found["data_sets"], document["data_sets"], strict=True):
        terminal.line(f"{one['name']}, {_subject(its_own)}")
        terminal.table(*external.short_carried_table(one))
        lines = [of(its_own) for of in cautions]
        if not its_own["findings"].keys() <= said:
            lines.append(statements.without_operating_point(its_own))
        said |= its_own["findings"].keys()
        for line in filter(None, lines):
            terminal.line(line)
        terminal.line("")
    for line in (*external.fits(document), *external.result(found)):
        terminal.line(line)


def _results(document: Document) -> Table:
    intervals = WITH_INTERVAL if document["bootstrap_replicates"] else ()
    columns = ["Finding", "positives"]
    for metric, heading in COLUMNS.items():
        columns += [heading, "95 % CI"] if metric in intervals else [heading]
    rows = []
    for name, values in [*document["findings"].items(), (MEAN, document["macro"])]:
        row = [name, str(values.get("positives", ""))]
        for metric in COLUMNS:
            row.append(number(values[metric], 1 if metric == "ap_over_prevalence" else 3))
            if metric in intervals:
                row.append(interval(values["intervals"][metric]))
        rows.append(row)
    return columns, rows


def _subject(document: Document) -> str:
    from deepchest_cli.evaluation.output import statements

    counted = f"{document['split']}: {statements.counted(document)}"
    models = document["models"]
    if not models:
        return f"{counted}; predictions {document['predictions']}"
    named = ", ".join(
        model["path"] + ("" if model["epoch"] is None else f", epoch {model['epoch']}")
        for model in models
    )
    return f"{counted}; {'mean of models' if len(models) > 1 else 'model'} {named}"


def _summary(document: Document) -> Iterator[str]:
    if document["split_title"]:
        yield f"These are {document['split_title']}."
    if document["baseline"]:
        from deepchest_cli.evaluation.output.statements import metadata_baseline

        yield metadata_baseline(document)
    for row in document["references"]["rows"]:
        macro = number(row["macro_auroc"])
        yield f"{row['title']}: macro AUROC {macro} on the same images [{row['source']}]"
    for lines in (_operating_point, _calibration, _subgroups, _localization, _expert_labels):
        yield from lines(document)


def _operating_point(document: Document) -> Iterator[str]:
    from deepchest_cli.evaluation.output.statements import images_of_fit, without_operating_point

    points = document["operating_points"]
    if not points["findings"]:
        yield f"No operating points and no calibration. {document['validation_fit']['note']}"
        return
    rule = points["reference_operating_point"]
    entries = [entry[rule] for entry in points["findings"].values() if entry[rule]]
    rates = []
    for name, title in RATES.items():
        found = [e[name]["value"] for e in entries if not math.isnan(e[name]["value"])]
        rates.append(f"{title} {number(sum(found) / len(found) if found else None)}")
    if entries:
        images = images_of_fit(document)
        yield f"Thresholds ({rule}) chosen on {images}; means over findings: {', '.join(rates)}"
        yield points["intervals_note"]
    yield from filter(None, [without_operating_point(document)])


def _calibration(document: Document) -> Iterator[str]:
    from deepchest_cli.evaluation.output.statements import calibration_method

    macro = document["calibration"]["macro"]
    before, after, scaled = macro["before"], macro["after"], macro["calibrated_findings"]
    if after:
        yield (
            f"{calibration_method(document)} of {count_of(scaled, 'finding')} "
            f"({len(document['findings']) - scaled} not calibrated): "
            f"ECE {number(before['ece'], 4)} before, {number(after['ece'], 4)} after "
            f"({number(after['ece_if_calibrated'], 4)} if perfectly calibrated); Brier skill "
            f"score {number(before['brier_skill'])} before, {number(after['brier_skill'])} after"
        )


def _subgroups(document: Document) -> Iterator[str]:
    groups = [g for g in document["subgroups"]["groups"] if g["attribute"] in ATTRIBUTES]
    known = [g for g in groups if not math.isnan(g["macro_auroc"]["value"])]
    known.sort(key=lambda group: group["macro_auroc"]["value"])
    named = []
    for g in known[:SHOWN_GROUPS]:
        text = (
            f"{g['attribute']} {g['group']} {with_interval(g['macro_auroc'])} over "
            f"{count_of(g['scored_findings'], 'finding')}"
        )
        gain = (g["differences"] or {}).get("macro_auroc")
        if gain and not math.isnan(gain["value"]):
            text += f", {with_interval(gain, sign=True)} against {g['reference']}"
        named.append(text)
    if named:
        yield f"Subgroups with the lowest macro AUROC: {'; '.join(named)}"


def _localization(document: Document) -> Iterator[str]:
    from deepchest_cli.evaluation.output.statements import MAP_NAMES

    found = document["localization"]
    if found:
        maps = ", ".join(
            f"{MAP_NAMES[kind]} {with_interval(entry['all']['pointing_game_accuracy'])}"
            for kind, entry in found["maps"].items()
        )
        boxes, random = count_of(found["boxes"], "box"), number(found["random_baseline"]["all"])
        yield f"Pointing-game accuracy on {boxes}: {maps}; random baseline {random}"
        if document["localization_note"]:
            yield document["localization_note"]


def _expert_labels(document: Document) -> Iterator[str]:
    for name, entry in (document["expert_labels"] or {"findings": {}})["findings"].items():
        yield (
            f"Expert labels, {name} ({count_of(entry['images'], 'image')}, "
            f"{entry['positives']:,} positive): AUROC {with_interval(entry['auroc'])}; PPV of "
            f"NIH's label {number(entry['nih_ppv']['value'])}"
        )


def _differences(compared: Document) -> Table:
    columns = ["Difference to " + compared["other"]]
    for metric in ("AUROC", "AP"):
        columns += [metric, "95 % CI", "p (Holm)", "verdict"]
    rows = []
    for name, found in [*compared["findings"].items(), (MEAN, compared["macro"])]:
        row = [name]
        for metric in WITH_INTERVAL:
            one = found[metric]
            row += [signed(one["difference"]), interval(one, sign=True)]
            row += [p_value(one["p_holm"]), one["verdict"]]
        rows.append(row)
    return columns, rows
