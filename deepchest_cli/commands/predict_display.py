"""Predictions as a table, one JSON document, JSON lines or CSV; the last two as they come."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deepchest_cli.data.text import by_reason, count_of
from deepchest_cli.files import to_csv, to_json
from deepchest_cli.reporting.numbers import number
from deepchest_cli.terminal import Terminal

if TYPE_CHECKING:
    from deepchest_cli.prediction.image_prediction import ImagePrediction, Prediction
    from deepchest_cli.prediction.predictor import Predictor
    from deepchest_cli.prediction.studies import StudyPrediction

    Answer = ImagePrediction | StudyPrediction

ACROSS = 4  # images that stand beside each other in a table
FLAG = " *"
NAMED = 10  # studies whose images are listed below a table


def explain(predictor: "Predictor", terminal: Terminal) -> None:
    """Warn of what the probabilities and the flags of these models do not rest on."""
    for network, calibration in zip(predictor.networks, predictor.calibrations, strict=True):
        metadata = network.metadata
        path = metadata.identity["path"]
        if metadata.identity["synthetic"]:
            terminal.warning(
                f"{path} was trained on synthetic radiographs: its predictions say nothing about "
                "patients."
            )
        if metadata.validation_fit is None:
            flags = ", and nothing is flagged" if predictor.flags_nothing else ""
            terminal.warning(
                f"{path} has no calibration and no operating points: probabilities are raw{flags}. "
                "deepchest evaluate chooses them on validation and stores them."
            )
        elif site := metadata.validation_fit.get("site"):
            whose = "a site" if site["images"] else "its authors"
            terminal.note(f"{path} has the thresholds of {whose}: {calibration.source}.")
        if calibration.no_threshold:
            reasons = by_reason(calibration.no_threshold.items())
            terminal.warning(
                f"{path} has no operating point for some findings, which are never flagged: "
                f"{reasons}."
            )
        if metadata.reference is None:
            terminal.warning(
                f"{path} holds no reference of its training images: whether an image is unlike "
                "them is not tested."
            )


class Writer:
    """Writes predictions in one format."""

    def __init__(
        self, predictor: "Predictor", form: str, top: int | None, unit: str, terminal: Terminal
    ) -> None:
        self.findings = predictor.findings
        self.identities = [network.metadata.identity for network in predictor.networks]
        self.source = predictor.source
        self.form, self.top, self.terminal = form, top, terminal
        self.unit, self.of_studies = unit.capitalize(), unit == "study"
        self.kept: list[Answer] = []
        self.objects: list[dict[str, Any]] = []
        if form == "csv":
            terminal.text(to_csv(self._columns(), []))

    def add(self, prediction: "Answer") -> bool:
        """Write a prediction, or keep it for the end; return whether the output is still open."""
        if self.form == "table":
            self.kept.append(prediction)
            return True
        if self.form == "csv":
            text = to_csv(self._columns(), [self._row(prediction)])
            return self.terminal.text(text.partition("\n")[2])
        plain = prediction.to_plain()
        if self.top is not None:
            plain["top"] = highest(prediction, self.top)
        if self.form == "jsonl":
            return self.terminal.line(to_json(plain))
        self.objects.append(plain)
        return True

    def end(self, failed: Sequence[tuple[str, str]]) -> None:
        """Write what was kept; failed: why some files or studies have no answer."""
        if self.form == "json":
            self.terminal.document(
                {
                    "model": self.identities[0] if len(self.identities) == 1 else None,
                    "models": self.identities,
                    "studies" if self.of_studies else "images": self.objects,
                    "failed": [{"path": path, "reason": why} for path, why in failed],
                }
            )
        elif self.form == "table" and self.kept:
            self._table()

    def _columns(self) -> list[str]:
        top = ["top"] if self.top is not None else []
        named = ["study", "images", "paths"] if self.of_studies else ["path", "sha256"]
        return [*named, *self.findings, "flagged", "warnings", "model_sha256", *top]

    def _row(self, prediction: "Answer") -> dict[str, Any]:
        row: dict[str, Any] = {
            **prediction.in_row(),
            **prediction.probabilities,
            "flagged": "|".join(prediction.flagged),
            "warnings": "|".join(warning.code for warning in prediction.warnings),
            "model_sha256": "|".join(identity["sha256"] for identity in self.identities),
        }
        if self.top is not None:
            row["top"] = "|".join(highest(prediction, self.top))
        return row

    def _table(self) -> None:
        if self.top is not None:
            self._top_table(self.top)
        elif len(self.kept) <= ACROSS:
            thresholds = self.kept[0].thresholds
            rows = [
                [name, *(_cell(one, name) for one in self.kept), number(thresholds[name])]
                for name in self.findings
            ]
            names = [one.title for one in self.kept]
            self.terminal.table(["Finding", *names, "Threshold"], rows)
        else:
            rows = [[one.title, *(_cell(one, name) for name in self.findings)] for one in self.kept]
            self.terminal.table([self.unit, *self.findings], rows)
        self._list_studies()
        calibrated = len(self.kept[0].calibrated)
        self.terminal.note(
            f"Probabilities: {calibrated} of {count_of(len(self.findings), 'finding')} calibrated, "
            f"the others raw. Flagged (*) by: {self.source}."
        )
        if self.of_studies and not self.source.startswith(("--", "none")):
            self.terminal.note(
                "These thresholds were chosen for single images, not for means over studies."
            )

    def _list_studies(self) -> None:
        """Say which images make the first studies that are known as such."""
        from deepchest_cli.prediction.studies import StudyPrediction
        from deepchest_cli.prediction.study import BY_IMAGE

        found = [one for one in self.kept if isinstance(one, StudyPrediction)]
        studies = [one for one in found if one.source != BY_IMAGE]
        for one in studies[:NAMED]:
            self.terminal.line(one.described())
        if studies[NAMED:]:
            more = count_of(len(studies) - NAMED, "more study", "more studies")
            self.terminal.note(f"{more}: --format json lists the images of all.")

    def _top_table(self, top: int) -> None:
        rows = [
            [one.title, *(f"{name} {_cell(one, name)}" for name in highest(one, top))]
            for one in self.kept
        ]
        places = [str(place + 1) for place in range(len(rows[0]) - 1)]
        self.terminal.table([self.unit, *places], rows)


def highest(prediction: "Prediction", top: int) -> list[str]:
    """Return the most probable findings in descending order."""
    probabilities = prediction.probabilities
    return sorted(probabilities, key=lambda name: -probabilities[name])[:top]


def _cell(prediction: "Prediction", finding: str) -> str:
    probability = prediction.probabilities[finding]
    return number(probability) + (FLAG if finding in prediction.flagged else "  ")
