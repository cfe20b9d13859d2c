"""`main`: the overview of all commands, exit codes, signals and the rendering of errors.

Typer is imported for a command only: the overview is there at once.
"""

import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from deepchest_cli import __version__
from deepchest_cli.commands.registry import COMMANDS
from deepchest_cli.errors import DeepChestError, ExitCode, InterruptedRunError
from deepchest_cli.files import allow_open_files, is_full
from deepchest_cli.interruption import InterruptionError, end_on_signal
from deepchest_cli.terminal import Terminal, render_error, show_notice

MAX_COLUMNS = 10_000
COMPLETION = "_DEEPCHEST_COMPLETE"  # set by a shell that asks for words
HELP = ("--help", "-h")
VERSION = "--version"
WITHOUT_NOTICE = {*HELP, "--json", "--quiet"}
FLAGS = (
    ("COMMAND --help", "Show the flags of a command; -h does too."),
    ("--version", "Show the version."),
    ("--install-completion", "Let the current shell complete commands and flags."),
    ("--show-completion", "Show the script that completes them, to copy or change it."),
)


def main() -> NoReturn:
    """Run the command line; an error that a person can act on has no traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a sign that the terminal lacks ends no work
        sys.stdout.reconfigure(errors="replace")
    allow_open_files()
    _forget_odd_width()
    with end_on_signal():
        _run()
    sys.exit(ExitCode.DONE)


def _forget_odd_width() -> None:
    """Forget a width that is none: Rich would write nothing, or fail."""
    columns = os.environ.get("COLUMNS", "")
    if not (columns.isascii() and columns.isdigit() and 0 < int(columns[:9]) <= MAX_COLUMNS):
        os.environ.pop("COLUMNS", None)


def _run() -> None:
    arguments = sys.argv[1:]
    try:
        if COMPLETION not in os.environ and (not arguments or arguments[0] in HELP):
            _show_commands()
            if not arguments:
                sys.exit(ExitCode.WRONG_USE)
        elif arguments[:1] == [VERSION]:
            Terminal().line(f"deepchest {__version__}")
        else:
            _run_command(arguments)
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


def _run_command(arguments: Sequence[str]) -> None:
    is_first = os.environ.get("RANK", "0") == "0"  # of the processes of a launcher
    names_command = bool(arguments) and arguments[0] in COMMANDS
    if names_command and is_first and not WITHOUT_NOTICE & set(arguments):
        show_notice(f"Starting deepchest {arguments[0]} ...")
    from deepchest_cli.commands.arguments import check_arguments
    from deepchest_cli.commands.binding import application

    check_arguments(arguments, COMMANDS)
    application(arguments)()


def _show_commands() -> None:
    """Write which commands there are, and where to begin."""
    terminal = Terminal()
    for text in ("Train, compare and ship multi-label chest X-ray classifiers.", ""):
        terminal.paragraph(text)
    terminal.line("Usage: deepchest COMMAND [FLAGS]")
    for title, entries in (
        ("Commands", [(name, info.summary) for name, info in COMMANDS.items()]),
        ("Flags", FLAGS),
    ):
        terminal.line(f"\n{title}:")
        terminal.definitions(entries)
    terminal.line("\nNo data yet? Try it on synthetic radiographs:\n  deepchest prepare --demo")


def _explain(error: BaseException) -> DeepChestError | None:
    """Return the error to show for one that is not ours; None where its traceback says it best."""
    from deepchest_cli.device_errors import explain_device, first_line, is_out_of_memory
    from deepchest_cli.own_code import failure_of_own

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
