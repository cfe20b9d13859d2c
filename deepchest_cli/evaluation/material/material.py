"""All that an evaluation needs to know, wherever it comes from."""

from dataclasses import dataclass, field
from typing import Any

from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.evaluation.cases import Cases
from deepchest_cli.evaluation.choices import Choices
from deepchest_cli.model.checkpoint import LoadedModel


@dataclass(frozen=True)
class Material:
    """The scored cases, what validation chose, and where all of it comes from."""

    cases: Cases
    description: dict[str, Any]  # model, models, predictions, labels, data, split, ...
    choices: Choices | None
    choices_note: str  # where the choices come from, or why there are none
    learned: Cases | None  # other patients, for the metadata baseline; probabilities mean nothing
    notes: tuple[str, ...] = ()  # what a reader should know
    warnings: tuple[str, ...] = ()  # what a user should not miss
    medmnist: bool = False  # labels are those of chestmnist.npz
    dataset: RadiographDataset | None = None
    rows: Any = None  # (N,), of the data set
    models: tuple[LoadedModel, ...] = field(default=())

    @property
    def name(self) -> str:
        """What is scored, in words."""
        described = self.description
        models = ", ".join(model["path"] for model in described["models"])
        return str(described["predictions"] or models)
