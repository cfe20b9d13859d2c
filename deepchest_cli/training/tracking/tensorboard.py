"""TensorBoard: event files in the folder of a run or a comparison."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from deepchest_cli.errors import UsageError
from deepchest_cli.extras import install_hint
from deepchest_cli.training.tracking.base import Destinations, Outcome, Subject, Tracker
from deepchest_cli.training.tracking.records import Record

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

EVENTS = "tensorboard"
IMAGE = ".png"


class TensorBoard(Tracker):
    """The events of a run or a comparison; it keeps plots, and no other files."""

    title = "TensorBoard"

    def __init__(self, subject: Subject, destinations: Destinations, record: Record | None) -> None:
        folder = subject.folder / EVENTS
        self.identifier = EVENTS
        self.step = record.step if record is not None and folder.is_dir() else 0
        # what was written of later epochs, before an interruption, counts no more
        self.writer = _writer()(folder, purge_step=self.step + 1 if self.step else None)
        if not self.step:
            rows = (f"| {name} | `{value}` |" for name, value in subject.config.items())
            self.writer.add_text("configuration", "\n".join(["| | |", "|---|---|", *rows]))

    @classmethod
    def check(cls, destinations: Destinations, record: Record | None = None) -> None:
        """Raise `UsageError` where TensorBoard is not installed."""
        _writer()

    @staticmethod
    def hint(folder: Path, destinations: Destinations, record: Record | None) -> str:
        """Return the command that shows the events, of a comparison those of all its runs."""
        return f"tensorboard --logdir {quote(str(folder))}"

    def log_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add scalars, and write them to disk."""
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def log_texts(self, texts: Mapping[str, str]) -> None:
        """Add texts."""
        for name, text in texts.items():
            self.writer.add_text(name, text)

    def log_files(self, step: int, files: Sequence[Path]) -> None:
        """Add the plots among the files."""
        import numpy as np
        from PIL import Image

        for file in files:
            if file.suffix == IMAGE:
                with Image.open(file) as image:
                    pixels = np.asarray(image.convert("RGB"))
                self.writer.add_image(f"plots/{file.stem}", pixels, step, dataformats="HWC")

    def close(self, outcome: Outcome) -> None:
        """Write what is left and close the file."""
        self.writer.close()


def _writer() -> type["SummaryWriter"]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("TensorBoard is not installed.", install_hint("tensorboard")) from error
    return SummaryWriter
