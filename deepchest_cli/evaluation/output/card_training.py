"""The model card's section on training: what was run, not what was planned."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deepchest_cli.data.text import count_of

Origin = Mapping[str, Any]  # of a checkpoint; `training_images`: how many it keeps hashes of
UNKNOWN = "not known"
SETTINGS = (
    "batch_size", "optimizer", "learning_rate", "precision", "augment", "seed", "weights",
)  # fmt: skip


def training_section(origins: Sequence[Origin]) -> Iterator[str]:
    """Yield the lines of the section; without origins the model is somebody else's."""
    yield from ("## Training", "")
    if not origins:
        yield from (f"Data and procedure are {UNKNOWN}.", "")
    for origin in origins:
        yield f"- Data: {_data(origin)}"
        yield f"- Run: {_run(origin)}"
        config = origin.get("config", {})
        said = [f"{key.replace('_', ' ')} {config[key]}" for key in SETTINGS if key in config]
        yield f"- Settings: {', '.join(said) or UNKNOWN}"
    yield ""


def _data(origin: Origin) -> str:
    source, settings = origin.get("source", {}), origin.get("settings", {})
    synthetic = ", synthetic radiographs" if source.get("synthetic") else ""
    by = "by patient" if source.get("patients", True) else "by image, patients being unknown"
    images = origin.get("training_images")
    counted = f"{count_of(images, 'different training image')}; " if images else ""
    return (
        f"source {source.get('kind', UNKNOWN)}, labels of version "
        f"{source.get('label_version', UNKNOWN)}{synthetic}; {counted}split "
        f"{settings.get('split_scheme', UNKNOWN)} {by}; manifest SHA-256 "
        f"`{origin.get('data_sha256', UNKNOWN)}`"
    )


def _run(origin: Origin) -> str:
    """Return how long was trained, why it ended, and where on the way the model was taken."""
    config, run, step = origin.get("config", {}), origin.get("run"), origin.get("step")
    taken = f"epoch {origin.get('epoch', UNKNOWN)}"
    if step is not None:
        taken += f", after {count_of(step, 'step')}"
    planned = _planned(config)
    if run:
        trained = f"{count_of(run['epochs'], 'epoch')}, {count_of(run['steps'], 'step')}"
        return f"{trained}; {_end(run, config)} ({planned}). The model is that of {taken}"
    if step is not None:
        return f"the model was taken at {taken}, of a run that had not ended then ({planned})"
    return f"the model is that of {taken}; how long its run went on is {UNKNOWN} ({planned})"


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
        return "ended after the most steps that were allowed"
    return "ended as planned"
