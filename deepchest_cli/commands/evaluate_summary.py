"""What `evaluate` says below its table: the few sentences that matter, and all with --verbose."""

import math
from collections.abc import Iterator
from typing import Any

from deepchest_cli.data.text import count_of, counts_by_reason
from deepchest_cli.reporting.numbers import number, with_interval

ATTRIBUTES = ("sex", "age", "view")  # combinations are in the other outputs
RATES = {"sensitivity": "sensitivity", "specificity": "specificity", "ppv": "PPV", "npv": "NPV"}
SHOWN_GROUPS = 3  # with the lowest macro AUROC, with --verbose

Document = dict[str, Any]


def summary(document: Document, verbose: bool) -> Iterator[str]:
    """Yield the sentences about one data set, cautions first."""
    yield f"{subject(document)}."
    yield from cautions(document, verbose)
    if document["split_title"]:
        yield f"These are {document['split_title']}."
    if document["baseline"]:
        from deepchest_cli.evaluation.output.statements import metadata_baseline

        yield metadata_baseline(document)
    for row in document["references"]["rows"]:
        macro = number(row["macro_auroc"])
        yield f"{row['title']}: macro AUROC {macro} on the same images [{row['source']}]"
    for sentences in (_operating_points, _calibration, _subgroups):
        yield from sentences(document, verbose)
    yield from _localization(document)


def subject(document: Document) -> str:
    """Return what was scored by what."""
    from deepchest_cli.evaluation.output import statements

    counted = f"{document['split']}: {statements.counted(document)}"
    models, folds = document["models"], document["folds"]
    if folds:
        return f"{counted}, by the models of {folds['number']} folds of {folds['run']}"
    if not models:
        return f"{counted}; predictions {document['predictions']}"
    named = ", ".join(
        model["path"] + ("" if model["epoch"] is None else f", epoch {model['epoch']}")
        for model in models
    )
    return f"{counted}; {'mean of models' if len(models) > 1 else 'model'} {named}"


def cautions(document: Document, verbose: bool) -> Iterator[str]:
    """Yield what the metrics must not be taken for."""
    from deepchest_cli.evaluation.output import statements

    said = [statements.unit_rule(document), statements.overlap(document)]
    said.append(statements.out_of_fold(document))
    if document["synthetic"] or any(model["synthetic"] for model in document["models"]):
        said.append(statements.scope(document))
    said.append(statements.undefined(document, brief=not verbose))
    said.append(statements.few_patients(document, brief=not verbose))
    yield from filter(None, said)


def operating_points_lacking(document: Document, verbose: bool) -> str:
    """Return how many findings have no operating point and why; with `verbose` which."""
    from deepchest_cli.evaluation.operating_points import RULES
    from deepchest_cli.evaluation.output.statements import without_operating_point

    if verbose:
        return without_operating_point(document)
    points, total = document["operating_points"], len(document["findings"])
    rule = points["reference_operating_point"]
    lacking = {name: entry["unavailable"] for name, entry in points["findings"].items()}
    reasons = [(name, why[rule]) for name, why in lacking.items() if rule in why]
    others = sum(bool(why) and rule not in why for why in lacking.values())
    said = []
    if reasons:
        said.append(
            f"No operating point by {RULES[rule].title} for {len(reasons)} of "
            f"{count_of(total, 'finding')}: {counts_by_reason(reasons)}."
        )
    if others:
        more = f"{others} more" if reasons else f"{others} of {count_of(total, 'finding')}"
        said.append(f"{more} {'lacks' if others == 1 else 'lack'} a point by another rule.")
    return " ".join([*said, "--verbose names them."]) if said else ""


def _operating_points(document: Document, verbose: bool) -> Iterator[str]:
    from deepchest_cli.evaluation.output.statements import images_of_fit

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
        images, over = images_of_fit(document), count_of(len(entries), "finding")
        yield f"Thresholds ({rule}) chosen on {images}; means over {over}: {', '.join(rates)}."
        if verbose:
            yield points["intervals_note"]
    yield from filter(None, [operating_points_lacking(document, verbose)])


def _calibration(document: Document, verbose: bool) -> Iterator[str]:
    from deepchest_cli.evaluation.output.statements import calibration_method, not_calibrated

    macro, total = document["calibration"]["macro"], len(document["findings"])
    before, after, scaled = macro["before"], macro["after"], macro["calibrated_findings"]
    if after:
        yield (
            f"{calibration_method(document)} of {scaled} of {count_of(total, 'finding')}: "
            f"ECE {number(before['ece'], 4)} before, {number(after['ece'], 4)} after "
            f"({number(after['ece_if_calibrated'], 4)} if perfectly calibrated); Brier skill "
            f"score {number(before['brier_skill'])} before, {number(after['brier_skill'])} after."
        )
    if verbose:
        yield from filter(None, [not_calibrated(document)])


def _subgroups(document: Document, verbose: bool) -> Iterator[str]:
    groups = [g for g in document["subgroups"]["groups"] if g["attribute"] in ATTRIBUTES]
    known = [g for g in groups if not math.isnan(g["macro_auroc"]["value"])]
    known.sort(key=lambda group: group["macro_auroc"]["value"])
    named = []
    for g in known[: SHOWN_GROUPS if verbose else 1]:
        text = (
            f"{g['attribute']} {g['group']} {with_interval(g['macro_auroc'])} over "
            f"{count_of(g['scored_findings'], 'finding')}"
        )
        gain = (g["differences"] or {}).get("macro_auroc")
        if gain and not math.isnan(gain["value"]):
            text += f", {with_interval(gain, sign=True)} against {g['reference']}"
        named.append(text)
    if named:
        groups_named = "Subgroups" if len(named) > 1 else "Subgroup"
        yield f"{groups_named} with the lowest macro AUROC: {'; '.join(named)}."


def _localization(document: Document) -> Iterator[str]:
    from deepchest_cli.evaluation.output.statements import MAP_NAMES

    found = document["localization"]
    if found:
        maps = ", ".join(
            f"{MAP_NAMES[kind]} {with_interval(entry['all']['pointing_game_accuracy'])}"
            for kind, entry in found["maps"].items()
        )
        boxes, random = count_of(found["boxes"], "box"), number(found["random_baseline"]["all"])
        yield f"Pointing-game accuracy on {boxes}: {maps}; random baseline {random}."
        if document["localization_note"]:
            yield document["localization_note"]
