import os
import re
from datetime import datetime
from pathlib import Path

import pytest
from run_folders import write_comparison, write_metrics, write_own_run, write_run

from deepchest_cli.comparison.listing.search import DEPTH, list_runs
from deepchest_cli.errors import UsageError
from deepchest_cli.files import locked


def only(folder):
    """Return the single entry of a folder."""
    (entry,) = list_runs([folder]).entries
    return entry


def test_a_trained_run_is_listed_as_its_files_say(trained):
    entry = only(trained)
    assert (entry.kind, entry.state, entry.path) == ("run", "finished", trained)
    assert (entry.weighter, entry.backbone) == ("deepchest", "shufflenet_v2_x0_5")
    assert (entry.epochs, entry.planned_epochs) == (2, 2)
    assert entry.size == sum(path.stat().st_size for path in trained.iterdir())
    assert 0 < entry.macro_auroc < 1
    assert entry.best_epoch in (1, 2)
    assert (entry.resume, entry.reason, entry.model) == (None, None, trained)


def test_the_auroc_of_several_data_sets_is_their_mean(tmp_path):
    folder = write_run(tmp_path / "r", (), epochs=2)
    write_metrics(folder, (0.6, 0.5), (0.1, 0.2))  # as training chooses the best epoch
    entry = only(folder)
    assert (entry.macro_auroc, entry.epochs) == (pytest.approx(0.75), 2)
    write_metrics(folder, (0.6,), (0.1, float("nan")))  # nothing is defined on the second
    assert only(folder).macro_auroc == pytest.approx(0.7)


def test_the_auroc_is_that_of_the_last_best_epoch(tmp_path):
    entry = only(write_run(tmp_path / "r", (0.6, 0.8, 0.7)))
    assert (entry.macro_auroc, entry.best_epoch, entry.epochs) == (0.8, 2, 3)


def test_without_a_defined_auroc_there_is_none(tmp_path):
    entry = only(write_run(tmp_path / "r", (float("nan"),)))
    assert (entry.state, entry.macro_auroc, entry.model) == ("finished", None, None)


@pytest.mark.parametrize(
    ("settings", "state"),
    [
        ({"epochs": 3}, "finished"),
        ({"epochs": 4}, "interrupted"),
        ({"epochs": 4, "max_steps": 30}, "finished"),
        ({"epochs": 4, "max_steps": 31}, "interrupted"),
        ({"epochs": 9, "patience": 2}, "finished"),  # the first epoch is the best one
        ({"epochs": 9, "patience": 3}, "interrupted"),
        ({"epochs": 9, "patience": 0}, "interrupted"),
    ],
)
def test_a_run_has_finished_as_training_decides_it(tmp_path, settings, state):
    assert only(write_run(tmp_path / "r", (0.8, 0.7, 0.6), **settings)).state == state


def test_an_interrupted_run_names_the_way_on_with_code_of_ones_own(tmp_path):
    plain = only(write_run(tmp_path / "a run", finished=False))
    assert plain.resume == f"deepchest train --resume '{tmp_path / 'a run'}'"
    own = only(write_run(tmp_path / "own", finished=False, weighter="/x/w.py:Mine"))
    assert own.weighter == "w.py:Mine"
    assert own.resume.endswith("--weighter /x/w.py:Mine")


def test_a_run_without_an_epoch_is_interrupted(tmp_path):
    entry = only(write_run(tmp_path / "r", (), finished=False))
    assert (entry.state, entry.epochs, entry.macro_auroc) == ("interrupted", 0, None)


def test_a_run_of_version_0_1_is_not_resumed(tmp_path):
    entry = only(write_run(tmp_path / "r", finished=False, version="0.1.0"))
    assert (entry.state, entry.resume, entry.version) == ("interrupted", None, "0.1.0")


@pytest.mark.parametrize("finished", [True, False])
def test_a_locked_run_is_running(tmp_path, finished):
    folder = write_run(tmp_path / "r", finished=finished)
    with locked(folder):
        assert (only(folder).state, only(folder).resume) == ("running", None)
    assert only(folder).state == ("finished" if finished else "interrupted")


def test_to_ask_does_not_keep_the_folder(tmp_path):
    folder = write_run(tmp_path / "r", finished=False)
    only(folder)
    with locked(folder):
        pass


def replace_by_link(path):
    """Replace a file by a link to a device: reading it would never end."""
    path.unlink()
    path.symlink_to("/dev/zero")


def write_first_line(run: Path, more: str = "") -> None:
    header = (run / "metrics.csv").read_text().splitlines(keepends=True)[0]
    (run / "metrics.csv").write_text(header + more)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE = {
    "config.toml is missing": lambda run: (run / "config.toml").unlink(),
    "config.toml is damaged": lambda run: (run / "config.toml").write_bytes(b"\xff\xfe\x00"),
    "config.toml names no weighter": lambda run: (run / "config.toml").write_text(""),
    "config.toml is damaged: Exp": lambda run: (run / "config.toml").write_text("epochs"),
    "best.pt is missing": lambda run: (run / "best.pt").unlink(),
    "best.pt is empty": lambda run: (run / "best.pt").write_bytes(b""),
    "last.pt is missing": lambda run: (run / "last.pt").unlink(),
    "metrics.csv is damaged: it lacks": lambda run: (run / "metrics.csv").write_text("a,b\n1,2\n"),
    "metrics.csv is damaged: it has no epoch": write_first_line,
    "metrics.csv is damaged: invalid": lambda run: write_first_line(run, "x,all,1,1,1,1,1\n"),
    "metrics.csv is damaged: ": lambda run: (run / "metrics.csv").write_bytes(b"\x00\xff" * 99),
    "config.toml is damaged: max": lambda run: (run / "config.toml").write_text("a=" + "[" * 5000),
    "metrics.csv cannot be read: it is no file.": lambda run: replace_by_link(run / "metrics.csv"),
    "config.toml cannot be read: it is no file.": lambda run: replace_by_link(run / "config.toml"),
    "metrics.csv is damaged: a row": lambda run: write_first_line(run, "1,all\n"),
    "metrics.csv cannot be read": lambda run: make_folder(run / "metrics.csv"),
    "run.json is damaged": lambda run: (run / "run.json").write_text("{"),
}


def test_without_its_environment_a_run_is_known_by_its_other_files(tmp_path):
    folder = write_run(tmp_path / "r")
    (folder / "environment.json").unlink()
    assert (only(folder).state, only(folder).version) == ("finished", None)
    (folder / "config.toml").write_text("epochs")
    assert only(folder).state == "damaged"


@pytest.mark.parametrize("reason", DAMAGE)
def test_a_damaged_run_says_why_and_hides_no_other(tmp_path, reason):
    DAMAGE[reason](write_run(tmp_path / "bad", finished=False))
    write_run(tmp_path / "good")
    entries = {entry.path.name: entry for entry in list_runs([tmp_path]).entries}
    assert (entries["bad"].state, entries["good"].state) == ("damaged", "finished")
    assert reason in entries["bad"].reason
    assert entries["bad"].size > 0


def test_a_last_checkpoint_that_a_finished_run_does_not_need_may_go(tmp_path):
    (write_run(tmp_path / "r") / "last.pt").unlink()
    assert only(tmp_path / "r").state == "finished"


def test_an_edited_configuration_is_read_as_toml(tmp_path):
    folder = write_run(tmp_path / "r", weighter="dwa")
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(f"# mine\n{text}")
    assert (only(folder).state, only(folder).weighter) == ("finished", "dwa")


def test_the_newest_is_first_by_name_or_by_its_environment(tmp_path):
    write_run(tmp_path / "20260102-000000-resnet18-dwa")
    write_run(tmp_path / "20260101-000000-resnet18-dwa")
    named = write_run(tmp_path / "mine")
    os.utime(named / "environment.json", (0, datetime(2026, 1, 1, 12).timestamp()))
    (named / "config.toml").touch()  # as a resumed run with other data does
    names = [entry.path.name[:8] for entry in list_runs([tmp_path]).entries]
    assert names == ["20260102", "mine", "20260101"]


def test_the_run_that_latest_names_is_marked_and_listed_once(tmp_path):
    write_run(tmp_path / "runs" / "a")
    write_run(tmp_path / "runs" / "b")
    (tmp_path / "runs" / "latest").symlink_to("a")
    entries = list_runs([tmp_path / "runs", tmp_path, tmp_path / "runs" / "a"]).entries
    assert {entry.path.name: entry.is_latest for entry in entries} == {"a": True, "b": False}
    assert len(entries) == 2
    assert only(tmp_path / "runs" / "latest").is_latest


def test_links_lead_to_runs_and_into_no_circle(tmp_path):
    elsewhere = write_run(tmp_path / "disk" / "far")
    write_run(tmp_path / "disk" / "unrelated")
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / "moved").symlink_to(elsewhere)
    (folder / "disk").symlink_to(tmp_path / "disk")
    (folder / "up").symlink_to("..")
    (folder / "self").symlink_to("self")
    (folder / "gone").symlink_to("nowhere")
    assert [entry.path for entry in list_runs([folder]).entries] == [folder / "moved"]


def test_folders_of_others_are_passed_over(tmp_path):
    write_run(tmp_path / "group" / "r")
    for name, text in (("site", 'title = "x"'), ("yolo/exp", "")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.toml").write_text(text)
    (tmp_path / "yolo" / "exp" / "weights").mkdir()
    (tmp_path / "yolo" / "exp" / "weights" / "best.pt").write_bytes(b"x")
    (tmp_path / "conda").mkdir()
    (tmp_path / "conda" / "environment.json").write_text('{"name": "base"}')
    write_run(tmp_path / ".trash" / "r")
    listing = list_runs([tmp_path])
    assert [entry.path.name for entry in listing.entries] == ["r"]
    assert listing.passed_over == [tmp_path / name for name in ("conda", "site", "yolo")]


def test_a_run_is_looked_for_to_a_depth(tmp_path):
    above = tmp_path.joinpath(*"a" * (DEPTH - 1))
    write_run(above / "r")
    write_run(above / "b" / "too-deep")
    assert [entry.path.name for entry in list_runs([tmp_path]).entries] == ["r"]


def test_what_may_not_be_read_is_named(tmp_path, monkeypatch):
    write_run(tmp_path / "mine")
    (write_run(tmp_path / "half") / "plots").mkdir()
    (tmp_path / "theirs").mkdir()
    scan = os.scandir

    def refuse(path):
        if Path(path).name in ("theirs", "plots"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        listing = list_runs([tmp_path])
    assert {entry.path.name for entry in listing.entries} == {"mine", "half"}
    denied = "Permission denied"
    paths = (tmp_path / "half" / "plots", tmp_path / "theirs")
    assert listing.unreadable == dict.fromkeys(paths, denied)
    assert listing.passed_over == []


def test_a_folder_that_is_not_there_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="is not there"):
        list_runs([tmp_path / "none"])
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is no folder"):
        list_runs([tmp_path / "file"])
    monkeypatch.chdir(tmp_path)
    assert list_runs().entries == []


@pytest.fixture
def comparison(tmp_path):
    """Two weighters with two seeds each, of which one run has not begun."""
    folder = write_comparison(tmp_path / "c")
    write_own_run(folder / "runs" / "equal" / "seed-0", 0.6)
    write_own_run(folder / "runs" / "equal" / "seed-1", 0.7)
    write_own_run(folder / "runs" / "dwa" / "seed-0", 0.68)
    return folder


def test_a_comparison_is_one_entry_with_its_best_weighter(comparison):
    entry = only(comparison)
    assert (entry.kind, entry.state) == ("comparison", "interrupted")
    assert (entry.runs.finished, entry.runs.failed, entry.runs.planned) == (3, 0, 4)
    assert (entry.weighters, entry.weighter) == (("equal", "dwa"), "dwa")
    assert entry.macro_auroc == 0.68
    assert entry.model == comparison / "runs" / "dwa" / "seed-0"
    assert entry.resume == f"deepchest compare-weighters --resume {comparison}"
    files = [path for path in comparison.rglob("*") if path.is_file()]
    assert entry.size == sum(path.stat().st_size for path in files)


def test_a_comparison_has_finished_with_its_results(comparison):
    write_own_run(comparison / "runs" / "dwa" / "seed-1", 0.5, "diverged")
    assert only(comparison).state == "interrupted"  # nothing is evaluated
    (comparison / "results.json").touch()
    entry = only(comparison)
    assert (entry.state, entry.resume) == ("finished", None)
    assert (entry.runs.finished, entry.runs.failed) == (3, 1)
    text = (comparison / "config.toml").read_text()
    (comparison / "config.toml").write_text(re.sub("^seeds = 2", "seeds = 3", text, flags=re.M))
    assert only(comparison).state == "interrupted"  # it was extended


def test_a_comparison_runs_while_it_or_one_of_its_runs_is_locked(comparison):
    with locked(comparison):
        assert only(comparison).state == "running"
    attempt = write_run(comparison / "runs" / "dwa" / "seed-1.attempt-2", finished=False)
    assert only(comparison).state == "interrupted"
    with locked(attempt):
        assert only(comparison).state == "running"


def test_a_comparison_without_runs_is_planned(tmp_path):
    folder = write_comparison(tmp_path / "c", single_task=True)
    entry = only(folder)
    assert (entry.state, entry.runs.planned) == ("planned", None)  # findings are not known yet


def test_a_comparison_without_a_finished_run_has_failed(tmp_path):
    folder = write_comparison(tmp_path / "c", seeds=1)
    for label in ("equal", "dwa"):
        write_own_run(folder / "runs" / label / "seed-0", 0.5, "diverged")
    entry = only(folder)
    assert (entry.state, entry.reason) == ("failed", "The loss is not finite.")


def test_the_best_weighter_is_judged_at_the_learning_rate_that_was_chosen(tmp_path):
    folder = write_comparison(tmp_path / "c", tune_learning_rate=True)
    for rate, auroc in (("0.001", 0.9), ("0.003", 0.6), ("0.009", 0.7)):
        write_own_run(folder / "runs" / "equal" / f"seed-0-rate-{rate}", auroc)
    assert only(folder).macro_auroc == 0.9  # not chosen yet
    write_own_run(folder / "runs" / "equal" / "seed-1-rate-0.001", 0.5)
    write_own_run(folder / "runs" / "dwa" / "seed-0-rate-0.003", 0.65)
    entry = only(folder)
    assert (entry.weighter, entry.macro_auroc) == ("equal", pytest.approx(0.7))
    assert entry.runs.planned == 8  # of each 3 that choose, one of which is its first seed's


def test_folds_and_single_findings_count_among_the_runs(tmp_path):
    folder = write_comparison(tmp_path / "c", single_task=True, folds=3)
    write_own_run(folder / "runs" / "equal" / "seed-0-fold-1", 0.9)
    write_own_run(folder / "single-task" / "finding-01" / "seed-0-fold-1", 0.95)
    entry = only(folder)
    assert (entry.runs.finished, entry.runs.planned) == (2, 2 * 2 * 3 + 2 * 2 * 3)
    assert entry.macro_auroc == 0.9


@pytest.mark.parametrize("name", ["metrics.csv", "run.json"])
def test_a_damaged_run_damages_its_comparison(comparison, name):
    (comparison / "runs" / "equal" / "seed-1" / name).write_text("{")
    entry = only(comparison)
    assert entry.state == "damaged"
    assert f"{name} is damaged" in entry.reason
    assert "seed-1" in entry.reason


def test_weighters_that_nobody_can_read_damage_a_comparison(tmp_path):
    folder = write_comparison(tmp_path / "c", "equal,dwa[")
    assert only(folder).state == "damaged"


def test_runs_of_a_comparison_are_listed_where_they_are_asked_for(comparison):
    attempt = write_run(comparison / "runs" / "dwa" / "seed-1.attempt-1", finished=False)
    (entry,) = list_runs([comparison], own_runs=True).entries
    names = [f"{run.path.parent.name}/{run.path.name}" for run in entry.own_runs]
    assert names == ["dwa/seed-0", "dwa/seed-1.attempt-1", "equal/seed-0", "equal/seed-1"]
    assert only(comparison).own_runs == ()
    inside = {run.path: run for run in list_runs([comparison / "runs"]).entries}
    assert len(inside) == 4
    # a run does not go on without its comparison
    assert inside[attempt].resume == f"deepchest compare-weighters --resume {comparison}"


def test_a_run_of_a_comparison_that_diverged_has_failed(tmp_path):
    folder = write_own_run(tmp_path / "seed-0", 0.5, "diverged")
    write_metrics(folder, (0.7,))
    entry = only(folder)
    assert (entry.state, entry.reason) == ("failed", "The loss is not finite.")
    assert (entry.macro_auroc, entry.resume) == (0.7, None)
