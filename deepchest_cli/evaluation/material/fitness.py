"""Whether models fit each other and a data set, before anything is predicted."""

from typing import Any

from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.compatibility import is_synthetic
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.model.checkpoint import LoadedModel


def refuse_twice(models: list[LoadedModel]) -> None:
    """Raise `UsageError` where an ensemble names a model twice, which would count double."""
    hashes = [model.sha256 for model in models]
    for place, one in enumerate(hashes):
        if one in hashes[:place]:
            first = models[hashes.index(one)].path
            raise UsageError(
                f"{models[place].path} is the same model as {first}.",
                "Name each model of an ensemble once.",
            )


def refuse_other_findings(models: list[LoadedModel]) -> None:
    """Raise `UsageError` where the models of an ensemble predict different findings."""
    for model in models[1:]:
        if set(model.identity["findings"]) != set(models[0].identity["findings"]):
            raise UsageError(
                f"{model.path} predicts other findings than {models[0].path}.",
                "The models of an ensemble need the same findings.",
            )


def refuse_other_sizes(models: list[LoadedModel], dataset: RadiographDataset) -> None:
    """Raise `UsageError` where a model was trained on images stored at another size."""
    for model in models:
        expected = model.classifier.architecture.stored_size
        if dataset.size != expected:
            raise UsageError(
                f"{dataset.folder} holds images of {dataset.size} px; the model was trained on "
                f"{expected} px.",
                f"Prepare the data at that size: deepchest prepare --size {expected} --data FOLDER",
            )


def are_synthetic(
    models: list[LoadedModel], dataset: RadiographDataset, overlap: dict[str, Any]
) -> bool | None:
    """Whether the radiographs are synthetic: as the data say, or as those that a model knows."""
    known = overlap["training"] + overlap["validation"] > 0
    if known and any(is_synthetic(model.origin["source"]) for model in models):
        return True
    return is_synthetic(dataset.manifest["source"])


def not_predicted(dataset: RadiographDataset, predictions: Predictions) -> str:
    """Return which findings of a data set have no predictions; nothing where all have."""
    missing = [name for name in dataset.findings if name not in predictions.findings]
    return f"Not predicted: {', '.join(missing)}." if missing else ""
