"""`compare-weighters` by numbered jobs: --plan, --job and --report."""

import json
import re
import shutil
import signal

import pytest
import torch
from killing import assert_equal_comparisons, same_results
from simulated_device import simulated
from tests_support import valid

from deepchest_cli.commands.compare_weighters import compare_weighters
from deepchest_cli.comparison.output import writing
from deepchest_cli.comparison.running import attempts
from deepchest_cli.config import CompareConfig
from deepchest_cli.files import locked, temporary_path
from deepchest_cli.terminal import Terminal
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.resume import saved_config

FLAGS = (
    "--weighters", "dwa", "--seeds", "2", "--backbone", "small_cnn", "--batch-size", "16",
    "--epochs", "1", "--learning-rate", "1e-3", "--bootstrap-replicates", "100",
    "--cost-rounds", "2", "--precision", "fp32", "--threads", "1",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    monkeypatch.setattr(writing, "_draw", lambda folder, figures: dict.fromkeys(figures, b"<svg/>"))


@pytest.fixture(scope="module")
def planned(shards, tmp_path_factory):
    """The folder of the plan that `FLAGS` give; not to be changed."""
    out = tmp_path_factory.mktemp("planned") / "c"
    config = CompareConfig(
        data=(str(shards),), out=out, weighters="dwa", seeds=2, backbone="small_cnn", batch_size=16,
        epochs=1, learning_rate=1e-3, bootstrap_replicates=100, cost_rounds=2, precision="fp32",
        threads=1, plan=True,
    )  # fmt: skip
    compare_weighters(config, Terminal(quiet=True))
    return out


@pytest.fixture
def plan(planned, tmp_path):
    """A copy of the plan."""
    return shutil.copytree(planned, tmp_path / "c")


@pytest.fixture
def job(deepchest, plan):
    """Start a job of the plan by its number."""
    return lambda number, *more: deepchest(
        "compare-weighters", "--resume", plan, "--job", number, *more
    )


def results_in(folder):
    return valid(json.loads((folder / "results.json").read_text()), "compare-weighters")


def test_jobs_in_any_order_end_as_one_process_does(plan, job, deepchest, shards, tmp_path):
    alone = tmp_path / "alone"
    assert deepchest("compare-weighters", "--data", shards, "--out", alone, *FLAGS).code == 0
    outcomes = {number: job(number, "--json") for number in (3, 1, 4, 2)}
    for number, outcome in outcomes.items():
        assert outcome.code == 0, outcome.err
        done = valid(json.loads(outcome.out), "comparison-job")
        assert (done["job"], done["status"], done["error"]) == (number, "finished", None)
    names = [json.loads(outcomes[number].out)["name"] for number in (1, 2, 3, 4)]
    assert names == ["equal, seed 0", "dwa, seed 0", "equal, seed 1", "dwa, seed 1"]
    reported = deepchest("compare-weighters", "--resume", plan, "--report")
    assert reported.code == 0, reported.err
    assert f"Report: {plan / 'report.html'}" in reported.out
    assert same_results(results_in(plan), results_in(alone))
    assert_equal_comparisons(plan, alone)


def test_a_job_that_has_finished_does_nothing(plan, job, monkeypatch):
    first = job(2)
    assert first.code == 0
    assert first.out.startswith("Job 2, dwa, seed 0: validation AUROC")
    before = {path: path.stat().st_mtime_ns for path in (plan / "runs").rglob("*")}
    monkeypatch.setattr(Trainer, "fit", None)
    again = job(2)
    assert (again.code, again.out) == (0, first.out)
    assert {path: path.stat().st_mtime_ns for path in (plan / "runs").rglob("*")} == before


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--job", 5], "has 4 jobs.\nGive --job 1 to 4."),
        (["--job", 0], "--job"),
        (["--job", 1, "--epochs", 3], "--epochs is 3"),
        (["--job", 1, "--threads", 2], "--threads is 2"),
        (["--job", 1, "--seeds", 3], "--seeds would change the plan"),
        (["--job", 1, "--weighters", "rlw"], "--weighters would change the plan"),
        (["--report", "--single-task"], "--single-task would change the plan"),
        (["--job", 1, "--report"], "--job and --report do not go together."),
        (["--plan", "--dask", "local:2"], "--plan and --dask do not go together."),
    ],
)
def test_flags_that_contradict_the_plan_are_refused(planned, deepchest, flags, said):
    outcome = deepchest("compare-weighters", "--resume", planned, *flags)
    assert outcome.code == 2
    assert said in outcome.err
    assert not (planned / "runs").exists()


@pytest.mark.parametrize("flags", [["--job", 1], ["--report"]])
def test_a_job_without_a_plan_says_how_to_make_one(deepchest, flags):
    outcome = deepchest("compare-weighters", *flags)
    assert outcome.code == 2
    assert f"{flags[0]} needs the folder of a comparison that was planned." in outcome.err
    assert "--plan writes one" in outcome.err


def test_a_hint_goes_on_with_the_job_and_not_with_all_of_them(plan, job, deepchest, tmp_path):
    config = plan / "config.toml"
    config.write_text(
        re.sub("data = .*", f'data = ["{tmp_path}/gone"]', config.read_text(), count=1)
    )
    command = f"deepchest compare-weighters --resume {plan} --data FOLDER"
    assert f"{command} --job 1\n" in job(1).err
    assert (
        f"{command} --report\n" in deepchest("compare-weighters", "--resume", plan, "--report").err
    )
    whole = deepchest("compare-weighters", "--resume", plan, "--dask", "local:2")
    assert f"{command} --dask local:2\n" in whole.err


def test_a_plan_with_other_data_or_in_another_environment_is_refused(plan, job, other_shards):
    outcome = job(1, "--data", other_shards)
    assert outcome.code == 2
    assert f"have changed since {plan} was planned" in outcome.err
    path = plan / "environment.json"
    planned = json.loads(path.read_text())
    for key, value in (("deepchest", "0.0.9"), ("python", "3.9.1")):
        path.write_text(json.dumps({**planned, key: value}))
        outcome = job(1)
        assert outcome.code == 2
        assert f"{plan} was planned with deepchest" in outcome.err
        assert value.removesuffix(".1") in outcome.err
        assert f"or plan it again in this one: --plan --resume {plan}" in outcome.err
    assert not (plan / "runs").exists()
    (plan / "runs/equal/seed-0.attempt-1").mkdir(parents=True)
    outcome = job(1)
    assert outcome.code == 2
    assert "--plan" not in outcome.err  # versions would be mixed
    assert "or begin a new comparison." in outcome.err


@pytest.fixture
def other_shards(deepchest, nih_folder, tmp_path):
    out = tmp_path / "d"
    flags = ("--source", nih_folder, "--data", out, "--size", 32, "--seed", 9)
    assert deepchest("prepare", *flags).code == 0
    return out


def test_a_plan_says_what_to_start(planned, deepchest, shards, tmp_path):
    out = tmp_path / "c"
    flags = ("--data", shards, "--out", out, *FLAGS, "--plan", "--json")
    outcome = deepchest("compare-weighters", *flags)
    assert outcome.code == 0, outcome.err
    plan = valid(json.loads(outcome.out), "comparison-plan")
    assert (plan["jobs"], plan["tuning_jobs"], plan["threads"]) == (4, 0, 1)
    assert (plan["device"], plan["precision"]) == ("cpu", "fp32")
    assert plan["job_command"] == f"deepchest compare-weighters --resume {out} --job N"
    assert (out / "config.toml").read_text() == (planned / "config.toml").read_text()


def test_planning_again_changes_nothing_and_adds_what_is_new(plan, deepchest, shards):
    again = deepchest("compare-weighters", "--data", shards, "--out", plan, *FLAGS, "--plan")
    assert again.code == 2
    assert f"{plan} exists already" in again.err
    before = (plan / "config.toml").read_bytes()
    outcome = deepchest("compare-weighters", "--resume", plan, "--plan")
    assert outcome.code == 0
    assert outcome.out.startswith(f"4 jobs in {plan}, on cpu in fp32 with 1 thread.\n")
    assert (plan / "config.toml").read_bytes() == before
    more = deepchest("compare-weighters", "--resume", plan, "--plan", "--seeds", 3)
    assert more.out.startswith("6 jobs in ")
    assert saved_config(plan, CompareConfig).seeds == 3


def test_what_a_job_on_another_machine_writes_stays_when_more_is_planned(plan, deepchest):
    attempt = plan / "runs/equal/seed-0.attempt-1"
    attempt.mkdir(parents=True)
    writing = temporary_path(attempt / "last.pt", machine="elsewhere")
    writing.touch()
    assert deepchest("compare-weighters", "--resume", plan, "--plan", "--seeds", 3).code == 0
    assert writing.exists()


@pytest.mark.usefixtures("signals_arrive")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_job_that_a_batch_system_warns_saves_and_goes_on(plan, job, monkeypatch, number):
    on_step = Trainer._step_report

    def warned(self, result):
        if self.state.step == 3:
            signal.raise_signal(number)
        return on_step(self, result)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step_report", warned)
        outcome = job(1)
    assert outcome.code == 128 + number
    assert f"Resume with: deepchest compare-weighters --resume {plan} --job 1" in outcome.err
    assert (plan / "runs/equal/seed-0.attempt-1/last.pt").is_file()
    resumed = []
    resume = Trainer.resume

    def seen(self):
        resume(self)
        resumed.append(self.state.step)

    monkeypatch.setattr(Trainer, "resume", seen)
    assert job(1).code == 0
    assert resumed == [3]
    assert [path.name for path in (plan / "runs/equal").iterdir()] == ["seed-0"]


def test_one_job_twice_at_a_time_is_refused(plan, job, monkeypatch):
    monkeypatch.setattr(attempts, "WAIT_SECONDS", 0.0)
    attempt = plan / "runs/equal/seed-0.attempt-1"
    attempt.mkdir(parents=True)
    with locked(attempt):
        outcome = job(1)
    assert outcome.code == 2
    assert f"Another deepchest process is working in {attempt}" in outcome.err
    assert job(1).code == 0


def test_a_whole_comparison_is_refused_beside_jobs_of_this_machine(plan, deepchest):
    with locked(plan, shared=True):
        outcome = deepchest("compare-weighters", "--resume", plan)
        assert outcome.code == 2
        assert f"Another deepchest process is working in {plan}" in outcome.err
    with locked(plan):
        outcome = deepchest("compare-weighters", "--resume", plan, "--job", 1)
        assert outcome.code == 2
        assert f"Another deepchest process is working in {plan}" in outcome.err


def test_a_report_before_the_end_is_an_interim_one(plan, job, deepchest):
    assert [job(number).code for number in (1, 2)] == [0, 0]
    outcome = deepchest("compare-weighters", "--resume", plan, "--report")
    assert outcome.code == 0, outcome.err
    assert "Missing: jobs 3, 4." in outcome.out
    assert "2 of 4 runs have finished, 2 are missing." in outcome.out
    assert f"deepchest compare-weighters --resume {plan} --job 3\n" in outcome.err
    assert not (plan / "results.json").exists()
    document = deepchest("compare-weighters", "--resume", plan, "--report", "--json")
    valid(json.loads(document.out), "interim")
    more = deepchest(
        "compare-weighters", "--resume", plan, "--report", "--seeds", 2, "--fail-if-inferior", "dwa"
    )
    assert more.code == 2  # two seeds are too few for an interval


def test_a_run_that_was_killed_before_it_took_its_place_is_missing(plan, job, deepchest):
    assert [job(number).code for number in (1, 2, 3)] == [0, 0, 0]
    path = plan / "runs/dwa/seed-0/run.json"
    record = {**json.loads(path.read_text()), "status": "diverged", "error": "The loss is NaN."}
    path.write_text(json.dumps(record))
    path.parent.rename(plan / "runs/dwa/seed-0.attempt-1")
    outcome = deepchest("compare-weighters", "--resume", plan, "--report")
    assert "Missing: jobs 2, 4." in outcome.out
    again = job(2)
    assert again.code == 0
    assert "The loss is NaN." in again.out
    assert path.is_file()
    outcome = deepchest("compare-weighters", "--resume", plan, "--report")
    assert "Missing: job 4." in outcome.out


def test_a_job_of_another_device_than_the_plan_machine_has(deepchest, shards, tmp_path):
    out = tmp_path / "c"
    flags = [f for f in FLAGS if f not in ("--precision", "fp32")]
    plan = ("compare-weighters", "--data", shards, "--out", out, *flags, "--plan")
    outcome = deepchest(*plan, "--device", "cuda")
    assert outcome.code == 2
    assert "--precision bf16" in outcome.err
    assert not out.exists()
    outcome = deepchest(*plan, "--device", "cuda", "--precision", "fp32")
    assert outcome.code == 0, outcome.err
    assert "on cuda in fp32" in outcome.out
    job = ("compare-weighters", "--resume", out, "--job")
    refused = deepchest(*job, 1)
    assert refused.code == 2
    assert "--device cuda" in refused.err
    with simulated("cuda"):
        assert deepchest(*job, 1).code == 0
    record = json.loads((out / "runs/equal/seed-0/run.json").read_text())
    assert record["device"] == "cuda"
    for number in (2, 4):  # also of another seed than the run that has finished
        other = deepchest(*job, number, "--device", "cpu")
        assert other.code == 2
        assert "of the same comparison was computed on cuda" in " ".join(other.err.split())
    assert not (out / "runs/dwa").exists()
    assert deepchest(*job, 1, "--device", "cpu").code == 0  # has finished


def test_jobs_of_the_second_list_wait_for_the_learning_rates(deepchest, shards, tmp_path):
    out = tmp_path / "c"
    flags = ["1" if f == "2" else f for f in FLAGS[:4]] + list(FLAGS[4:])
    outcome = deepchest(
        "compare-weighters", "--data", shards, "--out", out, *flags, "--cost-rounds", 2,
        "--tune-learning-rate", "--plan",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith(f"8 jobs in {out}")
    assert "Jobs 1 to 6 choose learning rates; 7 to 8 follow" in outcome.out
    job = ("compare-weighters", "--resume", out, "--job")
    assert [deepchest(*job, number).code for number in (1, 2, 3, 4, 6)] == [0] * 5
    early = deepchest(*job, 7)
    assert early.code == 2
    assert "1 of them has not finished: 5." in early.err
    assert not list(out.rglob("test.npz"))
    interim = deepchest("compare-weighters", "--resume", out, "--report")
    assert "Missing: job 5." in interim.out
    assert deepchest(*job, 5).code == 0
    assert [deepchest(*job, number).code for number in (7, 8)] == [0, 0]
    assert deepchest("compare-weighters", "--resume", out, "--report").code == 0
    rates = results_in(out)["design"]["learning_rates"]
    (record,) = [
        json.loads(path.read_text())
        for path in out.glob("runs/dwa/*/run.json")
        if (path.parent / "test.npz").exists()
    ]
    assert record["learning_rate"] == rates["dwa"]


def test_a_comparison_without_recorded_threads_is_planned_first(plan, job, deepchest):
    config = plan / "config.toml"
    config.write_text(config.read_text().replace("threads = 1\n", ""))
    outcome = job(1)
    assert outcome.code == 2
    assert f"Plan it first: --plan --resume {plan}" in outcome.err
    assert deepchest("compare-weighters", "--resume", plan, "--plan").code == 0
    assert saved_config(plan, CompareConfig).threads == torch.get_num_threads()


def test_a_run_has_the_threads_of_the_plan_on_any_machine(plan, job, monkeypatch):
    config = plan / "config.toml"
    config.write_text(config.read_text().replace("threads = 1", "threads = 3"))
    seen, fit, before = [], Trainer.fit, torch.get_num_threads()
    monkeypatch.setattr(
        Trainer, "fit", lambda self: seen.append(torch.get_num_threads()) or fit(self)
    )
    assert job(1).code == 0
    assert seen == [3]
    assert torch.get_num_threads() == before
