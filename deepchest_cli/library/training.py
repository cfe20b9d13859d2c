"""Training in a program: `from deepchest_cli import train; run = train(epochs=3)`."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from deepchest_cli.config import TrainConfig
from deepchest_cli.errors import InterruptedRunError
from deepchest_cli.library.calls import alone, as_call, kept_torch_state
from deepchest_cli.library.keywords import AnyPath, configuration, takes_flags_of, with_given
from deepchest_cli.library.notebook import Receive, recorder
from deepchest_cli.library.operations.train import logs, refuse_unknown_weighter, train_run
from deepchest_cli.library.processes import distributed_processes
from deepchest_cli.library.run import Run
from deepchest_cli.reporter import Recorder

if TYPE_CHECKING:
    from deepchest_cli.library.options import TrainOptions
    from deepchest_cli.training.components import TrainingComponents
    from deepchest_cli.training.progress import Observer


@takes_flags_of(TrainConfig)
def train(
    data: AnyPath | Iterable[AnyPath] | None = None,
    *,
    progress: bool | Receive = False,
    observers: Iterable["Observer"] = (),
    **options: "Unpack[TrainOptions]",
) -> Run:
    """Train a classifier and return its run; the test split is never read.

    data: folders of prepared shards. progress: True for a bar, or what receives it: what is done,
    how much of it, and of how much. observers: receive each step and each epoch
    (`deepchest_cli.training.progress.Observer`). options: the flags of `deepchest train`, in the
    form of keywords. Nothing is printed, and the run is in the same folder, with the same files.

    An interrupt (Ctrl-C, or a notebook's button) lets the step end, saves the state, and raises
    `InterruptedRunError`; `train(resume=FOLDER)` goes on. Raises `UsageError` for an option that
    does not hold, before anything is trained, and what `deepchest train` reports as an error.

    >>> run = train("data/demo-shards", backbone="small_cnn", epochs=1, max_steps=20)
    >>> run.history["validation_auroc"]
    """
    config = configuration(TrainConfig, "train", with_given(options, data=data))
    refuse_unknown_weighter(config)
    with alone("train"), kept_torch_state(config.deterministic):
        report = recorder(progress)
        observe = partial(_observers, report, tuple(observers))
        with distributed_processes(config.device, report) as distributed:
            try:
                summary = train_run(config, distributed, report, observe)
            except InterruptedRunError as error:
                raise as_call(error, "train") from None
    return Run(summary.run, tuple(report.notes), tuple(report.warnings), summary)


@contextmanager
def _observers(
    report: Recorder,
    others: Sequence["Observer"],
    components: "TrainingComponents",
    folder: Path,
) -> Iterator[Sequence["Observer"]]:
    from deepchest_cli.training.progress import Observer, StepReport

    class Listener(Observer):
        def on_step(self, step: StepReport) -> None:
            move(components.total_steps - step.remaining, components.total_steps)

        def on_features(self, done: int, total: int) -> None:
            move(done, total)

        def on_note(self, text: str) -> None:
            report.note(text)

        def on_warning(self, text: str) -> None:
            report.warning(text)

    fold, folds = components.config.fold, components.config.folds
    training = "Training" if fold is None else f"Training fold {fold} of {folds}"
    with report.progress(training) as move, logs(components, folder, report) as further:
        yield [Listener(), *others, *further]
