"""The training of one run: its components, its trainer, and its plots at the end."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from deepchest_cli.config import TrainConfig
from deepchest_cli.errors import InterruptedRunError
from deepchest_cli.library.processes import ignore_launcher_signals
from deepchest_cli.library.run_description import describe_run
from deepchest_cli.reporter import Reporter
from deepchest_cli.user_cache import features_folder, training_rates_file

if TYPE_CHECKING:
    from deepchest_cli.data.dataset import RadiographDataset
    from deepchest_cli.training.components import TrainingComponents
    from deepchest_cli.training.distributed import DistributedContext
    from deepchest_cli.training.loop import Trainer
    from deepchest_cli.training.progress import Observer
    from deepchest_cli.training.summary import TrainingSummary

# returns a context with the observers of what is trained, in the run's folder
Observe = Callable[["TrainingComponents", Path], AbstractContextManager[Sequence["Observer"]]]


def build(
    config: TrainConfig,
    distributed: "DistributedContext",
    resumed: bool,
    dataset: "RadiographDataset | None",
) -> "TrainingComponents":
    """Return the components of a run, or of a linear probe; errors as of `build_components`."""
    from deepchest_cli.training.components import build_components
    from deepchest_cli.training.probe import build_probe

    if config.linear_probe:
        return build_probe(config, distributed, resumed, dataset)
    return build_components(config, distributed, resumed, dataset, training_rates_file())


def fit(
    components: "TrainingComponents",
    folder: Path,
    goes_on: bool,
    reporter: Reporter,
    observe: Observe,
) -> "TrainingSummary":
    """Train in the folder of a run and draw its plots; return how it has ended.

    goes_on: from the last checkpoint there, if there is any. Raises what `Trainer.fit` raises.
    """
    from deepchest_cli.training.checks import refuse_unlike_states
    from deepchest_cli.training.loop import Trainer
    from deepchest_cli.training.probe import ProbeTrainer
    from deepchest_cli.training.resume import record_changes

    distributed = components.distributed
    describe_run(components, folder, reporter)
    with observe(components, folder) as observers:
        trainer = (
            ProbeTrainer(components, folder, features_folder(), *observers)
            if components.config.linear_probe
            else Trainer(components, folder, *observers)
        )
        if goes_on:
            trainer.resume()
            refuse_unlike_states(distributed, trainer.state.step, folder)
            if distributed.is_main:
                record_changes(components.config, folder)
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
