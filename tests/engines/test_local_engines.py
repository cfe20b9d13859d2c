"""The driver with this process and with processes for devices: results, failures, kills, stops."""

import os
import platform
import resource
import signal
import threading

import engine_work as work
import pytest
from waiting import wait_for

from deepchest_cli.engines import driving
from deepchest_cli.engines.child import Worker
from deepchest_cli.engines.driving import drive
from deepchest_cli.engines.local import DevicePool, InProcess
from deepchest_cli.engines.session import FOLDER, open_session
from deepchest_cli.engines.task import Task
from deepchest_cli.errors import DeepChestError, InterruptedRunError, LostDeviceError


@pytest.fixture
def run_all(tmp_path):
    """Complete tasks (name, work, argument); return outcomes by name, devices left, warnings."""

    def run(tasks, devices):
        left, warnings, shares = list(devices), [], []
        with open_session(tmp_path) as session, DevicePool(left, session) as pool:
            outcomes = drive(
                [Task(name, name, *task) for name, *task in tasks],
                pool, shares.append, warnings.append,
            )  # fmt: skip
            found = {task.name: outcome for task, outcome in outcomes}
        assert len(found) == len(tasks)
        assert all(0 <= share <= len(devices) for share in shares)
        assert not (tmp_path / FOLDER).exists()
        return found, left, warnings

    return run


def test_this_process_completes_tasks_in_order_and_reports_each_step():
    tasks = [Task(f"{n}", f"{n}", work.square, n) for n in range(4)]
    shares = []
    with InProcess("cpu") as engine:
        outcomes = list(drive(tasks, engine, shares.append, pytest.fail))
    assert [task.name for task, _ in outcomes] == ["0", "1", "2", "3"]
    assert [answer.value for _, answer in outcomes] == [0, 1, 4, 9]
    assert {(answer.device, answer.process) for _, answer in outcomes} == {("cpu", os.getpid())}
    assert shares == [0.0, 0.5, 0] * 4


def test_errors_are_outcomes_and_the_other_tasks_go_on():
    tasks = [Task("a", "a", work.raises, 1), Task("b", "b", work.square, 2)]
    with InProcess() as engine:
        (_, error), (_, answer) = drive(tasks, engine, lambda _: None, pytest.fail)
    assert isinstance(error, ValueError)
    assert answer.value == 4


def test_this_process_cannot_go_on_without_its_device():
    tasks = [Task(n, n, work.breaks, ("cpu",)) for n in "ab"]
    with (
        InProcess("cpu") as engine,
        pytest.raises(LostDeviceError, match="a: cpu has failed: ECC.$"),
    ):
        list(drive(tasks, engine, lambda _: None, pytest.fail))


def test_a_signal_ends_the_work_in_this_process_after_the_task():
    tasks = [Task(n, n, work.sends_itself_a_signal, n) for n in "ab"]
    outcomes = []
    with InProcess() as engine, pytest.raises(InterruptedRunError) as raised:
        outcomes.extend(drive(tasks, engine, lambda _: None, pytest.fail))
    assert raised.value.exit_code == 128 + signal.SIGTERM
    assert [answer for _, answer in outcomes] == ["a"]


def test_tasks_use_all_devices_and_errors_travel(run_all):
    tasks = [(f"{n}", work.square, n) for n in range(6)]
    wrong = ("wrong", work.raises, 1), ("odd", work.raises_what_pickle_cannot_bring, 1)
    found, left, warnings = run_all([*tasks, *wrong], ["one", "two"])
    assert [found[str(n)].value for n in range(6)] == [0, 1, 4, 9, 16, 25]
    assert {found[str(n)].device for n in range(6)} <= {"one", "two"}
    assert isinstance(found["wrong"], ValueError)
    assert "in raises\n" in found["wrong"].__notes__[0]  # the traceback
    assert "UnpicklableError: one and two" in str(found["odd"])
    assert (left, warnings) == (["one", "two"], [])


def test_a_task_whose_device_fails_goes_on_elsewhere(run_all):
    found, left, warnings = run_all(
        [("a", work.square, 1), ("breaks", work.breaks, ("two",)), ("b", work.square, 1)],
        ["one", "two"],
    )
    breaks = found["breaks"]
    assert breaks.device == "one"
    if left == ["one"]:  # else it began on `one`
        assert warnings == [
            "breaks: two has failed: ECC. two is not used any more, and the job goes on on "
            "another device."
        ]


def test_a_task_that_breaks_two_devices_has_failed_and_the_others_go_on(run_all):
    found, left, warnings = run_all(
        [("all", work.breaks, ("one", "two", "three")), ("b", work.square, 1)],
        ["one", "two", "three"],
    )
    assert isinstance(found["all"], LostDeviceError)
    assert found["b"].value == 1
    assert len(left) == 1
    assert "counts as failed" in warnings[1]


def test_a_device_of_several_processes_is_one_device(run_all):
    found, left, warnings = run_all([("breaks", work.breaks, ("one",))], ["one", "one", "two"])
    assert found["breaks"].device == "two"
    assert left == ["two"]
    assert not any("counts as failed" in text for text in warnings)
    assert warnings[0] == (
        "breaks: one has failed: ECC. one is used by one process less, and the job goes on in "
        "another process."
    )


def test_without_a_device_the_rest_has_to_wait(run_all):
    with pytest.raises(LostDeviceError, match="No other device is left"):
        run_all([(f"{n}", work.breaks, ("one", "two")) for n in range(3)], ["one", "two"])


def test_a_failed_task_costs_its_process_alone(run_all):
    tasks = [("fails", work.fails, 0), ("b", work.square, 1), ("c", work.square, 1)]
    found, left, _ = run_all(tasks, ["one"])
    processes = [found[name].process for name in ("fails", "b", "c")]
    assert processes[0] != processes[1] == processes[2]
    assert left == ["one"]


def test_killed_processes_are_replaced_and_their_tasks_go_on(run_all, tmp_path):
    tasks = [("killed", work.killed, (tmp_path, 2)), ("b", work.square, 3)]
    found, left, warnings = run_all(tasks, ["one"])
    assert found["killed"].value == 2
    assert found["b"].value == 9
    assert left == ["one"]
    said = "killed: its process was killed (SIGKILL); the job goes on in another process."
    assert warnings == [said] * 2


def test_a_task_that_is_always_killed_is_given_up(run_all, tmp_path):
    tasks = [("killed", work.killed, (tmp_path, 99)), ("b", work.square, 3)]
    found, _, warnings = run_all(tasks, ["one", "two"])
    error = found["killed"]
    assert isinstance(error, DeepChestError)
    assert "was killed 3 times without getting further" in error.message
    assert "lack of memory" in error.message
    assert "fewer jobs at a time" in error.hint
    assert len(warnings) == 2
    assert found["b"].value == 9


def test_kills_that_come_later_each_time_are_no_reason_to_give_up(tmp_path, monkeypatch):
    """Five kills, each after a larger share."""

    class Fake(InProcess):
        def share(self, task):
            return len(kills) / 10

    kills = []

    def killed_later(argument, device, report):
        if len(kills) < 5:
            kills.append(1)
            raise driving.KilledWorkerError("its process was killed (SIGKILL)")
        return "done"

    warnings = []
    with Fake() as engine:
        tasks = [Task("k", "k", killed_later, 0)]
        (outcome,) = drive(tasks, engine, lambda _: None, warnings.append)
    assert outcome[1] == "done"
    assert len(warnings) == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_all_processes_save(tmp_path, number):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    tasks = [Task(f.name, f.name, work.counts, (f, 10_000)) for f in folders]
    shares = []
    threading.Thread(target=signal_once, args=(folders, shares, number), daemon=True).start()
    with (
        open_session(tmp_path) as session,
        DevicePool(["one", "two"], session) as pool,
        pytest.raises(InterruptedRunError) as raised,
    ):
        list(drive(tasks, pool, shares.append, pytest.fail))
    assert raised.value.exit_code == 128 + number
    for folder in folders:
        assert (folder / "saved").read_text() == (folder / "count").read_text()
    assert max(shares) > 0


def signal_once(folders, shares, number):
    """Send this process a signal when both tasks have begun, and one has reported."""
    wait_for(lambda: any(shares) and all((folder / "count").exists() for folder in folders))
    os.kill(os.getpid(), number)


def test_an_error_of_the_caller_lets_the_others_save(tmp_path):
    tasks = [
        Task("a", "a", work.square, 1),
        Task("b", "b", work.counts, (tmp_path, 10_000)),
    ]
    with open_session(tmp_path) as session, DevicePool(["one", "two"], session) as pool:
        for task, _ in (outcomes := drive(tasks, pool, lambda _: None, pytest.fail)):
            assert task.name == "a"
            wait_for((tmp_path / "count").exists)
            break
        outcomes.close()
        assert (tmp_path / "saved").exists()


def test_an_answer_that_nobody_reads_ends_its_process_without_a_word(capfd):
    worker = Worker(work.square, "one", print)
    worker.submit(3)
    worker.end(busy=True)
    assert worker.process.exitcode == 0
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another one")
def test_what_a_step_frees_stays_with_the_process(run_all):
    outcomes, *_ = run_all([("a", work.pages_of_steps, None)], ["cpu"])
    assert outcomes["a"] < 3 * 20 * 2**23 / resource.getpagesize() / 10
