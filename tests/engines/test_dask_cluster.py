"""The driver with Dask: processes here, workers that are unfit, die or never come."""

import os
import re
import signal
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import engine_work as work
import pytest
from waiting import wait_for

from deepchest_cli.engines import dask_cluster, dask_connection, dask_worker, driving
from deepchest_cli.engines.dask_cluster import DaskCluster
from deepchest_cli.engines.driving import drive
from deepchest_cli.engines.session import FOLDER, TOKEN, open_session
from deepchest_cli.engines.task import Task
from deepchest_cli.errors import DeepChestError, InterruptedRunError, UsageError
from deepchest_cli.extras import install_hint
from deepchest_cli.files import sha256_of

distributed = pytest.importorskip("distributed")

# pools that Dask keeps, and what goes with the processes of a cluster that a test scales itself
DASK_THREADS = ("Profile", "Dask-", "TCP-Executor", "AsyncProcess", "QueueFeederThread")


@pytest.fixture(scope="module")
def scheduler():
    """A cluster of two processes that somebody else has started; its address."""
    with dask_connection._silence(), dask_connection._local_cluster(2) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """Let nothing be said of how long something lasts, but where a test is about that."""
    monkeypatch.setattr(dask_cluster, "NO_WORKER_SECONDS", 1e6)
    monkeypatch.setattr(dask_cluster, "STEADY_SECONDS", 1e6)
    monkeypatch.setattr(dask_connection, "CONNECT_SECONDS", 60.0)


@contextmanager
def engine(address, folder, said, files=()):
    before = set(threading.enumerate())
    with (
        open_session(folder) as session,
        DaskCluster(address, session, files, said.append, said.append) as cluster,
    ):
        yield cluster, partial(drive, engine=cluster, warn=said.append)
    until = time.monotonic() + 60
    while left := threads_beyond(before):
        assert time.monotonic() < until, left
        time.sleep(0.1)


def threads_beyond(before):
    """Return the names of threads that should have ended with the engine."""
    since = set(threading.enumerate()) - before
    return [thread.name for thread in since if not thread.name.startswith(DASK_THREADS)]


def complete(address, folder, tasks, said=None, files=()):
    """Complete tasks (name, work, argument); return outcomes by name."""
    tasks = [Task(name, name, *task) for name, *task in tasks]
    with engine(address, folder, [] if said is None else said, files) as (_, drive_on):
        found = {task.name: outcome for task, outcome in drive_on(tasks, progress=lambda _: None)}
    assert not (folder / FOLDER).exists()
    assert len(found) == len(tasks)
    return found


def test_processes_here_complete_tasks_and_end(tmp_path, capfd):
    tasks = [(f"{n}", work.square, n) for n in range(6)]
    wrong = ("wrong", work.raises, 1), ("odd", work.raises_what_pickle_cannot_bring, 1)
    failing = ("fails", work.fails, 0)
    said = []
    found = complete("local:2", tmp_path, [*tasks, failing, *wrong], said)
    assert [found[str(n)].value for n in range(6)] == [0, 1, 4, 9, 16, 25]
    assert {found[str(n)].device for n in range(6)} == {None}
    processes = {answer.process for answer in found.values() if isinstance(answer, work.Answer)}
    assert os.getpid() not in processes
    assert len(processes) <= 5  # the two that began, and one for each that failed
    assert isinstance(found["wrong"], ValueError)
    assert "UnpicklableError: one and two" in str(found["odd"])
    assert said == []
    assert capfd.readouterr() == ("", "")
    assert not any(exists(process) for process in processes)


def exists(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_killed_children_are_replaced_and_a_hopeless_task_is_given_up(scheduler, tmp_path):
    once, always = tmp_path / "once", tmp_path / "always"
    once.mkdir()
    always.mkdir()
    tasks = [("a", work.killed, (once, 1)), ("b", work.killed, (always, 99))]
    said = []
    found = complete(scheduler, tmp_path, [*tasks, ("c", work.square, 3)], said)
    assert found["a"].value == 1
    assert "b was killed 3 times without getting further" in found["b"].message
    assert found["c"].value == 9
    assert len(said) == 3
    assert "a: its process was killed (SIGKILL); the job goes on in another process." in said


def child_of(folder):
    """Return the number of the process that is counting, and that of the worker it belongs to."""
    wait_for((folder / "count").exists)  # from then on it handles signals
    begun = list(folder.glob("process-*"))
    child = int(begun[0].name.removeprefix("process-"))
    state = Path(f"/proc/{child}/stat").read_text()
    return child, int(state.rpartition(")")[2].split()[1])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_task_goes_on_after_the_end_of_its_worker_with_which_its_process_ends(tmp_path, number):
    """The one that was killed has saved its state first, since it sees the end of its worker."""
    said, found = [], {}

    def kill():
        child, worker = child_of(tmp_path)
        os.kill(worker, number)
        while exists(child):
            time.sleep(0.05)
        found["saved"] = (tmp_path / "saved").exists()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    tasks = [("counts", work.counts_when_interrupted, (tmp_path, 40))]
    assert complete("local:1", tmp_path, tasks, said)["counts"].value == 40
    killer.join(120)
    assert found == {"saved": True}
    assert len(list(tmp_path.glob("process-*"))) == 2
    assert len(said) == 1
    assert "counts: worker tcp://" in said[0]
    assert "has gone away; the job goes on in another process." in said[0]


def test_an_interrupted_task_is_begun_again(scheduler, tmp_path, monkeypatch):
    """As by a batch system, which ends a worker and not the driver."""
    monkeypatch.setattr(dask_cluster, "AVOID_SECONDS", 0.5)
    said = []

    def interrupt():
        os.kill(child_of(tmp_path)[0], signal.SIGTERM)

    threading.Thread(target=interrupt, daemon=True).start()
    tasks = [("counts", work.counts_when_interrupted, (tmp_path, 40))]
    assert complete(scheduler, tmp_path, tasks, said)["counts"].value == 40
    assert len(said) == 1
    assert "a signal has interrupted it on its worker" in said[0]
    assert (tmp_path / "saved").exists()


def test_a_signal_to_the_driver_lets_the_tasks_save(scheduler, tmp_path):
    shares = []

    def interrupt():
        wait_for(lambda: any(shares))
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    tasks = [Task("a", "a", work.counts, (tmp_path, 10_000))]
    with (
        pytest.raises(InterruptedRunError) as raised,
        engine(scheduler, tmp_path, []) as (_, drive_on),
    ):
        list(drive_on(tasks, progress=shares.append))
    assert raised.value.exit_code == 128 + signal.SIGINT
    assert (tmp_path / "saved").read_text() == (tmp_path / "count").read_text()
    assert 0 < max(shares) < 1


def test_a_task_that_does_not_end_is_left_alone(scheduler, tmp_path, monkeypatch):
    monkeypatch.setattr(driving, "STOP_SECONDS", 0.5)
    said, begun = [], tmp_path / "begun"

    def interrupt():
        wait_for(begun.exists)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt, daemon=True).start()
    with (
        pytest.raises(InterruptedRunError),
        engine(scheduler, tmp_path, said) as (_, drive_on),
    ):
        list(drive_on([Task("a", "a", work.hangs, tmp_path)], progress=lambda _: None))
    assert said == ["Some tasks have not ended yet; what they save counts as well."]
    (tmp_path / "end").touch()


def test_another_driver_takes_the_folder_over(scheduler, tmp_path):
    """The task of the first one saves and ends, which leaves the first one nothing to do."""

    def take_over():
        child_of(tmp_path)
        (tmp_path / FOLDER / TOKEN).write_text("another")

    threading.Thread(target=take_over, daemon=True).start()
    tasks = [Task("a", "a", work.counts, (tmp_path, 10_000))]
    with (
        pytest.raises(DeepChestError, match="Another deepchest process has begun"),
        engine(scheduler, tmp_path, []) as (_, drive_on),
    ):
        list(drive_on(tasks, progress=lambda _: None))
    assert (tmp_path / "saved").exists()
    assert (tmp_path / FOLDER / TOKEN).read_text() == "another"


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(dask_cluster, "NO_WORKER_SECONDS", 0.5)
    monkeypatch.setattr(dask_cluster, "STEADY_SECONDS", 0.5)


def test_processes_here_that_do_not_start_are_an_error(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("Nanny failed to start.") from OSError("Cannot allocate memory")

    monkeypatch.setattr(distributed, "LocalCluster", fail)
    with pytest.raises(DeepChestError, match="local:2 did not start: Cannot allocate memory"):
        complete("local:2", tmp_path, [])
    assert not (tmp_path / FOLDER).exists()


@pytest.mark.usefixtures("impatient")
def test_processes_here_that_end_for_good_end_the_work(tmp_path):
    with engine("local:1", tmp_path, []) as (cluster, drive_on):
        cluster.connection.client.cluster.scale(0)
        wait_for(lambda: not cluster.connection.workers())
        with pytest.raises(DeepChestError, match="The processes of --dask local:1 have ended"):
            list(drive_on([Task("a", "a", work.square, 2)], progress=lambda _: None))


def test_workers_that_answer_late_and_do_not_fit_end_the_work_then(tmp_path, monkeypatch):
    """And not when their silence is due to be said again."""
    monkeypatch.setattr(dask_cluster, "NO_WORKER_SECONDS", 60.0)
    said = []
    with open_session(tmp_path) as session:
        cluster = DaskCluster("10.0.0.1:8786", session, [], said.append, said.append)
        address = SimpleNamespace(address="tcp://10.0.0.1:8786")
        cluster.connection.client = SimpleNamespace(scheduler=address)
        late = dask_cluster._ClusterWorker("tcp://10.0.0.2:1", "worker tcp://10.0.0.2:1", Future())
        cluster._workers[late.address] = late
        cluster._queue.append((Task("a", "a", work.square, 2), Future()))
        cluster._report_workers(59.0)
        assert said == []
        cluster._report_workers(61.0)
        cluster._report_workers(62.0)
        assert len(said) == 1
        assert "has workers that have not answered for 61 s; 1 jobs wait" in said[0]
        late.check.set_result(("has no folder /data", "Mount it."))
        late.fits = cluster._passed_check(late)
        with pytest.raises(DeepChestError, match="None of the 1 workers .* has no folder /data"):
            cluster._report_workers(63.0)


@pytest.mark.usefixtures("impatient")
def test_workers_without_the_data_are_not_used(scheduler, tmp_path):
    manifest = tmp_path / "manifest.json"
    manifest.write_text("{}")
    same, other = (manifest, sha256_of(manifest)), (manifest, "0" * 64)
    assert complete(scheduler, tmp_path, [("a", work.square, 2)], files=[same])["a"].value == 4
    said = []
    with pytest.raises(DeepChestError) as raised:
        complete(scheduler, tmp_path, [("a", work.square, 2)], said, [same, other])
    assert "None of the 2 workers of the Dask cluster can be used" in raised.value.message
    assert f"has another {manifest} than this machine" in raised.value.message
    assert raised.value.hint == "Use the same data on every machine."
    refused = [text for text in said if "that have not answered" not in text]  # slow ones
    assert len(refused) == 1  # of two workers
    assert refused[0].startswith("The worker tcp://")
    gone = (tmp_path / "gone" / "manifest.json", "0" * 64)
    with pytest.raises(DeepChestError, match="cannot read .*manifest.json: No such file"):
        complete(scheduler, tmp_path, [("a", work.square, 2)], files=[gone])


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("package", ["deepchest", "Python", "torch"])
def test_workers_of_another_version_are_not_used(scheduler, tmp_path, monkeypatch, package):
    ours = {**dask_worker.versions(), package: "9.9"}
    monkeypatch.setattr(dask_cluster, "versions", lambda: ours)
    with pytest.raises(DeepChestError, match=rf"has {package} \d.* instead of 9\.9"):
        complete(scheduler, tmp_path, [("a", work.square, 2)])


class OfALaterVersion:
    """What workers cannot import."""

    def __reduce__(self):
        return __import__, ("deepchest_of_tomorrow",)


@pytest.mark.usefixtures("impatient")
def test_workers_without_deepchest_are_not_used(scheduler, tmp_path):
    with pytest.raises(DeepChestError, match="has no deepchest_of_tomorrow") as raised:
        files = [(tmp_path, OfALaterVersion())]
        complete(scheduler, tmp_path, [("a", work.square, 2)], files=files)
    assert "Install deepchest 0." in raised.value.hint


def test_a_folder_is_checked_on_the_worker(tmp_path, monkeypatch):
    """The same as on workers, in this process: what each kind of folder is answered with."""
    monkeypatch.setattr(dask_worker, "SIGHT_SECONDS", 0.0)
    ours = dask_worker.versions()
    with open_session(tmp_path) as session:
        check = partial(dask_worker.problem_of, ours, str(tmp_path))
        assert check(session.token, []) is None
        problem, hint = check("another", [])
        assert problem == f"has another folder {tmp_path} than this machine"
        assert "Mount the file system" in hint
        for error, said in {
            OSError(28, "No space left on device"): "finds no space left in",
            OSError(30, "Read-only file system"): "which is read-only",
            OSError(13, "Permission denied"): "which gives: Permission denied",
        }.items():
            monkeypatch.setattr(os, "fsync", partial(fail, error))
            assert said in check(session.token, [])[0]
        assert [path.name for path in (tmp_path / FOLDER).iterdir()] == [TOKEN]
    missing = dask_worker.problem_of(ours, str(tmp_path / "no"), "token", [])
    assert missing[0] == f"has no folder {tmp_path / 'no'}"


def fail(error, *_):
    raise error


@pytest.mark.usefixtures("impatient")
def test_a_cluster_without_workers_is_said_and_waited_for(tmp_path):
    said = []
    with (
        dask_connection._silence(),
        distributed.LocalCluster(n_workers=0, dashboard_address=None, silence_logs=50) as cluster,
    ):

        def start():
            wait_for(lambda: said)
            cluster.scale(1)
            wait_for(lambda: said[1:])
            (tmp_path / "end").touch()

        threading.Thread(target=start, daemon=True).start()
        tasks = [("a", work.square, 2), ("b", work.hangs, tmp_path)]
        address = cluster.scheduler_address
        found = complete(address, tmp_path, [*tasks, ("c", work.square, 2)], said)
    assert found["a"].value == 4
    assert re.search(r"has had no worker for \d+ s", said[0])
    assert "3 jobs wait" in said[0]
    assert "squeue" in said[0]
    assert address in said[0]
    assert len(said) == 2
    # 3 where the first one has not ended by then
    assert re.fullmatch(r"1 of [23] jobs run at a time: that many workers can be used\.", said[1])


def test_an_adaptive_cluster_grows_with_the_tasks(tmp_path):
    with (
        dask_connection._silence(),
        distributed.LocalCluster(n_workers=0, dashboard_address=None, silence_logs=50) as cluster,
    ):
        cluster.adapt(minimum=0, maximum=2, interval="200 ms", target_duration="1 s")
        tasks = [(f"{n}", work.meets, (tmp_path, 2)) for n in range(4)]
        found = complete(cluster.scheduler_address, tmp_path, tasks)
    assert min(answer.value for answer in found.values()) >= 2


def test_a_scheduler_that_goes_away_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(dask_connection, "CONNECT_SECONDS", 10.0)  # it is looked for as long
    with dask_connection._silence():
        cluster = dask_connection._local_cluster(1)
        address = cluster.__enter__().scheduler_address

        def close():
            child_of(tmp_path)
            cluster.__exit__(None, None, None)

        closing = threading.Thread(target=close, daemon=True)
        closing.start()
        with pytest.raises(DeepChestError) as raised:
            complete(address, tmp_path, [("a", work.counts, (tmp_path, 10_000))])
        closing.join(120)
    assert raised.value.message == f"The Dask scheduler at {address} has gone away."
    assert "continue with --resume" in raised.value.hint


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("local:zero", "'zero' is no number of processes"),
        ("local:0", "'0' is no number of processes"),
        ("somewhere", "is no address of a scheduler"),
        ("http://127.0.0.1:8786", "unknown address scheme 'http'"),
        ("127.0.0.1:1", r"Connection refused|Timed out trying to connect"),
        ("nowhere.invalid:8786", "no Dask scheduler answers there"),
    ],
)
def test_an_address_where_no_scheduler_is(address, said, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_connection, "CONNECT_SECONDS", 0.5)
    with pytest.raises(UsageError) as raised:
        complete(address, tmp_path, [])
    assert f"--dask {address}" in raised.value.message.replace("'", "", 2)
    assert re.search(said, raised.value.message)
    assert raised.value.hint


def test_a_scheduler_file_names_the_scheduler(scheduler, tmp_path):
    file = tmp_path / "scheduler.json"
    file.write_text(f'{{"address": "{scheduler}"}}')
    assert complete(str(file), tmp_path, [("a", work.square, 2)])["a"].value == 4
    file.write_text("{}")
    with pytest.raises(UsageError, match="no Dask scheduler answers there"):
        complete(str(file), tmp_path, [])


def test_without_the_extra_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(UsageError, match="--dask needs distributed") as raised:
        complete("local:1", tmp_path, [])
    assert raised.value.hint == install_hint("dask")
