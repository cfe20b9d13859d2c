import errno
import io
import logging
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import deepchest_cli
from deepchest_cli import __version__
from deepchest_cli.commands.registry import COMMANDS
from deepchest_cli.config import flags_of
from deepchest_cli.config.flags import help_of
from deepchest_cli.errors import ExitCode
from deepchest_cli.terminal import Terminal

PACKAGE = Path(deepchest_cli.__file__).parent


def test_version(deepchest):
    outcome = deepchest("--version")
    assert (outcome.code, outcome.out) == (0, f"deepchest {__version__}\n")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_every_command(deepchest, flag):
    outcome = deepchest(flag)
    assert outcome.code == 0
    assert all(name in outcome.out for name in COMMANDS)


@pytest.mark.parametrize("columns", ["0", "-1", "abc", "\u00b2", "99999999999", ""])
def test_a_width_that_is_none_hides_nothing(deepchest, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    assert deepchest("--help").out.startswith("Train, compare and ship")
    outcome = deepchest("train", "--epochs", "0")
    assert outcome.err == "Error: --epochs should be at least 1. Found 0.\n"


def test_no_command_is_wrong_use_and_shows_the_commands(deepchest):
    outcome = deepchest()
    assert (outcome.code, outcome.out) == (ExitCode.WRONG_USE, deepchest("--help").out)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_shows_its_flags(deepchest, command):
    outcome = deepchest(command, "-h")
    assert outcome.code == 0
    assert all(flag in outcome.out for flag in ("--config", "--json", "--quiet", "--debug"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_bracket_survives_in_help(deepchest, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "500")  # no line is broken
    info = COMMANDS[command]
    flags = flags_of(info.configuration)
    helps = [help_of(kind, flag, field.default) for field, kind, flag in flags]
    shown = deepchest(command, "--help").out
    texts = [info.run.__doc__ or "", *helps]
    for bracketed in re.findall(r"\S*\[[^\]]*\]\S*", "\n".join(texts)):
        assert bracketed in shown


def test_the_example_with_options_can_be_copied_from_help(deepchest):
    assert "'deepchest,deepchest[signal=auroc]'" in deepchest("compare-weighters", "--help").out


@pytest.mark.parametrize(
    "arguments", [("tran",), ("train", "--epoch", "3"), ("train", "--epochs", "x")]
)
def test_wrong_use_exits_2(deepchest, arguments):
    outcome = deepchest(*arguments)
    assert outcome.code == ExitCode.WRONG_USE
    assert outcome.out == ""
    assert outcome.err


@pytest.mark.parametrize(
    ("words", "offered"),
    [(("",), COMMANDS), (("train", "--ba"), ("--backbone", "--batch-size"))],
)
def test_bash_completes_commands_and_flags(deepchest, monkeypatch, words, offered):
    monkeypatch.setenv("_DEEPCHEST_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "\n".join(("deepchest", *words)))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    outcome = deepchest()
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == list(offered)


def test_completion_script_is_offered(deepchest, monkeypatch):
    assert "--show-completion" in deepchest("--help").out
    monkeypatch.setenv("_DEEPCHEST_COMPLETE", "source_bash")
    script = deepchest().out
    assert "_DEEPCHEST_COMPLETE=complete_bash" in script
    assert script.rstrip().endswith(" deepchest")


def test_traceback_only_with_debug(deepchest, tmp_path):
    arguments = ("evaluate", "--model", tmp_path / "none", "--data", tmp_path / "none")
    assert "Traceback" not in deepchest(*arguments).err
    assert "Traceback" in deepchest(*arguments, "--debug").err


def test_slow_imports_wait_for_the_command_that_needs_them():
    code = (
        "import sys; import deepchest_cli.app; "
        "print(sorted({'torch', 'pandas', 'sklearn', 'h5py', 'numpy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["weighters"], "raise_factor=1.1 cap=1.5"),
        (["weighters", "--json"], '"raise_factor": 1.1'),
        (["train", "--weighter", "depchest"], "Did you mean 'deepchest'?"),
        (["train", "--weighter-option", "capp=2"], "Did you mean 'cap'?"),
        (["train", "--weighter-option", "cap=high"], "should be of type float"),
        (["compare-weighters", "--weighters", "dwa,deepchest+famoo"], "Did you mean 'famo'?"),
    ],
)
def test_what_is_known_of_weighters_is_said_without_torch(arguments, words):
    code = (
        "import sys\nfrom deepchest_cli.app import main\ntry:\n    main()\nfinally:\n"
        "    print(sorted({'torch', 'pandas', 'sklearn', 'h5py', 'numpy'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert words in done.stdout + done.stderr
    assert done.returncode == (0 if arguments[0] == "weighters" else ExitCode.WRONG_USE)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_signal_ends_any_command_with_its_code(deepchest, monkeypatch):
    monkeypatch.setattr(
        "deepchest_cli.commands.binding.application", lambda _: signal.raise_signal(15)
    )
    outcome = deepchest("predict", "image.png")
    assert (outcome.code, outcome.err) == (143, "Error: Interrupted by SIGTERM.\n")


def test_a_terminal_that_was_closed_disturbs_no_work(monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("sys.stderr", Closed())
    terminal = Terminal()
    terminal.note("epoch 1/2")
    terminal.warning("is heard by nobody")
    assert terminal.errors.quiet


def test_a_reader_that_has_had_enough_is_no_failure():
    command = f"{sys.executable} -m deepchest_cli weighters --json | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_figure_of_a_table_is_cut(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    Terminal().table(["Finding", *["validation AUROC"] * 20], [["Mass", *["0.123"] * 20]])
    out = capsys.readouterr().out
    assert out.count("0.123") == 20
    assert out.count("validation AUROC") == 20


def test_a_terminal_without_a_sign_gets_a_question_mark():
    words = [sys.executable, "-m", "deepchest_cli", "weighters"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "400"}
    done = subprocess.run(words, env=environment, capture_output=True, check=False)
    assert done.returncode == 0
    assert b" ?" in done.stdout  # a dash, where there are no options
    assert done.stderr.isascii()
    assert b"Traceback" not in done.stderr


def test_a_librarys_warning_is_one_line_without_its_path(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    library = f"{sys.prefix}/lib/python3/site-packages/PIL/Image.py"
    before = warnings.showwarning
    with warnings.catch_warnings(), Terminal().library_warnings():
        warnings.simplefilter("always")
        for _ in range(2):
            warnings.warn_explicit("Corrupt\n  [data].", UserWarning, library, 3)
        warnings.warn_explicit(f"See {sys.prefix}/share", RuntimeWarning, "deepchest_cli/a.py", 3)
        warnings.warn_explicit("Call b instead.", FutureWarning, library, 3)
        logging.getLogger("matplotlib").warning("mkdir -p failed for path /home/.config")
    assert capsys.readouterr().err == "Warning: Corrupt [data] (PIL).\nWarning: See share\n"
    assert warnings.showwarning is before
    assert not logging.root.manager.disable


@pytest.mark.parametrize("code", ["import deepchest_cli", "import deepchest_cli.app"])
def test_onnxruntime_collects_nothing(tmp_path, code):
    """Its usage data begin with a file in the home folder, unless a variable of a CI is there."""
    pytest.importorskip("onnxruntime")
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(PACKAGE.parent)}
    words = [sys.executable, "-c", f"{code}; import onnxruntime"]
    subprocess.run(words, env=environment, check=True)
    assert list(tmp_path.rglob("*")) == []


def test_whoever_wants_onnxruntimes_usage_data_has_them():
    code = "import deepchest_cli, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {"ORT_DISABLE_TELEMETRY": "0", "PYTHONPATH": str(PACKAGE.parent)}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
