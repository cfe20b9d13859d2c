import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from run_folders import write_comparison, write_own_run, write_run
from tests_support import valid

from deepchest_cli.errors import ExitCode
from deepchest_cli.files import locked


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with runs and comparisons in their usual places."""
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs" / "20260101-000000-resnet18-dwa", (0.9,), weighter="dwa")
    write_run(tmp_path / "runs" / "20260103-000000-resnet18-equal", (0.6, 0.7), data=("a/x", "y"))
    (tmp_path / "runs" / "latest").symlink_to("20260103-000000-resnet18-equal")
    comparison = write_comparison(tmp_path / "comparisons" / "20260102-000000", seeds=1)
    for label, auroc in (("equal", 0.61), ("dwa", 0.62)):
        write_own_run(comparison / "runs" / label / "seed-0", auroc)
    (comparison / "results.json").write_bytes(b" " * 5_000_000)
    return tmp_path


def names_in(out):
    """Return the names of a table, without the folders above."""
    return [line.split()[0].rpartition("/")[2][:8] for line in out.splitlines()[1:]]


def test_everything_is_listed_newest_first(deepchest, folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    outcome = deepchest("runs")
    assert outcome.code == 0
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    assert lines == [
        "name state AUROC weighter backbone epochs data size started",
        "runs/20260103-000000-resnet18-equal (latest) finished 0.7000 deepchest resnet18 2/2 x, y "
        f"{lines[1].split(' x, y ')[1]}",
        "comparisons/20260102-000000 (2 weighters) finished 0.6200 dwa resnet50 2/2 runs shards "
        "5.0 MB 2026-01-02 00:00",
        "runs/20260101-000000-resnet18-dwa finished 0.9000 dwa resnet18 1/1 shards "
        f"{lines[3].split(' shards ')[1]}",
    ]
    assert "2 runs and 1 comparison, 5.0 MB." in outcome.err


def test_eighty_columns_show_what_matters(deepchest, folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    outcome = deepchest("runs")
    assert outcome.out.splitlines()[0].split()[:3] == ["name", "state", "AUROC"]
    assert max(map(len, outcome.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("newest", ["20260103", "20260102", "20260101"]),
        ("auroc", ["20260101", "20260103", "20260102"]),
        ("size", ["20260102", "20260103", "20260101"]),
    ],
)
def test_the_order_can_be_chosen(deepchest, folder, order, names):
    assert names_in(deepchest("runs", "--sort", order).out) == names


def test_the_best_run_is_evaluated_next_or_an_interrupted_one_resumed(deepchest, folder):
    best = "deepchest evaluate --model runs/20260101-000000-resnet18-dwa\n"
    assert deepchest("runs").err.endswith(best)
    write_run(folder / "runs" / "20260102-000000 a", finished=False)
    outcome = deepchest("runs")
    assert "3 runs and 1 comparison" in outcome.err
    assert ": 1 interrupted." in outcome.err
    assert outcome.err.endswith("  deepchest train --resume 'runs/20260102-000000 a'\n")


def test_no_step_follows_where_all_runs_are_running(deepchest, tmp_path):
    with locked(write_run(tmp_path / "r")):
        outcome = deepchest("runs", tmp_path)
    assert ": 1 running." in outcome.err
    assert "Next step" not in outcome.err


def test_json_follows_its_schema(deepchest, folder):
    write_run(folder / "runs" / "nan", (float("nan"),))
    (write_run(folder / "runs" / "bad") / "config.toml").write_text("")
    document = valid(json.loads(deepchest("runs", "--json").out), "runs")
    runs = {run["path"]: run for run in document["runs"]}
    assert runs["runs/nan"]["macro_auroc"] is None
    assert runs["runs/bad"]["state"] == "damaged"
    assert runs["runs/20260103-000000-resnet18-equal"]["latest"]
    comparison = runs["comparisons/20260102-000000"]
    assert comparison["runs"] == {"finished": 2, "failed": 0, "planned": 2}
    assert comparison["model"] == "comparisons/20260102-000000/runs/dwa/seed-0"
    assert comparison["own_runs"] == []
    verbose = valid(json.loads(deepchest("runs", "--json", "--verbose").out), "runs")
    own = {run["path"]: run["own_runs"] for run in verbose["runs"]}["comparisons/20260102-000000"]
    assert [run["macro_auroc"] for run in own] == [0.62, 0.61]


def test_verbose_says_why_a_run_is_damaged_and_what_holds_none(deepchest, folder):
    (write_run(folder / "runs" / "bad") / "best.pt").unlink()
    (folder / "runs" / "notes").mkdir()
    assert "bad: damaged" not in deepchest("runs").err
    outcome = deepchest("runs", "--verbose")
    assert "runs/bad: damaged. best.pt is missing: there is no model to evaluate." in outcome.err
    assert "runs/notes holds no run." in outcome.err
    assert "comparisons/20260102-000000/runs/dwa/seed-0 " in outcome.out


def test_the_first_step_is_named_where_nothing_has_begun(deepchest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = deepchest("runs")
    assert (outcome.code, outcome.out) == (0, "")
    assert "No run was found below runs and comparisons." in outcome.err
    assert outcome.err.endswith("  deepchest train\n")
    assert valid(json.loads(deepchest("runs", "--json").out), "runs")["runs"] == []


def test_a_named_folder_that_is_missing_is_an_error(deepchest, folder):
    outcome = deepchest("runs", "runs", "none")
    assert outcome.code == ExitCode.WRONG_USE
    assert "none is not there." in outcome.err


def test_a_folder_that_may_not_be_read_is_a_warning(deepchest, folder, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "comparisons":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        outcome = deepchest("runs", "--quiet")
    assert outcome.code == 0
    warning = "Warning: Not readable, and not listed in full: comparisons (Permission denied).\n"
    assert outcome.err == warning
    assert len(names_in(outcome.out)) == 2


def test_names_of_folders_do_not_command_the_terminal(deepchest, folder):
    odd = "a\x1b[2J\nb\u202e[red]é"
    write_run(folder / "odd" / odd, finished=False)
    outcome = deepchest("runs", "odd", "--verbose")
    assert r"odd/a\x1b[2J\nb\u202e[red]é" in outcome.out
    assert "\x1b" not in outcome.out + outcome.err
    assert "--resume" not in outcome.err  # no line that can be pasted
    (run,) = json.loads(deepchest("runs", "odd", "--json").out)["runs"]
    assert run["path"] == f"odd/{odd}"


def test_a_thousand_runs_are_listed_without_torch(tmp_path):
    run = write_run(tmp_path / "runs" / "r")
    files = {path.name: path for path in run.iterdir()}
    for number in range(1, 1000):
        copy = tmp_path / "runs" / f"{number}"
        copy.mkdir()
        for name in files.keys() - ({"best.pt"} if number % 100 == 7 else set()):
            (copy / name).hardlink_to(files[name])
    code = (
        "import sys\nfrom deepchest_cli.app import main\ntry:\n    main()\nfinally:\n"
        "    print(sorted({'torch', 'pandas', 'sklearn', 'h5py', 'numpy'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", code, "runs", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    document, modules = done.stdout.splitlines()
    states = [run["state"] for run in valid(json.loads(document), "runs")["runs"]]
    assert len(states) == 1000
    assert states.count("damaged") == 10
    assert modules == "[]"
