"""Which launcher has started a process, and what each command makes of it."""

import json
import socket
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from fake_srun import JOB, task_variables
from tests_support import valid

from deepchest_cli.commands.registry import COMMANDS
from deepchest_cli.errors import UsageError
from deepchest_cli.library import launchers, processes
from deepchest_cli.library.launchers import Launch, find_launch, first_node, variables_of_torch
from deepchest_cli.training.distributed import DistributedContext

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
ADDRESS = {"MASTER_ADDR": "node7", "MASTER_PORT": "29500"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
}
STEP = task_variables(2, 4, 1)  # the third of four tasks of srun on one node
SECOND_NODE = task_variables(3, 4, 2)
ONE_TASK = task_variables(0, 1, 1)


@pytest.mark.parametrize(
    ("environment", "launch"),
    [
        ({}, None),
        (STEP, Launch("srun", 2, 4, 2)),
        (SECOND_NODE, Launch("srun", 3, 4, 1)),
        (ONE_TASK, None),
        # sbatch and salloc: a script or a shell, which is one process
        (JOB, None),
        # srun --preserve-env leaves the number of tasks of the job
        ({**STEP, "SLURM_NTASKS": "16"}, Launch("srun", 2, 4, 2)),
        ({**ONE_TASK, "SLURM_NTASKS": "16"}, None),
        # a script submitted from within a step has variables of that step
        ({**STEP, **JOB, "SLURM_JOB_ID": "4218"}, None),
        # abaqus and others want it away
        ({key: value for key, value in STEP.items() if key != "SLURM_GTIDS"},
         Launch("srun", 2, 4, 2)),
        (TORCHRUN, Launch("torchrun", 5, 8, 1)),
        ({**task_variables(1, 2, 2), **TORCHRUN}, Launch("torchrun", 5, 8, 1)),
        ({**STEP, **TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}, None),
        (OPEN_MPI, Launch("mpirun", 3, 4, 1)),
        # mpirun starts its daemons by srun, a task for each other node
        ({**task_variables(1, 2, 2), **OPEN_MPI}, Launch("mpirun", 3, 4, 1)),
        ({"MV2_COMM_WORLD_RANK": "1", "MV2_COMM_WORLD_SIZE": "2", "MV2_COMM_WORLD_LOCAL_RANK": "0"},
         Launch("mpirun", 1, 2, 0)),
        ({"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1"}, Launch("mpirun", 1, 2, 1)),
        # srun --mpi=pmi2
        ({**STEP, "PMI_RANK": "2", "PMI_SIZE": "4"}, Launch("srun", 2, 4, 2)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, Launch("a launcher", 1, 2, 0)),
        # a script that exports what it knows before srun
        ({**STEP, "WORLD_SIZE": "4", **ADDRESS}, Launch("srun", 2, 4, 2)),
        ({**STEP, "RANK": "0", "WORLD_SIZE": "4", **ADDRESS}, Launch("srun", 2, 4, 2)),
        # another launcher within a task of each node
        ({**task_variables(1, 2, 2), "RANK": "7", "WORLD_SIZE": "8", "LOCAL_RANK": "3"},
         Launch("a launcher", 7, 8, 3)),
        ({"WORLD_SIZE": "8"}, None),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
    ],
)  # fmt: skip
def test_the_innermost_launcher_counts(environment, launch):
    assert find_launch(environment) == launch


@pytest.mark.parametrize("at_a_terminal", [True, False])
def test_a_shell_of_srun_is_one_process_whatever_the_number_of_its_tasks(
    monkeypatch, at_a_terminal
):
    monkeypatch.setattr(launchers, "_has_terminal", lambda: at_a_terminal)
    shell = {**task_variables(0, 4, 1), "SLURM_PTY_PORT": "44263"}
    # without one it is a task of another srun, typed in that shell
    assert (find_launch(shell) is None) == at_a_terminal
    assert find_launch(task_variables(0, 4, 1)) is not None


def test_a_process_without_a_terminal_knows(monkeypatch):
    def refuse(*_):
        raise OSError(6, "No such device or address")

    monkeypatch.setattr("os.open", refuse)
    assert not launchers._has_terminal()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({**STEP, "SLURM_PROCID": "4"}, "SLURM_PROCID is 4, but SLURM_STEP_NUM_TASKS is 4"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "variable RANK should be a number. Found 'x'"),
        ({"RANK": "0", "WORLD_SIZE": "-2"}, "variable WORLD_SIZE should be a number. Found '-2'"),
    ],
)
def test_variables_that_contradict_each_other_are_named(environment, message):
    with pytest.raises(UsageError) as error:
        find_launch(environment)
    assert message in error.value.message
    assert "unset" in error.value.hint


def joined(environment):
    launch = find_launch(environment)
    assert launch is not None
    return variables_of_torch(launch, environment)


def test_tasks_of_srun_meet_on_the_first_node():
    here = joined(STEP)
    assert (here["RANK"], here["WORLD_SIZE"], here["LOCAL_RANK"]) == ("2", "4", "2")
    assert here["MASTER_ADDR"] == "localhost"
    two = {**SECOND_NODE, "SLURM_STEP_NODELIST": "gpu[03-04]"}
    assert joined(two)["MASTER_ADDR"] == "gpu03"
    assert joined({**two, **ADDRESS}).items() >= ADDRESS.items()
    assert "OMP_NUM_THREADS" not in here
    assert joined({**STEP, "SLURM_CPUS_PER_TASK": "6"})["OMP_NUM_THREADS"] == "6"
    given = {**STEP, "SLURM_CPUS_PER_TASK": "6", "OMP_NUM_THREADS": "2"}
    assert "OMP_NUM_THREADS" not in joined(given)


def test_jobs_and_steps_have_ports_of_their_own():
    ports = {
        joined({**STEP, "SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)})["MASTER_PORT"]
        for job in range(7_000_000, 7_000_100)
        for step in range(8)
    }
    assert len(ports) == 800
    assert all(15_000 <= int(port) < 30_000 for port in ports)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu03", "gpu03"),
        ("gpu03,gpu07", "gpu03"),
        ("gpu[03-05,09]", "gpu03"),
        ("gpu[9,11-12],fat1", "gpu9"),
        ("r4i[2-3]n[08,11].cluster,fat[1-2]", "r4i2n08.cluster"),
        ("nid001096", "nid001096"),
    ],
)
def test_the_first_of_a_list_of_nodes(nodes, first):
    assert first_node(nodes) == first


@pytest.mark.parametrize("environment", [OPEN_MPI, {"RANK": "1", "WORLD_SIZE": "2"}])
def test_processes_that_cannot_find_each_other_are_told_what_to_type(
    deepchest, monkeypatch, tmp_path, environment
):
    assert joined({**environment, **ADDRESS}).items() >= ADDRESS.items()
    with pytest.raises(UsageError, match="MASTER_PORT should be a number"):
        joined({**environment, **ADDRESS, "MASTER_PORT": "auto"})
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    outcome = deepchest("train")
    assert outcome.code == 2
    assert "MASTER_ADDR and MASTER_PORT are not set" in outcome.err
    assert "torchrun --nproc-per-node" in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def second_task(monkeypatch):
    for name, value in task_variables(1, 2, 1).items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("second_task")
@pytest.mark.parametrize(
    "command", [name for name, info in COMMANDS.items() if not info.in_any_process]
)
def test_commands_of_one_process_refuse_to_run_several_times(
    deepchest, tmp_path, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)
    image = ("image.png",) if command == "predict" else ()
    outcome = deepchest(command, *image)
    assert outcome.code == 2
    assert (
        f"deepchest {command} runs in one process. Found process 1 of 2, started by srun."
        in outcome.err
    )
    assert f"srun --ntasks 1 deepchest {command}" in outcome.err
    assert ("--devices" in outcome.err) == (command == "compare-weighters")
    assert list(tmp_path.iterdir()) == []
    assert deepchest(command, "--help").code == 0


@pytest.mark.usefixtures("second_task")
def test_what_only_reads_and_prints_runs_in_each_process(deepchest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert deepchest("weighters").code == 0
    assert deepchest("--version").code == 0
    doctor = deepchest("doctor")
    assert doctor.code == 0
    assert "launcher: srun, process 1 of 2" in doctor.out


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (TORCHRUN, "without torchrun"),
        (OPEN_MPI, "without mpirun"),
        ({"RANK": "1", "WORLD_SIZE": "2"}, "unset RANK WORLD_SIZE"),
    ],
)
def test_each_launcher_has_its_own_way_out(deepchest, monkeypatch, environment, words):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    outcome = deepchest("prepare", "--demo")
    assert outcome.code == 2
    assert words in " ".join(outcome.err.split())


def test_doctor_says_which_launcher_it_sees(deepchest, monkeypatch):
    alone = valid(json.loads(deepchest("doctor", "--json").out), "doctor")
    assert alone["launcher"] is None
    for name, value in STEP.items():
        monkeypatch.setenv(name, value)
    launcher = valid(json.loads(deepchest("doctor", "--json").out), "doctor")["launcher"]
    assert launcher.pop("node")
    assert launcher == {"name": "srun", "rank": 2, "processes": 4, "local_rank": 2}
    monkeypatch.setenv("SLURM_PROCID", "9")
    assert "launcher: SLURM_PROCID is 9" in deepchest("doctor").out
    valid(json.loads(deepchest("doctor", "--json").out), "doctor")
    assert "CUDA_VISIBLE_DEVICES" not in deepchest("doctor").out
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES is ''" in deepchest("doctor").out


class ThreeProcesses(DistributedContext):
    """The second of three processes, whose GPUs the driver calls by these names."""

    def __init__(self, names):
        super().__init__(rank=1)
        self.world_size, self.names = 3, names

    def all_gather_rows(self, local):
        assert local.tolist() == [self.names[1]]
        return np.array(self.names)


def test_two_processes_on_one_gpu_are_refused(monkeypatch):
    properties = SimpleNamespace(uuid="GPU-b")
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: properties)
    processes._refuse_shared_gpu(ThreeProcesses(["GPU-a", "GPU-b", "GPU-c"]))
    with pytest.raises(UsageError) as error:
        processes._refuse_shared_gpu(ThreeProcesses(["GPU-a", "GPU-b", "GPU-a"]))
    assert error.value.message == "Processes 0 and 2 have the same GPU (GPU-a)."
    assert "--gpus-per-task 1" in error.value.hint
    del properties.uuid  # which older versions of torch lack
    processes._refuse_shared_gpu(ThreeProcesses(["GPU-a"] * 3))


@pytest.mark.parametrize(
    ("launcher", "local_rank", "gpus", "number"),
    [("srun", 3, 4, 3), ("srun", 3, 1, 0), ("srun", 3, 2, 1), ("torchrun", 3, 4, 3)],
)
def test_a_process_takes_the_gpu_of_its_own(monkeypatch, launcher, local_rank, gpus, number):
    taken = []

    @contextmanager
    def join(rank, world_size, device, kind):
        taken.append((rank, world_size, device, kind))
        yield DistributedContext()

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("deepchest_cli.training.distributed.process_group", join)
    monkeypatch.setattr(processes, "_refuse_shared_gpu", lambda _: None)
    with processes._joined(Launch(launcher, 7, 8, local_rank), "cuda"):
        assert taken == [(7, 8, number, "cuda")]


def test_more_processes_of_torchrun_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    joining = processes._joined(Launch("torchrun", 3, 4, 3), "cuda")
    with pytest.raises(UsageError, match="more processes than"):
        joining.__enter__()


def test_a_node_without_an_address_is_named_at_once(deepchest, monkeypatch):
    for name, value in {**SECOND_NODE, "SLURM_STEP_NODELIST": "gpu[03-04].invalid"}.items():
        monkeypatch.setenv(name, value)
    outcome = deepchest("train", "--device", "cpu")
    assert outcome.code == 2
    assert "The host of process 0, 'gpu03.invalid', has no address: " in outcome.err
    assert "Set MASTER_ADDR" in outcome.err


def test_a_port_that_is_taken_is_named(deepchest, monkeypatch):
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = str(other.getsockname()[1])
        for name, value in {**task_variables(0, 2, 1), "MASTER_PORT": port}.items():
            monkeypatch.setenv(name, value)
        outcome = deepchest("train", "--device", "cpu")
    assert outcome.code == 1
    assert f"The processes could not join at localhost:{port}: " in outcome.err
    assert "MASTER_PORT to a free port" in outcome.err
