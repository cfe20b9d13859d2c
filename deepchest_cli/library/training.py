"""Training in a program: `from deepchest_cli import train; run = train(epochs=3)`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from deepchest_cli.config import TrainConfig, find_data, parse_assignment
from deepchest_cli.errors import InterruptedRunError, UsageError
from deepchest_cli.library.calls import alone, as_call, kept_torch_state
from deepchest_cli.library.keywords import AnyPath, configuration, takes_flags_of, with_given
from deepchest_cli.library.notebook import Receive, recorder
from deepchest_cli.library.processes import distributed_processes, ignore_launcher_signals
from deepchest_cli.library.run import Run
from deepchest_cli.library.run_description import describe_run
from deepchest_cli.library.tracking import check_tracking, tracking
from deepchest_cli.reporter import Recorder, Reporter
from deepchest_cli.user_cache import features_folder, training_rates_file

if TYPE_CHECKING:
    from deepchest_cli.library.options import TrainOptions
    from deepchest_cli.training.components import TrainingComponents
    from deepchest_cli.training.distributed import DistributedContext
    from deepchest_cli.training.loop import Trainer
    from deepchest_cli.training.progress import Observer
    from deepchest_cli.training.summary import TrainingSummary

    Observe = Callable[[TrainingComponents, Path], AbstractContextManager[Sequence[Observer]]]

# flags that may change when a run is resumed: they change where and how it is computed, and its
# results only by rounding and by the micro-batches of batch norm
FREE_ON_RESUME = frozenset(
    {"resume", "recipe", "out", "device", "cache", "grad_accum_steps", "grad_checkpoint", "compile"}
    | {"track"}
)


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

    >>> run = train("data/demo-shards", recipe="quick", epochs=1)
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

    with report.progress("Training") as move, logs(components, folder, report) as further:
        yield [Listener(), *others, *further]


@contextmanager
def logs(
    components: "TrainingComponents", folder: Path, reporter: Reporter
) -> Iterator[list["Observer"]]:
    """Yield the observers that the configuration asks for: that of the trackers."""
    names = components.config.track if components.distributed.is_main else ()
    with tracking(names, folder, reporter) as observers:
        yield observers


def refuse_unknown_weighter(config: TrainConfig) -> None:
    """Raise `UsageError` for a misspelled weighter or option of a new run, without torch."""
    from deepchest_cli.weighting.registry import read_weighter

    if config.resume is None:
        options = [parse_assignment(text, "--weighter-option") for text in config.weighter_option]
        read_weighter(config.weighter, options)


def train_run(
    config: TrainConfig, distributed: "DistributedContext", reporter: Reporter, observe: "Observe"
) -> "TrainingSummary":
    """Train a new run, or go on with one, and draw its plots; return how it has ended.

    observe: returns a context with the observers of what is trained, in the run's folder. Raises
    `UsageError` before anything is trained, and what `Trainer.fit` raises.
    """
    from deepchest_cli.model.checkpoint_format import LAST
    from deepchest_cli.training.checks import refuse_unlike_states
    from deepchest_cli.training.components import build_components
    from deepchest_cli.training.loop import Trainer
    from deepchest_cli.training.probe import ProbeTrainer, build_probe
    from deepchest_cli.training.resume import folder_to_resume, open_data_again, record_changes
    from deepchest_cli.training.run_directory import create_run

    # by the main process alone: another could find the folder already begun
    if distributed.is_main:
        config = _resolved(config, reporter)
        check_tracking(config)  # refuses before there is a run
    config = distributed.broadcast(config)
    folder = folder_to_resume(config)
    dataset = open_data_again(config, folder) if folder else None
    if dataset is not None:  # in the order that the run began with
        config = replace(config, data=tuple(str(member.folder) for member in dataset.members))
    resumed = distributed.broadcast(folder is not None and (folder / LAST).is_file())
    if config.linear_probe:
        components = build_probe(config, distributed, resumed, dataset)
    else:
        components = build_components(config, distributed, resumed, dataset, training_rates_file())
    if folder is None and distributed.is_main:
        folder = create_run(components.config)
    folder = distributed.broadcast(folder)
    assert folder is not None
    describe_run(components, folder, reporter)
    with observe(components, folder) as observers:
        trainer = (
            ProbeTrainer(components, folder, features_folder(), *observers)
            if config.linear_probe
            else Trainer(components, folder, *observers)
        )
        if dataset is not None:
            trainer.resume()
            refuse_unlike_states(distributed, trainer.state.step, folder)
            if distributed.is_main:
                record_changes(config, folder)
            reporter.note(_resumed_state(trainer))
        try:
            with ignore_launcher_signals(distributed):
                summary = trainer.fit()
        except InterruptedRunError:
            _plot(distributed, folder, reporter)
            distributed.barrier()  # srun may kill all processes as soon as one has ended
            raise
        _plot(distributed, folder, reporter)
        return summary


def _resolved(config: TrainConfig, reporter: Reporter) -> TrainConfig:
    """Return the configuration with the folder to resume, or with the data of a new run.

    Flags that contradict a resumed run are errors.
    """
    from deepchest_cli.model.checkpoint_format import LAST
    from deepchest_cli.training.resume import folder_to_resume, refuse_changes, resolve_auto

    if folder_to_resume(config) is not None and config.recipe is not None:
        raise UsageError(
            "--recipe is for new runs: a resumed one has its values in its config.toml.",
            "Leave --recipe or --resume out.",
        )
    config = resolve_auto(config)
    folder = folder_to_resume(config)
    if folder is None:
        data, note = find_data(config.data)
        if note:
            reporter.note(note)
        return replace(config, data=data)
    if folder.is_symlink():  # runs/latest may name another run by the time this one saves
        folder = folder.parent / folder.readlink()
    # data elsewhere are compared with those of the checkpoint
    free = FREE_ON_RESUME | ({"data"} if (folder / LAST).is_file() else set())
    return replace(refuse_changes(config, folder, free), resume=folder)


def _resumed_state(trainer: "Trainer") -> str:
    if trainer.is_finished:
        return f"{trainer.folder} has finished: nothing is left to train."
    if not trainer.state.step:
        return f"{trainer.folder} has no step yet: it begins anew."
    return f"Resumed after step {trainer.state.step}."


def _plot(distributed: "DistributedContext", folder: Path, reporter: Reporter) -> None:
    """Draw the run's plots; an error there does not fail the run."""
    from deepchest_cli.training.plots import draw_run

    if distributed.is_main:
        try:
            draw_run(folder)
        except Exception as error:
            reporter.warning(f"The run's plots could not be drawn: {error}.")
