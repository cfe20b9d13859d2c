"""`deepchest recalibrate`: operating points and calibration of another hospital."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepchest_cli.commands.next_steps import after_recalibrate
from deepchest_cli.commands.recalibrate_display import render
from deepchest_cli.config import RecalibrateConfig
from deepchest_cli.errors import UsageError
from deepchest_cli.terminal import Terminal

if TYPE_CHECKING:
    from deepchest_cli.evaluation.site_images import SiteModel
    from deepchest_cli.prediction.network import Network


def recalibrate(config: RecalibrateConfig, terminal: Terminal) -> None:
    """Choose a site's own operating points and calibration, and keep them in a copy of the model.

    Examples:  deepchest recalibrate --data data/site --out runs/mine-site

    deepchest recalibrate --model m.onnx --predictions p.csv --labels l.csv
    """
    from deepchest_cli.evaluation import recalibration
    from deepchest_cli.evaluation.site_images import site_images
    from deepchest_cli.library.model import name_backbones, open_network
    from deepchest_cli.model.copying import copy_target

    name, out = _refuse_clashes(config)
    name_backbones(config.backbone)
    network = open_network(config.model, config.device, config.batch_size)
    model = _site_model(network)
    path = copy_target(model.path, out, config.force)
    with terminal.progress("Predicting") as progress:
        images = site_images(config, model, progress)
    for warning in images.warnings:
        terminal.warning(warning)
    for note in images.notes:
        terminal.note(note)
    found = recalibration.recalibrate(model.findings, model.fit, images, name, config.calibration)
    judged = recalibration.build_document(
        found, model.fit, images, config.bootstrap_replicates, config.seed
    )
    sha256 = _write_copy(network, found.fit.to_plain(), path)
    written = {"path": str(out), "sha256": sha256}
    render({"model": network.metadata.identity, "written": written, **judged}, terminal)
    terminal.next_step(after_recalibrate(config, judged["judged_on"]["split"]))


def _refuse_clashes(config: RecalibrateConfig) -> tuple[str, Path]:
    """Return the site's name and where the copy goes."""
    files = {"--predictions": config.predictions, "--labels": config.labels}
    missing = [flag for flag, path in files.items() if path is None]
    if config.data is None and missing:
        raise UsageError(
            f"{missing[0]} is missing."
            if len(missing) == 1
            else "The site's images are not named.",
            "Give shards with --data FOLDER, or files with --predictions FILE --labels FILE.",
        )
    if config.data is not None and len(missing) < 2:
        raise UsageError("--data and --predictions are both given.", "Drop one of the two.")
    if config.data is not None and (config.logits or config.probabilities != "auto"):
        raise UsageError("--logits and --probabilities go with --predictions.", "Drop them.")
    if config.out is None:
        raise UsageError("--out is missing.", "Name the model's copy: --out runs/mine-SITE")
    source = config.data if config.data is not None else config.labels
    assert source is not None
    name = config.site if config.site is not None else source.resolve().stem
    if not name.strip() or not name.isprintable():
        raise UsageError(f"--site takes a name. Found {name!r}.")
    return name.strip(), config.out


def _site_model(network: "Network") -> "SiteModel":
    from deepchest_cli.evaluation.site_images import SiteModel
    from deepchest_cli.evaluation.validation_fit import readable_fit
    from deepchest_cli.prediction.network import refuse_non_finite

    metadata = network.metadata

    def logits(images: Any) -> Any:
        found = network(images).logits
        refuse_non_finite(found, metadata)
        return found

    return SiteModel(
        path=Path(metadata.identity["path"]),
        findings=metadata.findings,
        stored_size=metadata.preprocessing.size,
        pad=metadata.preprocessing.pad,
        batch_size=network.batch_size,
        network=logits,
        fit=readable_fit(metadata.validation_fit),
        training_images=metadata.training_images,
        loaded=getattr(network, "model", None),
    )


def _write_copy(network: "Network", fit: dict[str, Any], path: Path) -> str:
    """Write the copy and return its SHA-256."""
    from deepchest_cli.model import checkpoint
    from deepchest_cli.prediction import onnx_network, torch_network

    if isinstance(network, torch_network.TorchNetwork):
        return checkpoint.copy_with_fit(network.model, fit, path)
    assert isinstance(network, onnx_network.OnnxNetwork)
    return onnx_network.copy_with_fit(network, fit, path)
