"""The display, drawn on a terminal that only remembers."""

import io
from dataclasses import replace
from os import terminal_size

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
    task_loss=torch.tensor([0.3, 0.4]),
    task_auroc=torch.tensor([0.75, NAN]),
    weights=torch.tensor([1.1, 0.95]),
    score=0.75,
    best=True,
    seconds=4.0,
    images_per_second=80.0,
    data_wait_fraction=0.025,
    peak_memory=1_500_000_000,
)

# Mass is labeled in both data sets, Hernia in the first alone; each task has a weight of its own
TASKS = ("Mass (a)", "Mass (b)", "Hernia (a)")
SEVERAL = replace(
    EPOCH,
    task_loss=torch.tensor([0.31, 0.32, 0.4]),
    task_auroc=torch.tensor([0.7, 0.9, 0.6]),
    weights=torch.tensor([1.1, 0.95, 1.3]),
    score=0.775,
    sources={
        "a": {"auroc": torch.tensor([0.7, 0.6])},
        "b": {"auroc": torch.tensor([0.9, NAN])},
    },
)


@pytest.fixture
def shown():
    return []


@pytest.fixture
def display(shown, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    return display_of(100, ("Mass", "Hernia"), shown.append)


def display_of(width, tasks, show, **more):
    """Return the display of a terminal with so many columns."""
    terminal = Terminal(**more)
    terminal.errors = Console(file=io.StringIO(), force_terminal=True, width=width)
    return Display(terminal, tasks, show)


def drawn(renderable, width=100):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
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


def test_an_epoch_says_how_fast_it_was_how_long_it_waited_and_what_it_took(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    display = display_of(140, ("Mass", "Hernia"), lambda renderable: None)
    display.on_epoch(EPOCH)
    text = " ".join(display.terminal.errors.file.getvalue().split())
    assert "(best) 4 s 80 images/s (2.5% waiting for data) 1.5 GB peak memory" in text


@pytest.mark.parametrize("weight", [NAN, float("inf"), 1e9, -2.0, 0.0])
def test_no_weight_breaks_the_table(display, shown, weight):
    display.on_step(replace(STEP, weights=torch.tensor([1.0, weight])))
    hernia = next(row for row in drawn(shown[-1]).splitlines() if "Hernia" in row)
    assert len(hernia.rstrip()) < 100


def test_tasks_by_source_have_rows_of_their_own_in_the_live_table(display, shown):
    display.tasks = TASKS
    display.on_epoch(SEVERAL)
    rows = {row[:10].strip(): row[10:].split()[:3] for row in drawn(shown[-1]).splitlines()[1:]}
    assert rows == {
        "Mass (a)": ["0.310", "0.700", "1.100"],
        "Mass (b)": ["0.320", "0.900", "0.950"],
        "Hernia (a)": ["0.400", "0.600", "1.300"],
    }
    step = replace(STEP, losses=torch.tensor([0.1, 0.2, 0.3]), weights=torch.ones(3))
    display.drawn = 0
    display.on_step(step)
    bar, _, _, *tasks = drawn(shown[-1]).splitlines()
    assert bar.startswith("epoch 2/3 step 5/10")
    assert [row.split()[2:4] for row in tasks] == [
        ["0.100", "0.700"],
        ["0.200", "0.900"],
        ["0.300", "0.600"],
    ]


def epoch_lines(report):
    """Return what is said of an epoch where there is no terminal."""
    terminal = Terminal()
    terminal.errors = Console(file=io.StringIO(), width=80, soft_wrap=True)
    Display(terminal, TASKS, lambda renderable: None).on_epoch(report)
    return terminal.errors.file.getvalue().splitlines()


def test_an_epoch_on_several_data_sets_says_their_mean_and_each_of_them():
    assert epoch_lines(SEVERAL) == [
        "epoch 1/3  loss 0.3500  validation loss 0.4000  mean AUROC 0.7750 (best)",
        "  AUROC: a 0.6500, b 0.9000, all images 0.7500",
        "  4 s  80 images/s (2.5% waiting for data)  1.5 GB peak memory",
    ]


def test_many_data_sets_fit_into_80_columns():
    names = [f"hospital-number-{number}" for number in range(7)]
    lines = epoch_lines(replace(SEVERAL, sources=dict.fromkeys(names, SEVERAL.sources["a"])))
    assert max(map(len, lines)) <= 80
    assert " ".join(" ".join(lines[1:-1]).split()) == " ".join(
        ["AUROC:", *(f"{name} 0.6500," for name in names), "all images 0.7500"]
    )


def test_a_data_set_without_a_defined_auroc_has_a_dash_and_is_not_in_the_mean():
    sources = {**SEVERAL.sources, "b": {"auroc": torch.tensor([NAN, NAN])}}
    first, second, _ = epoch_lines(replace(SEVERAL, sources=sources))
    assert "mean AUROC 0.6500" in first
    assert "b –," in second


def of_tasks(report, count):
    """Return a report with the same values for each of so many tasks."""
    values = torch.full((count,), 0.8765)
    if isinstance(report, StepReport):
        return replace(report, losses=values, weights=2 * values)
    metrics = {"loss": values, "auroc": values}
    return replace(
        report, training=metrics, validation=metrics, task_loss=values, task_auroc=values,
        weights=2 * values, epoch=100, epochs=100, seconds=12345.0,
    )  # fmt: skip


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("count", [1, 14, 40])
def test_the_live_table_fits_the_terminal(shown, monkeypatch, width, count):
    monkeypatch.setenv("TERM", "xterm")
    tasks = tuple(f"Enlarged_Cardiomediastinum_No_{i:02d}" for i in range(count))
    assert {len(task) for task in tasks} == {32}
    display = display_of(width, tasks, shown.append)
    display.on_epoch(of_tasks(EPOCH, count))
    display.drawn = 0
    display.on_step(of_tasks(replace(STEP, epoch=100, epochs=100, step=1000, steps=1000), count))
    bar, _, heading, *rows = drawn(shown[-1], width).splitlines()
    assert bar.startswith("epoch 100/100 step 1000/1000") and bar.rstrip().endswith("left")
    assert heading.split()[-3:] == ["loss", "AUROC", "weight"] or "validation AUROC" in heading
    assert len(rows) == count
    for row, task in zip(rows, tasks, strict=True):
        name, *numbers = row.split()[:4]
        assert numbers == ["0.877", "0.877", "1.753"]
        assert name == task if width >= 80 else (task.startswith(name[:-1]) and name[-1] == "…")
    assert ("│" in rows[0]) is (width >= 80)
    assert max(map(len, (bar, heading, *rows))) <= width


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_bar_of_features_fits_the_terminal(shown, monkeypatch, width):
    monkeypatch.setenv("TERM", "xterm")
    display_of(width, TASKS, shown.append).on_features(1_000_000, 1_200_000)
    (line,) = drawn(shown[-1], width).splitlines()
    assert line.startswith("features 1,000,000/1,200,000 ") and line.rstrip().endswith("left")


def test_a_terminal_shows_of_an_epoch_what_fits_and_all_with_verbose(monkeypatch):
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setenv("TERM", "xterm")
    found = {}
    for width, verbose in ((80, False), (120, False), (80, True)):
        monkeypatch.setattr(
            "shutil.get_terminal_size", lambda *_, width=width, **__: terminal_size((width, 24))
        )
        display = display_of(width, TASKS, lambda _: None, verbose=verbose)
        display.on_epoch(of_tasks(EPOCH, 3))
        lines = display.terminal.errors.file.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        found[width, verbose] = lines
    start = "epoch 100/100  loss 0.8765  validation loss 0.8765  AUROC 0.8765 (best)"
    assert found[80, False] == [f"{start}  12345 s"]
    assert found[120, False] == [f"{start}  12345 s  80 images/s (2.5% waiting for data)"]
    assert " ".join(found[80, True]).split()[-4:] == ["1.5", "GB", "peak", "memory"]
