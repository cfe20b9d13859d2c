"""The Typer application and `main`: exit codes, signals and the rendering of errors."""

import io
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from deepchest_cli import __version__
from deepchest_cli.commands import (
    compare_weighters,
    doctor,
    evaluate,
    export,
    predict,
    prepare,
    recalibrate,
    runs,
    train,
    weighters,
)
from deepchest_cli.commands.arguments import check_arguments
from deepchest_cli.commands.binding import bind
from deepchest_cli.commands.launchers import in_one_process
from deepchest_cli.config import (
    CompareConfig,
    DoctorConfig,
    EvaluateConfig,
    ExportConfig,
    PredictConfig,
    PrepareConfig,
    RecalibrateConfig,
    RunsConfig,
    TrainConfig,
    WeightersConfig,
)
from deepchest_cli.device_errors import explain_device, first_line, is_out_of_memory
from deepchest_cli.errors import DeepChestError, ExitCode, InterruptedRunError
from deepchest_cli.files import allow_open_files, is_full
from deepchest_cli.interruption import InterruptionError, end_on_signal
from deepchest_cli.own_code import failure_of_own
from deepchest_cli.terminal import Terminal, render_error

application = typer.Typer(
    name="deepchest",
    help="Train, compare and ship multi-label chest X-ray classifiers.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
COMMANDS: dict[str, tuple[type[Any], Callable[[Any, Terminal], None]]] = {
    "prepare": (PrepareConfig, prepare.prepare),
    "train": (TrainConfig, train.train),
    "evaluate": (EvaluateConfig, evaluate.evaluate),
    "compare-weighters": (CompareConfig, compare_weighters.compare_weighters),
    "recalibrate": (RecalibrateConfig, recalibrate.recalibrate),
    "predict": (PredictConfig, predict.predict),
    "export": (ExportConfig, export.export),
    "runs": (RunsConfig, runs.runs),
    "weighters": (WeightersConfig, weighters.weighters),
    "doctor": (DoctorConfig, doctor.doctor),
}
CONFIGURATIONS = {name: config for name, (config, _) in COMMANDS.items()}
# train joins the other processes of its launcher; the others only read and print
IN_ANY_PROCESS = ("train", "runs", "weighters", "doctor")
for name, (config, run) in COMMANDS.items():
    bind(application, name, config, run if name in IN_ANY_PROCESS else in_one_process(name, run))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"deepchest {__version__}")
        raise typer.Exit


@application.callback()
def _global_options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Run the command line; an error that a person can act on has no traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a sign that the terminal lacks ends no work
        sys.stdout.reconfigure(errors="replace")
    allow_open_files()
    with end_on_signal():
        _run()
    sys.exit(ExitCode.DONE)


def _run() -> None:
    try:
        check_arguments(sys.argv[1:], CONFIGURATIONS)
        application()
    except DeepChestError as error:
        _fail(error)
    except InterruptionError as error:
        name = signal.Signals(error.exit_code - 128).name
        _fail(InterruptedRunError(f"Interrupted by {name}.", "", error.exit_code))
    except (Exception, SystemExit) as error:  # code of one's own may raise either
        explained = _explain(error)
        if explained is None:
            raise
        _fail(explained)


def _explain(error: BaseException) -> DeepChestError | None:
    """Return the error to show for one that is not ours; None where its traceback says it best."""
    if is_out_of_memory(error):
        said = first_line(error) or "Out of memory"
        return DeepChestError(f"{said}.", "Lower --batch-size or --image-size.")
    if explained := explain_device(error):
        return explained
    if own := failure_of_own(error):
        return own
    if isinstance(error, OSError):
        hint = "Free space, or choose another folder." if is_full(error) else ""
        return DeepChestError(f"{error.strerror or error}: {error.filename or 'a file'}.", hint)
    return None


def _fail(error: DeepChestError) -> NoReturn:
    if "--debug" in sys.argv:
        import traceback

        traceback.print_exc()
    render_error(error)
    sys.exit(error.exit_code)
