"""What is said of models before they predict."""

from typing import TYPE_CHECKING

from deepchest_cli.data.text import by_reason, count_of, counts_by_reason, few
from deepchest_cli.reporter import Reporter

if TYPE_CHECKING:
    from deepchest_cli.prediction.image_prediction import Calibration
    from deepchest_cli.prediction.predictor import Predictor

SYNTHETIC = "trained on synthetic radiographs, so that predictions say nothing about patients"
RAW = (
    "no calibration and no operating points: probabilities are raw (deepchest evaluate chooses "
    "them on validation and stores them)"
)
RAW_UNFLAGGED = RAW.replace("raw (", "raw, and nothing is flagged (")
WITHOUT_REFERENCE = (
    "no reference of the training images, so that whether an image is unlike them is not tested"
)


def warn_of_models(
    predictor: "Predictor", reporter: Reporter, verbose: bool = False, hint: str = ""
) -> None:
    """Warn of what the probabilities and the flags of these models do not rest on.

    Models with the same to say share a warning. verbose: name the findings that are never flagged;
    hint: where else they are named.
    """
    said: dict[str, list[str]] = {}
    for network, calibration in zip(predictor.networks, predictor.calibrations, strict=True):
        metadata = network.metadata
        path = metadata.identity["path"]
        kinds = []
        if metadata.identity["synthetic"]:
            kinds.append(SYNTHETIC)
        if metadata.validation_fit is None:
            kinds.append(RAW_UNFLAGGED if predictor.flags_nothing else RAW)
        elif site := metadata.validation_fit.get("site"):
            whose = "a site" if site["images"] else "its authors"
            reporter.note(f"{path} has the thresholds of {whose}: {calibration.source}.")
        if calibration.no_threshold:
            kinds.append(_without_threshold(calibration, verbose, hint))
        if metadata.reference is None:
            kinds.append(WITHOUT_REFERENCE)
        for kind in kinds:
            said.setdefault(kind, []).append(path)
    for kind, paths in said.items():
        reporter.warning(f"{few(paths)}: {kind}.")


def _without_threshold(calibration: "Calibration", verbose: bool, hint: str) -> str:
    """Return how many findings are never flagged, and why; with `verbose` which."""
    reasons = calibration.no_threshold
    total = count_of(len(calibration.findings), "finding")
    said = f"no operating point for {len(reasons)} of {total}, which are never flagged"
    if verbose:
        return f"{said}: {by_reason(reasons.items())}"
    return f"{said} ({counts_by_reason(reasons.items())}{hint})"
