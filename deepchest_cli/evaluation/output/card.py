"""A model card in Markdown, filled with what is known; what is not known is stated.

Headings follow Mitchell et al. 2019, "Model cards for model reporting".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from deepchest_cli.data.text import count_of
from deepchest_cli.evaluation.operating_points import RULES
from deepchest_cli.evaluation.output import statements
from deepchest_cli.reporting.html import render_markdown

Document = Mapping[str, Any]
Origin = Mapping[
    str, Any
]  # of a checkpoint; `training_images`: how many of each data set it keeps hashes of
UNKNOWN = "not known"
SETTINGS = (
    "batch_size", "optimizer", "learning_rate", "precision", "augment", "seed", "weights",
)  # fmt: skip


def model_card(document: Document, origins: Sequence[Origin]) -> str:
    """Return the card; `origins` are those of the models' checkpoints, none for foreign ones."""
    return render_markdown(
        "evaluation/output/card.md",
        document=document,
        models=list(zip(document["models"], origins, strict=True)),
        training=training_section(origins),
        external=_external(document, origins),
        rules=RULES,
        say=statements,
        unknown=UNKNOWN,
    )


def training_section(origins: Sequence[Origin]) -> list[str]:
    """Return what was run, not what was planned; without origins the model is somebody else's."""
    if not origins:
        return [f"Data and procedure are {UNKNOWN}."]
    lines = []
    for origin in origins:
        if "published" in origin:
            lines.append(f"- {origin['published']}.")
            continue
        config = origin.get("config", {})
        used = [f"{key.replace('_', ' ')} {config[key]}" for key in SETTINGS if key in config]
        lines += [
            *(f"- Data: {text}" for text in _data(origin)),
            f"- Run: {_run(origin)}",
            f"- Settings: {', '.join(used) or UNKNOWN}",
        ]
    return lines


def _data(origin: Origin) -> list[str]:
    """Return a text for each data set of training."""
    several = origin.get("data_sets", [{"source": {}, "settings": {}, "sha256": UNKNOWN}])
    counts = origin.get("training_images") or [None] * len(several)
    texts = []
    for one, images in zip(several, counts, strict=True):
        source = one["source"]
        synthetic = ", synthetic radiographs" if source.get("synthetic") else ""
        by = "by patient" if source.get("patients", True) else "by image, patients being unknown"
        counted = f"{count_of(images, 'different training image')}; " if images else ""
        texts.append(
            f"{one['name'] + ': ' if len(several) > 1 else ''}"
            f"source {source.get('kind', UNKNOWN)}, labels of version "
            f"{source.get('label_version', UNKNOWN)}{synthetic}; {counted}split scheme "
            f"{one['settings'].get('split_scheme', UNKNOWN)} {by}; manifest SHA-256 "
            f"`{one['sha256']}`"
        )
    return texts


def _run(origin: Origin) -> str:
    """Return how long was trained, why it ended, and where on the way the model was taken."""
    config, run, step = origin.get("config", {}), origin.get("run"), origin.get("step")
    taken = f"epoch {origin.get('epoch', UNKNOWN)}"
    if step is not None:
        taken += f", after {count_of(step, 'step')}"
    planned = _planned(config)
    if run:
        trained = f"{count_of(run['epochs'], 'epoch')}, {count_of(run['steps'], 'step')}"
        rate = run.get("learning_rate")
        head = "" if rate is None else f", the head of a linear probe at learning rate {rate:g}"
        return f"{trained}; {_end(run, config)} ({planned}). The model is that of {taken}{head}"
    if step is not None:
        return f"the model was taken at {taken}, of a run that had not ended then ({planned})"
    return f"the model is that of {taken}; the length of its run is {UNKNOWN} ({planned})"


def _planned(config: Mapping[str, Any]) -> str:
    if "epochs" not in config:
        return f"the plan is {UNKNOWN}"
    most = config.get("max_steps")
    return f"planned: {count_of(config['epochs'], 'epoch')}" + (
        f", at most {count_of(most, 'step')}" if most else ""
    )


def _end(run: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    if run["stopped_early"]:
        patience = config.get("patience")
        since = f" for {count_of(patience, 'epoch')}" if patience else ""
        return f"stopped early, without a better epoch{since}"
    if run["steps"] == config.get("max_steps"):
        return "ended at the maximum number of steps"
    return "ended as planned"


def _external(document: Document, origins: Sequence[Origin]) -> str:
    """Return whether the scored images come from another source than those of training."""
    if document["expert_labels"]:
        return "see the expert labels in the report"
    if not origins:
        return f"what the model was trained on is {UNKNOWN}"
    sources = [one["source"] for origin in origins for one in origin.get("data_sets", [])]
    trained = {kind for one in sources for kind in one.get("kinds", [one.get("kind")])}
    overlap = document["overlap"]
    same = overlap["is_training_data_set"] or overlap["split_changes"]  # the latter: its patients
    if same or document["source"] in trained:
        return "none here"
    return f"these images are of source {document['source']}, those of training are not"
