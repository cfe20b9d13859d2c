"""What `deepchest evaluate` refuses before anything is read, by its flags alone."""

from dataclasses import replace
from pathlib import Path

from deepchest_cli.config import EvaluateConfig
from deepchest_cli.errors import UsageError
from deepchest_cli.files import refuse_unwritable


def each_data_set(config: EvaluateConfig) -> list[EvaluateConfig]:
    """Return the configuration of each data set: of several, each with outputs of its own."""
    if len(config.data) < 2:
        return [config]
    from deepchest_cli.data.merging import folder_names

    saved = config.save_predictions
    return [
        replace(
            config,
            data=(folder,),
            report=config.report and config.report / name,
            save_predictions=saved
            and saved.with_name(f"{saved.stem}-{name.replace('/', '-')}{saved.suffix}"),
        )
        for folder, name in zip(config.data, folder_names(config.data), strict=True)
    ]


def refuse_clashes(config: EvaluateConfig) -> None:
    """Raise `UsageError` for flags that do not go together, and for what cannot be written."""
    _refuse_of_one_data_set(config)
    _refuse_of_single_images(config)
    if config.predictions is not None and config.labels is None:
        raise UsageError(
            "--predictions needs --labels.", "Name NIH's metadata table, or a table of labels."
        )
    for name in ("model", "data"):
        if config.predictions is not None and getattr(config, name):
            raise UsageError(f"--{name} and --predictions are both given.", "Drop one of the two.")
    if config.predictions is not None and config.predictions == config.validation == Path("-"):
        raise UsageError(
            "--predictions and --validation both read standard input.", "Name a file for one."
        )
    for name in ("labels", "validation", "logits"):
        given = getattr(config, name)
        if config.predictions is None and given and not (name == "logits" and config.compare_to):
            raise UsageError(f"--{name} goes with --predictions.", f"Drop --{name}.")
    _refuse_outputs(config)
    from deepchest_cli.model.checkpoint_format import is_published

    named = {"--compare-to": config.compare_to, "--expert-labels": config.expert_labels}
    for flag, path in named.items():
        if path is not None and not path.exists() and not is_published(path):
            raise UsageError(f"{flag}: {path} is not there.", "Check the path.")


def _refuse_outputs(config: EvaluateConfig) -> None:
    """Raise `UsageError` for files and folders that cannot be written or would be replaced."""
    if config.out is not None and config.out.is_dir():
        raise UsageError(f"{config.out} is a folder.", "Name a file with --out.")
    for one in each_data_set(config):
        if one.save_predictions is not None:
            from deepchest_cli.evaluation.output.predictions_table import FORMATS

            refuse_unwritable(one.save_predictions, "--save-predictions", FORMATS, config.force)
    for name in ("report", "medmnist"):
        folder = getattr(config, name)
        if folder is not None and folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file.", f"Name a folder with --{name}.")
    if config.out is not None and config.out.exists() and not config.force:
        raise UsageError(f"{config.out} exists already.", "Replace it with --force.")
    kept = config.report if config.report is not None and not config.force else None
    if kept is not None and kept.is_dir() and any(kept.iterdir()):
        raise UsageError(f"{kept} is not empty.", "Name another folder, or replace with --force.")


def _refuse_of_one_data_set(config: EvaluateConfig) -> None:
    """Raise `UsageError` for flags that are about the images of one data set, and of one split."""
    other = config.compare_to
    about_one = {
        "--reference": config.reference,
        "--expert-labels": config.expert_labels,
        "--medmnist": config.medmnist,
        "--compare-to FILE": other if other is not None and not is_model(other) else None,
    }
    for flag, given in about_one.items():
        if given and len(config.data) > 1:
            raise UsageError(f"{flag} goes with one --data.", f"Name one data set, or drop {flag}.")
    arrays = config.labels is not None and config.labels.suffix == ".npz"
    if config.split == "all" and (arrays or config.medmnist is not None):
        flag = "--labels" if arrays else "--medmnist"
        raise UsageError(
            f"--split all does not go with {flag}: MedMNIST's files are of one split.",
            "Choose another --split.",
        )


def _refuse_of_single_images(config: EvaluateConfig) -> None:
    """Raise `UsageError` for flags about single images beside other units, and the reverse."""
    if config.unit == "image":
        if config.view_weight:
            raise UsageError(
                "--view-weight goes with --unit study or patient: an image has no mean.",
                "Choose one with --unit, or drop --view-weight.",
            )
        return
    from deepchest_cli.data.view_weights import read_view_weights

    read_view_weights(config.view_weight)
    about_images = {
        "--reference": config.reference,
        "--expert-labels": config.expert_labels,
        "--medmnist": config.medmnist,
    }
    for flag, given in about_images.items():
        if given:
            raise UsageError(
                f"{flag} is about single images, and --unit {config.unit} is given.",
                f"Score images with --unit image, or drop {flag}.",
            )


def is_model(path: Path) -> bool:
    """Whether `--compare-to` names a model, not a file of predictions."""
    from deepchest_cli.model.checkpoint_format import is_published

    return path.is_dir() or path.suffix == ".pt" or is_published(path)
