"""What the terminal makes of tables, sentences and commands, at any width."""

import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from deepchest_cli.errors import DeepChestError
from deepchest_cli.terminal import ERASE, Terminal, render_error

COLUMNS = ["Finding", "positives", "AUROC (95 % CI)", "AP (95 % CI)", "prevalence"]
BOLD = re.compile(r"\x1b\[[01]m")  # which is no color, and its end
NAMES = ("Hernia", "Pleural_Thickening", "Enlarged_Cardiomediastinal_Shape")  # of 32 letters
ROWS = [[name, "12", "0.812 (0.750 to 0.861)", "0.123 (0.052 to 0.250)", "0.01"] for name in NAMES]


def shown(capsys, monkeypatch, width, write, **presentation):
    monkeypatch.setenv("COLUMNS", str(width))
    write(Terminal(**presentation))
    return capsys.readouterr()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
@pytest.mark.parametrize("rows", [ROWS[:1], ROWS, [[f"{n}_{r[0]}"[:32], *r[1:]] for n in range(40)
                                                   for r in ROWS[:1]]])  # fmt: skip
def test_a_table_keeps_every_essential_cell_whole(capsys, monkeypatch, width, rows):
    out = shown(capsys, monkeypatch, width, lambda t: t.table(COLUMNS, rows, essential=4)).out
    assert max(map(len, out.splitlines())) <= width
    for row in rows:
        assert row[0] in out
    for cell in ("0.812 (0.750 to 0.861)", "0.123 (0.052 to 0.250)"):
        assert out.count(cell) == len(rows)
    for name in COLUMNS[1:4]:
        assert name in out


def test_wider_terminals_show_more_columns_in_their_order(capsys, monkeypatch):
    headings = []
    for width in range(12, 101):
        outcome = shown(
            capsys, monkeypatch, width, lambda t: t.table(COLUMNS, ROWS[:1], essential=1)
        )
        heading = [name for name in COLUMNS if name in outcome.out]
        assert heading == COLUMNS[: len(heading)]
        hidden = COLUMNS[len(heading) :]
        assert ", ".join(hidden) in " ".join(outcome.err.split())
        assert bool(outcome.err) == bool(hidden)
        headings.append(len(heading))
    assert headings == sorted(headings)
    assert set(headings) == set(range(1, len(COLUMNS) + 1))


def test_verbose_shows_all_columns_below_each_other(capsys, monkeypatch):
    def write(terminal):
        terminal.table(COLUMNS, ROWS, essential=2)

    outcome = shown(capsys, monkeypatch, 60, write, verbose=True)
    blocks = outcome.out.split("\n\n")
    assert len(blocks) == 4
    assert all(block.startswith("Finding") for block in blocks)
    assert blocks[-1].count("0.01") == len(ROWS)
    assert outcome.err == ""


def test_rows_become_records_where_two_columns_have_no_room(capsys, monkeypatch):
    out = shown(capsys, monkeypatch, 40, lambda t: t.table(COLUMNS, ROWS[1:2], essential=3)).out
    assert out == (
        "Pleural_Thickening\n  positives: 12\n  AUROC (95 % CI):\n    0.812 (0.750 to 0.861)\n"
    )


def test_a_record_leaves_out_empty_cells(capsys, monkeypatch):
    def write(terminal):
        terminal.table(COLUMNS, [[NAMES[0], "", "0.812 (0.750 to 0.861)", "", "0.01"], ROWS[2]])

    first, _, _ = shown(capsys, monkeypatch, 40, write).out.partition(NAMES[2])
    cells = "  AUROC (95 % CI):\n    0.812 (0.750 to 0.861)\n  prevalence: 0.01\n"
    assert first == f"{NAMES[0]}\n{cells}"


def test_sentences_end_their_lines_between_words(capsys, monkeypatch):
    text = f"Sensitivity at 95 % specificity of {'a-long/' * 4}path and 12.5 % of /{'x' * 50}"
    out = shown(capsys, monkeypatch, 40, lambda t: t.paragraph(text, "  ")).out
    lines = out.splitlines()
    assert all(line.startswith("  ") for line in lines)
    assert all(len(line) <= 40 or " " not in line.strip() for line in lines)
    assert " ".join(out.split()) == text
    assert not any(line.lstrip().startswith("%") for line in lines)


def test_lines_for_another_program_stay_whole(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS")
    terminal = Terminal()
    terminal.paragraph("word " * 50)
    terminal.note("word " * 50)
    terminal.warning("word " * 50)
    captured = capsys.readouterr()
    assert [captured.out.count("\n"), captured.err.count("\n")] == [1, 2]


def test_the_next_step_can_be_pasted(capsys, monkeypatch, tmp_path):
    file = tmp_path / "said"
    command = f"printf '%s\\n' {' '.join(f'--flag-{n} value' for n in range(12))} > {file}"
    err = shown(capsys, monkeypatch, 40, lambda t: t.next_step(command)).err
    title, *lines = err.splitlines()
    assert title == "Next step:"
    assert all(line.endswith(" \\") for line in lines[:-1])
    subprocess.run(["sh", "-c", "\n".join(lines)], check=True)
    assert file.read_text().split() == command.split()[2:-2]


def test_what_is_in_quotes_is_pasted_to_the_letter(capsys, monkeypatch):
    words = ["a folder/of many words in it/it's here", "two\nlines of words"]
    command = shlex.join(["printf", "%s|", *words])
    for width in (24, 40, 80):
        err = shown(capsys, monkeypatch, width, lambda t: t.next_step(command)).err
        pasted = err.removeprefix("Next step:\n")
        done = subprocess.run(["sh", "-c", pasted], capture_output=True, text=True, check=True)
        assert done.stdout == "".join(f"{word}|" for word in words)


@pytest.mark.parametrize("opening", ["Resume with:", "Free space. Then resume with:"])
def test_a_command_at_the_end_of_a_hint_can_be_pasted(capsys, monkeypatch, opening):
    command = "deepchest train --resume 'my runs/20260101-120000-resnet50-deepchest' --device cpu"
    error = DeepChestError("Interrupted.", f"{opening} {command}")
    wide = shown(capsys, monkeypatch, 200, lambda _: render_error(error)).err
    assert wide == f"Error: Interrupted.\n{opening} {command}\n"
    narrow = shown(capsys, monkeypatch, 60, lambda _: render_error(error)).err
    said, _, pasted = narrow.partition(f"{opening}\n")
    assert said == "Error: Interrupted.\n"
    assert max(map(len, pasted.splitlines())) <= 60
    assert shlex.split(pasted.replace("\\\n", "")) == shlex.split(command)


@pytest.mark.parametrize("presentation", [{"json": True}, {"quiet": True}])
def test_programs_get_no_next_step(capsys, monkeypatch, presentation):
    outcome = shown(
        capsys, monkeypatch, 80, lambda t: t.next_step("deepchest train"), **presentation
    )
    assert outcome.out + outcome.err == ""


def on_terminal(arguments, width=80, **environment):
    """Return all that a terminal of some width receives from `deepchest ARGUMENTS`."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    clean = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "TERM", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "deepchest_cli", *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**clean, **environment},
    )  # fmt: skip
    os.close(theirs)
    said = b""
    while True:
        try:
            more = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not more:
            break
        said += more
    os.close(ours)
    assert process.wait() in (0, 2)
    return said.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_terminal_sees_a_notice_that_output_replaces(width):
    said = on_terminal(["weighters"], width, TERM="xterm", NO_COLOR="1")
    notice, result = said.split(ERASE)
    result = BOLD.sub("", result)
    assert "Starting deepchest weighters ..." in notice
    assert "deepchest" in result
    assert "\x1b" not in result
    assert all(len(line) <= width or " " not in line.strip() for line in result.splitlines())


def test_an_error_replaces_the_notice_too():
    said = on_terminal(["train", "--epochs", "0"], TERM="xterm", NO_COLOR="1")
    plain = BOLD.sub("", said.partition(ERASE)[2])
    assert plain == "Error: --epochs should be at least 1. Found 0.\n"


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["weighters"], {"TERM": "dumb"}),
        (["weighters"], {"TERM": "unknown"}),
        (["weighters", "--json"], {"TERM": "xterm"}),
    ],
)
def test_a_plain_terminal_gets_plain_text(arguments, environment):
    said = on_terminal(arguments, **environment)
    assert "\x1b" not in said
    assert "Starting" not in said


def test_the_notice_waits_for_no_import():
    code = (
        "import sys, deepchest_cli.app as app\n"
        "slow = {'typer', 'torch', 'pandas', 'numpy', 'deepchest_cli.config', 'pydantic'}\n"
        "app.show_notice = lambda text: print(text, sorted(slow & sys.modules.keys()))\n"
        "app.main()"
    )
    words = [sys.executable, "-c", code, "train", "--epochs", "0"]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    assert done.stdout == "Starting deepchest train ... []\n"
