"""Answers as a table, one JSON document, JSON lines or CSV; the last two as they come."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepchest_cli.data.text import count_of
from deepchest_cli.files import to_csv, to_json
from deepchest_cli.reporting.numbers import number
from deepchest_cli.terminal import Terminal, table_of

if TYPE_CHECKING:
    from deepchest_cli.prediction.answers import Answer
    from deepchest_cli.prediction.predictor import Predictor

ACROSS = 4  # images that stand beside each other in a table
FLAG = " *"


def explain(predictor: "Predictor", terminal: Terminal) -> None:
    """Say what the probabilities and the flags of this model rest on."""
    for network in predictor.networks:
        knowledge = network.knowledge
        path = knowledge.identity["path"]
        if knowledge.identity["synthetic"]:
            terminal.warning(f"{path} was trained on synthetic radiographs; it knows no patients.")
        if knowledge.choices is None:
            flags = ", and nothing is flagged" if predictor.flags_nothing else ""
            terminal.warning(
                f"{path} has no calibration and no operating points: probabilities are raw{flags}. "
                "deepchest evaluate chooses them on validation and stores them."
            )
        if knowledge.reference is None:
            terminal.warning(
                f"{path} knows nothing of its training images: whether a picture is unlike them "
                "inconclusive."
            )


class Writer:
    """Writes answers in one form."""

    def __init__(
        self, predictor: "Predictor", form: str, top: int | None, terminal: Terminal
    ) -> None:
        self.findings = predictor.findings
        self.identities = [network.knowledge.identity for network in predictor.networks]
        self.source = predictor.source
        self.form, self.top, self.terminal = form, top, terminal
        self.kept: list[Answer] = []
        self.images: list[dict[str, Any]] = []
        if form == "csv":
            terminal.text(to_csv(self._columns(), []))

    def add(self, answer: "Answer", maps: dict[str, str] | None) -> bool:
        """Write an answer, or keep it for the end; whether anybody still reads."""
        if self.form == "table":
            self.kept.append(answer)
            return True
        if self.form == "csv":
            text = to_csv(self._columns(), [self._row(answer)])
            return self.terminal.text(text.partition("\n")[2])
        image = answer.to_plain()
        if self.top is not None:
            image["top"] = highest(answer, self.top)
        if maps is not None:
            image["heatmaps"] = maps
        if self.form == "jsonl":
            return self.terminal.line(to_json(image))
        self.images.append(image)
        return True

    def end(self, failed: list["Answer"]) -> None:
        """Write what was kept."""
        if self.form == "json":
            self.terminal.document(
                {
                    "model": self.identities[0] if len(self.identities) == 1 else None,
                    "models": self.identities,
                    "images": self.images,
                    "failed": [{"path": one.path, "reason": one.problem} for one in failed],
                }
            )
        elif self.form == "table" and self.kept:
            self._table()

    def _columns(self) -> list[str]:
        top = ["top"] if self.top is not None else []
        return ["path", "sha256", *self.findings, "flagged", "warnings", *top]

    def _row(self, answer: "Answer") -> dict[str, Any]:
        row: dict[str, Any] = {
            "path": answer.path,
            "sha256": answer.sha256,
            **answer.probabilities,
            "flagged": "|".join(answer.flagged),
            "warnings": "|".join(oddity.code for oddity in answer.oddities),
        }
        if self.top is not None:
            row["top"] = "|".join(highest(answer, self.top))
        return row

    def _table(self) -> None:
        if self.top is not None:
            self._top_table(self.top)
        elif len(self.kept) <= ACROSS:
            thresholds = self.kept[0].thresholds
            rows = [
                [name, *(_cell(answer, name) for answer in self.kept), number(thresholds[name])]
                for name in self.findings
            ]
            names = [Path(answer.path).name for answer in self.kept]
            self.terminal.table(table_of(["Finding", *names, "Flagged from"], rows))
        else:
            rows = [
                [Path(answer.path).name, *(_cell(answer, name) for name in self.findings)]
                for answer in self.kept
            ]
            self.terminal.table(table_of(["Image", *self.findings], rows))
        calibrated = len(self.kept[0].calibrated)
        self.terminal.note(
            f"Probabilities: {calibrated} of {count_of(len(self.findings), 'finding')} calibrated, "
            f"the others raw. Flagged (*) by: {self.source}."
        )

    def _top_table(self, top: int) -> None:
        rows = [
            [
                Path(answer.path).name,
                *(f"{name} {_cell(answer, name)}" for name in highest(answer, top)),
            ]
            for answer in self.kept
        ]
        places = [str(place + 1) for place in range(len(rows[0]) - 1)]
        self.terminal.table(table_of(["Image", *places], rows))


def highest(answer: "Answer", top: int) -> list[str]:
    """Return the most probable findings, the first first."""
    ordered = sorted(answer.probabilities, key=lambda name: -answer.probabilities[name])
    return ordered[:top]


def _cell(answer: "Answer", finding: str) -> str:
    probability = answer.probabilities[finding]
    return number(probability) + (FLAG if finding in answer.flagged else "  ")
