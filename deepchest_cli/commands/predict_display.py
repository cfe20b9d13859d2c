"""Predictions as a table, one JSON document, JSON lines or CSV; the last two as they come."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deepchest_cli.commands.named_lists import named_lists, titles_of
from deepchest_cli.data.text import count_of, printable
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
MOST_PROBABLE = 3  # findings of each of many images, where none can be flagged


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
        titles = titles_of(self.kept)
        flags_nothing = all(math.isnan(value) for value in self.kept[0].thresholds.values())
        listed = len(self.kept) > ACROSS
        if self.top is not None:
            self._lines(titles, "Most probable findings", self.top)
        elif listed and self.terminal.verbose:
            pairs = zip(titles, self.kept, strict=True)
            rows = [[title, *(_cell(one, name) for name in self.findings)] for title, one in pairs]
            self.terminal.table([self.unit, *self.findings], rows)
        elif listed and flags_nothing:
            self._lines(titles, "Most probable findings", MOST_PROBABLE)
        elif listed:
            self._lines(titles, "Flagged findings")
        else:
            thresholds = self.kept[0].thresholds
            rows = [
                [name, number(thresholds[name]), *(_cell(one, name) for one in self.kept)]
                for name in self.findings
            ]
            self.terminal.table(["Finding", "Threshold", *titles], rows)
        self._list_studies()
        self._say_what_they_rest_on(listed and self.top is None and not self.terminal.verbose)

    def _lines(self, titles: Sequence[str], heading: str, top: int | None = None) -> None:
        """Write a line for each image: its most probable findings, or all that are flagged."""
        rows = [(self.unit, [heading])]
        for title, one in zip(titles, self.kept, strict=True):
            probable = highest(one, len(self.findings) if top is None else top)
            named = probable if top is not None else [n for n in probable if n in one.flagged]
            cells = [f"{name} {_cell(one, name).rstrip()}" for name in named]
            if top is None:
                cells = [cell.removesuffix(FLAG) for cell in cells] or ["none flagged"]
            rows.append((title, cells))
        for line in named_lists(rows, self.terminal.width):
            self.terminal.line(line)

    def _say_what_they_rest_on(self, flagged_only: bool) -> None:
        calibrated = len(self.kept[0].calibrated)
        self.terminal.note(
            f"Probabilities: {calibrated} of {count_of(len(self.findings), 'finding')} calibrated, "
            f"the others raw. Flagged{'' if flagged_only else ' (*)'} by: {self.source}."
        )
        if flagged_only:
            self.terminal.note("All probabilities: --verbose, or --format csv and json.")
        if self.of_studies and not self.source.startswith(("--", "none")):
            self.terminal.note(
                "These thresholds were chosen for single images, not for means over studies."
            )

    def _list_studies(self) -> None:
        """Write the images of the first studies, except of images that no study is known of."""
        from deepchest_cli.prediction.studies import StudyPrediction
        from deepchest_cli.prediction.study import BY_IMAGE

        found = [one for one in self.kept if isinstance(one, StudyPrediction)]
        studies = [one for one in found if one.source != BY_IMAGE]
        shown = studies if self.terminal.verbose else studies[:NAMED]
        for one in shown:
            self.terminal.paragraph(printable(one.described()))
        if len(shown) < len(studies):
            more = count_of(len(studies) - len(shown), "more study")
            self.terminal.note(f"{more}: --verbose or --format json lists the images of all.")


def highest(prediction: "Prediction", top: int) -> list[str]:
    """Return the most probable findings in descending order."""
    probabilities = prediction.probabilities
    return sorted(probabilities, key=lambda name: -probabilities[name])[:top]


def _cell(prediction: "Prediction", finding: str) -> str:
    probability = prediction.probabilities[finding]
    return number(probability) + (FLAG if finding in prediction.flagged else "  ")
