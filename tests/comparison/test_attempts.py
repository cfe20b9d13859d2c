"""Attempts at a run: what each finds, and that only the one that holds the run finishes it."""

import pytest

from deepchest_cli.comparison.running import attempts
from deepchest_cli.comparison.running.attempts import (
    TakenOverError,
    attempt_at,
    attempts_at,
    finish,
    reopen,
)
from deepchest_cli.errors import UsageError
from deepchest_cli.files import locked, write_text


@pytest.fixture
def place(tmp_path):
    return tmp_path / "runs" / "equal" / "seed-0"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(attempts, "WAIT_SECONDS", 0.0)


def test_an_attempt_that_finishes_takes_the_place_of_its_run(place):
    with attempt_at(place) as folder:
        assert folder.name == "seed-0.attempt-1"
        (folder / "run.json").write_text("{}")
        assert not place.exists()
        finish(folder, place)
    assert [path.name for path in place.parent.iterdir()] == ["seed-0"]
    assert (place / "run.json").read_text() == "{}"
    with attempt_at(place) as folder:
        assert folder is None
    assert attempts_at(place) == []


def test_an_attempt_has_what_the_one_before_has_left(place):
    for number in range(1, 12):
        with attempt_at(place) as folder:
            assert folder.name == f"seed-0.attempt-{number}"
            said = (folder / "last.pt").read_text() if number > 1 else ""
            assert said == "." * (number - 1)
            (folder / "last.pt").write_text(said + ".")
            assert attempts_at(place) == [folder]


def test_who_was_cut_off_writes_nothing_and_finishes_nothing(place):
    with attempt_at(place) as cut_off:
        write_text(cut_off / "last.pt", "ours")
        with attempt_at(place, cut_off=True) as folder:
            assert (folder / "last.pt").read_text() == "ours"
            with pytest.raises(FileNotFoundError):
                write_text(cut_off / "last.pt", "too late")
            with pytest.raises(TakenOverError, match="Another process has taken over"):
                finish(cut_off, place)
            (folder / "run.json").write_text("the other's")
            finish(folder, place)
        finish(cut_off, place)  # nothing to complain about: the run has its result
    assert (place / "run.json").read_text() == "the other's"


def test_the_first_result_stays(place):
    place.parent.mkdir(parents=True)
    (place.parent / "seed-0.attempt-1").mkdir()
    late = place.parent / "seed-0.attempt-4"
    late.mkdir()
    (late / "run.json").write_text("second")
    place.mkdir()
    (place / "run.json").write_text("first")
    finish(late, place)
    assert (place / "run.json").read_text() == "first"
    assert [path.name for path in place.parent.iterdir()] == ["seed-0"]


def test_a_process_that_works_on_a_run_is_left_alone_unless_it_is_cut_off(place):
    place.parent.mkdir(parents=True)
    working = place.with_name("seed-0.attempt-1")
    working.mkdir()
    with locked(working):
        with pytest.raises(UsageError, match="Another deepchest process is"), attempt_at(place):
            raise AssertionError
        assert attempts_at(place) == [working]
        with attempt_at(place, cut_off=True) as folder:
            assert attempts_at(place) == [folder] != [working]


def test_a_run_that_was_finished_while_an_attempt_began_is_not_begun_again(place, monkeypatch):
    begin = attempts._begin

    def late(*more):
        folder = begin(*more)
        place.mkdir()
        return folder

    monkeypatch.setattr(attempts, "_begin", late)
    with attempt_at(place) as folder:
        assert folder is None
    assert [path.name for path in place.parent.iterdir()] == ["seed-0"]


def test_a_process_that_is_a_moment_later_takes_the_next_number(place, monkeypatch):
    place.parent.mkdir(parents=True)
    monkeypatch.setattr(attempts, "attempts_at", lambda place, seen=[]: _once(place, seen))
    place.with_name("seed-0.attempt-1").mkdir()  # which the first look does not see
    with attempt_at(place) as folder:
        assert folder.name == "seed-0.attempt-2"


def _once(place, seen):
    seen.append(place)
    return [] if len(seen) == 1 else attempts_at(place)


def test_the_lock_of_a_folder_that_was_renamed_meanwhile_is_let_go(place, monkeypatch):
    before = place.with_name("seed-0.attempt-1")
    before.mkdir(parents=True)
    lock = attempts._lock

    def late(folder, *more):
        lock(folder, *more)
        if folder == before and before.exists():  # an attempt of another process, which then ends
            before.rename(place.with_name("seed-0.attempt-2"))

    monkeypatch.setattr(attempts, "_lock", late)
    with attempt_at(place) as folder:
        assert folder.name == "seed-0.attempt-3"


def test_a_folder_that_another_process_has_made_an_attempt_of_is_left_to_it(place):
    place.parent.mkdir(parents=True)
    reopen(place)
    assert attempts_at(place) == []


def test_what_stands_unfinished_in_the_place_of_a_run_is_an_attempt(place):
    place.mkdir(parents=True)
    (place / "last.pt").write_text("of an earlier version")
    reopen(place)
    with attempt_at(place) as folder:
        assert (folder / "last.pt").read_text() == "of an earlier version"
    assert not place.exists()
