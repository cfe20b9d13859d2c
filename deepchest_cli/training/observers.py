"""Several observers of one run."""

from deepchest_cli.training.progress import EpochReport, Observer, StepReport


class Observers:
    """Passes everything on to several observers, in their order."""

    def __init__(self, *observers: Observer) -> None:
        self.observers = observers

    def on_step(self, report: StepReport) -> None:
        """Pass on a step."""
        for observer in self.observers:
            observer.on_step(report)

    def on_epoch(self, report: EpochReport) -> None:
        """Pass on a finished epoch."""
        for observer in self.observers:
            observer.on_epoch(report)

    def on_note(self, text: str) -> None:
        """Pass on what the user should be told."""
        for observer in self.observers:
            observer.on_note(text)

    def on_warning(self, text: str) -> None:
        """Pass on what the user should not miss."""
        for observer in self.observers:
            observer.on_warning(text)
