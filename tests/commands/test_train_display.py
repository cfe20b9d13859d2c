"""The display, drawn on a terminal that only remembers."""

import io
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from deepchest_cli.commands.train_display import Display
from deepchest_cli.terminal import Terminal
from deepchest_cli.training.progress import EpochReport, StepReport

NAN = float("nan")
STEP = StepReport(
    epoch=2,
    epochs=3,
    step=5,
    steps=10,
    remaining=15,
    losses=torch.tensor([0.25, 0.5]),
    weights=torch.tensor([1.21, 0.9]),
)
EPOCH = EpochReport(
    epoch=1,
    epochs=3,
    training={"loss": torch.tensor([0.3, 0.4])},
    validation={"loss": torch.tensor([0.2, 0.6]), "auroc": torch.tensor([0.75, NAN])},
    weights=torch.tensor([1.1, 0.95]),
    best=True,
    seconds=4.0,
    images_per_second=80.0,
    data_wait_fraction=0.025,
    peak_memory=1_500_000_000,
)


@pytest.fixture
def shown():
    return []


@pytest.fixture
def display(shown):
    terminal = Terminal()
    terminal.errors = Console(file=io.StringIO(), force_terminal=True, width=100)
    return Display(terminal, ("Mass", "Hernia"), shown.append)


def drawn(renderable):
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    console.print(renderable)
    return console.file.getvalue()


def test_a_step_shows_losses_weights_and_the_time_left(display, shown):
    display.on_epoch(EPOCH)
    display.on_step(STEP)
    text = drawn(shown[-1])
    mass, hernia = (next(row for row in text.splitlines() if n in row) for n in ("Mass", "Hernia"))
    assert mass.split()[1:4] == ["0.250", "0.750", "1.210"]
    assert hernia.split()[1:4] == ["0.500", "–", "0.900"]
    assert "━━━━━━━━━━│━━" in mass
    assert "━━━━━━━━━ │" in hernia
    assert "epoch 2/3 step 5/10" in text
    assert "left" in text


def test_an_epoch_has_one_line(display):
    display.on_epoch(EPOCH)
    line = display.terminal.errors.file.getvalue()
    assert "epoch 1/3  loss 0.3500  validation loss 0.4000  AUROC 0.7500 (best)" in line


def test_nothing_is_drawn_without_a_terminal(shown):
    terminal = Terminal()
    terminal.errors = Console(file=io.StringIO())
    display = Display(terminal, ("Mass", "Hernia"), shown.append)
    display.on_step(STEP)
    display.on_epoch(EPOCH)
    assert shown == []


def test_methods_without_weights_leave_the_column_open(display, shown):
    display.on_step(StepReport(**{**vars(STEP), "weights": None}))
    assert "–" in drawn(shown[-1])


def test_an_epoch_says_how_fast_it_was_how_long_it_waited_and_what_it_took(display):
    display.on_epoch(EPOCH)
    text = " ".join(display.terminal.errors.file.getvalue().split())
    assert "80 images/s (2.5% waiting for data) 4 s 1.5 GB peak memory" in text


@pytest.mark.parametrize("weight", [NAN, float("inf"), 1e9, -2.0, 0.0])
def test_no_weight_breaks_the_table(display, shown, weight):
    display.on_step(replace(STEP, weights=torch.tensor([1.0, weight])))
    hernia = next(row for row in drawn(shown[-1]).splitlines() if "Hernia" in row)
    assert len(hernia.rstrip()) < 100
