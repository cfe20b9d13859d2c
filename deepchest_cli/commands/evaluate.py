"""`deepchest evaluate`: how good a model is on a part of the data."""

from dataclasses import replace
from typing import Any

from deepchest_cli.config import EvaluateConfig, find_data, parse_assignment
from deepchest_cli.errors import UsageError
from deepchest_cli.files import to_csv, write_json
from deepchest_cli.schemas import versioned
from deepchest_cli.terminal import Terminal, number, table_of

COLUMNS = {  # heading: metric
    "AUROC": "auroc",
    "AP": "average_precision",
    "accuracy": "accuracy",
    "(of nothing)": "accuracy_of_nothing",
    "F1": "f1",
    "F1 macro": "f1_macro",
    "F1 micro": "f1_micro",
    "F1 weighted": "f1_weighted",
    "loss": "loss",
    "prevalence": "prevalence",
}


def evaluate(config: EvaluateConfig, terminal: Terminal) -> None:
    """Score a model on a part of the data, finding by finding.

    Examples:  deepchest evaluate

    deepchest evaluate --format json --fail-under auroc=0.75
    """
    from deepchest_cli.evaluation.report import build_report, check_gates, parse_gate

    gates = [parse_gate(*parse_assignment(text, "--fail-under")) for text in config.fail_under]
    if config.out is not None and config.out.is_dir():
        raise UsageError(f"{config.out} is a folder.", "Name a file with --out.")
    if config.out is not None and config.out.exists() and not config.force:
        raise UsageError(f"{config.out} exists already.", "Replace it with --force.")
    data, note = find_data(config.data)
    if note:
        terminal.note(note)
    model, predictions = _predict(replace(config, data=data), terminal)
    report = {
        "model": model,
        "data": str(data),
        "split": config.split,
        **build_report(predictions),
    }
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(config.out, versioned(report))
    _render(report, "json" if terminal.json else config.format, terminal)
    check_gates(report, gates)


def _predict(config: EvaluateConfig, terminal: Terminal) -> tuple[dict[str, Any], Any]:
    from deepchest_cli.data.dataset import open_dataset
    from deepchest_cli.data.reader import ImageReader
    from deepchest_cli.evaluation.compatibility import refuse_unfit_data
    from deepchest_cli.evaluation.predictions import predict_rows
    from deepchest_cli.model.checkpoint import load_model
    from deepchest_cli.training.device import resolve_device

    device = resolve_device(config.device)
    dataset = open_dataset(config.data)
    model = load_model(config.model, device)
    stored, expected = dataset.size, model.classifier.architecture.stored_size
    if stored != expected:
        raise UsageError(
            f"{config.data} holds images of {stored} px; the model was trained on {expected} px.",
            f"Prepare the data at that size: deepchest prepare --size {expected} --data FOLDER",
        )
    refuse_unfit_data(model.origin, dataset, config.split)
    _warn_of_differences(model.identity, dataset.manifest["source"], terminal)
    rows = dataset.rows(config.split)
    if not len(rows):
        raise UsageError(f"{config.data} has no {config.split} part.", "Choose another --split.")
    with terminal.progress("Scoring") as progress:
        reader = ImageReader(dataset, device)
        predictions = predict_rows(model.classifier, reader, rows, config.batch_size, progress)
    return model.identity, predictions


def _warn_of_differences(model: dict[str, Any], source: dict[str, Any], terminal: Terminal) -> None:
    if model["label_version"] != source["label_version"]:
        terminal.warning("The model was trained on another version of the labels.")
    if model["synthetic"] != source["synthetic"]:
        ours, theirs = ("synthetic", "real") if model["synthetic"] else ("real", "synthetic")
        terminal.warning(f"The model was trained on {ours} radiographs; these are {theirs}.")


def _render(report: dict[str, Any], form: str, terminal: Terminal) -> None:
    if form == "json":
        terminal.document(report)
    elif form == "csv":
        terminal.text(_csv(report))
    else:
        terminal.table(table_of(["Finding", "n+", *COLUMNS], _rows(report)))
        terminal.line("")
        terminal.line(
            f"{report['split']}: {report['images']:,} images of {report['patients']:,} patients"
            f"; model {report['model']['path']}, epoch {report['model']['epoch']}"
        )
        _render_undefined(report, terminal)


def _rows(report: dict[str, Any]) -> list[list[str]]:
    entries = [(name, str(v["positives"]), v) for name, v in report["findings"].items()]
    entries.append(("Macro mean", "", report["macro"]))
    return [
        [name, positives, *(number(values[metric]) for metric in COLUMNS.values())]
        for name, positives, values in entries
    ]


def _render_undefined(report: dict[str, Any], terminal: Terminal) -> None:
    names = sorted({entry["finding"] for entry in report["undefined"]})
    if names:
        terminal.line(
            f"Undefined (–), for want of positives or negatives, and not in the means: "
            f"{', '.join(names)}"
        )


def _csv(report: dict[str, Any]) -> str:
    rows = [{"finding": name, **values} for name, values in report["findings"].items()]
    macro = {"finding": "macro", "positives": None, "known": None, **report["macro"]}
    return to_csv(list(macro), [*rows, macro])
