"""The launcher that started this process beside others, as its environment variables say.

torchrun, Slurm's srun and MPI's mpirun tell each process its rank and the number of processes.
Sources: torch's "Environment variables" of torchrun; Slurm's srun(1), "Output environment
variables"; Open MPI's "Environment variables" of mpirun; MPICH's Hydra.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from deepchest_cli.errors import UsageError

Environment = Mapping[str, str]

ADDRESS = ("MASTER_ADDR", "MASTER_PORT")  # where process 0 waits for the others
FIRST_PORT, PORTS = 15_000, 15_000  # below those that Linux gives to outgoing connections


@dataclass(frozen=True)
class Launcher:
    """A launcher and the variables that it sets in each process."""

    name: str
    rank: str
    world_size: str
    local_rank: str
    may_repeat_srun: bool = False  # srun or a script may have set them to srun's own numbers


@dataclass(frozen=True)
class Launch:
    """What a launcher said: this process is one of several, whose ranks count from 0."""

    launcher: str
    rank: int
    world_size: int
    local_rank: int  # among the processes on this node


TORCHRUN = Launcher("torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK")
SRUN = Launcher("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
OPEN_MPI, MVAPICH = "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_"
WITHIN_SRUN = (
    Launcher("mpirun", f"{OPEN_MPI}RANK", f"{OPEN_MPI}SIZE", f"{OPEN_MPI}LOCAL_RANK"),
    Launcher("mpirun", f"{MVAPICH}RANK", f"{MVAPICH}SIZE", f"{MVAPICH}LOCAL_RANK"),
    Launcher("mpirun", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", may_repeat_srun=True),
    Launcher("a launcher", "RANK", "WORLD_SIZE", "LOCAL_RANK", may_repeat_srun=True),
)


def find_launch(environment: Environment) -> Launch | None:
    """Return what the innermost launcher said; None where this process is alone.

    srun counts only as the launcher of a step: sbatch and salloc set the number of tasks as well,
    for a script or a shell that is one process. Raises `UsageError` for variables that contradict
    each other.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        return _read(TORCHRUN, environment)
    step = _read(SRUN, environment) if _is_task(environment) else None
    for launcher in WITHIN_SRUN:
        found = _read(launcher, environment)
        repeats = (
            step and launcher.may_repeat_srun and found and found.world_size == step.world_size
        )
        if found and not repeats:
            return found
    return step


def _read(launcher: Launcher, environment: Environment) -> Launch | None:
    if launcher.rank not in environment or launcher.world_size not in environment:
        return None
    world_size = _number(environment, launcher.world_size)
    if world_size <= 1:
        return None
    rank = _number(environment, launcher.rank)
    if rank >= world_size:
        raise UsageError(
            f"{launcher.rank} is {rank}, but {launcher.world_size} is {world_size}: ranks count "
            "from 0.",
            f"Where this process is alone: unset {launcher.rank} {launcher.world_size}",
        )
    local_rank = _number(environment, launcher.local_rank, default="0")
    return Launch(launcher.name, rank, world_size, local_rank)


def _number(environment: Environment, name: str, default: str = "") -> int:
    text = environment.get(name, default)
    if not re.fullmatch(r"[0-9]+", text):
        raise UsageError(
            f"The environment variable {name} should be a number. Found {text!r}.",
            f"Where no launcher has set it: unset {name}",
        )
    return int(text)


def _is_task(environment: Environment) -> bool:
    """Whether srun started this process as one of its tasks, and not a shell to type in."""
    # `srun --ntasks 8 --pty bash` is a shell with 8 cores: the other seven shells end at once
    if "SLURM_PTY_PORT" in environment and _has_terminal():
        return False
    # a job that is submitted from within a step inherits variables of that step; slurmstepd, which
    # starts every process, sets the list of this node's tasks anew
    tasks = environment.get("SLURM_GTIDS", "").split(",")
    on_one_node = environment.get("SLURM_STEP_NUM_NODES") == "1"
    count = environment.get("SLURM_STEP_NUM_TASKS", "")
    return not (tasks != [""] and on_one_node and str(len(tasks)) != count)


def _has_terminal() -> bool:
    """Whether this process has a terminal, even where its input comes from elsewhere."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY))
    except OSError:
        return False
    return True


def variables_of_torch(launch: Launch, environment: Environment) -> dict[str, str]:
    """Return the variables by which torch joins the processes (`env://`), and their threads.

    Those of srun are derived from the job: the first node, and a port by the numbers of job and
    step. Raises `UsageError` where they are not given and cannot be derived.
    """
    found = {
        "RANK": str(launch.rank),
        "WORLD_SIZE": str(launch.world_size),
        "LOCAL_RANK": str(launch.local_rank),
    }
    found |= {name: environment[name] for name in ADDRESS if environment.get(name)}
    if launch.launcher == SRUN.name:
        found = {**_address_of_step(environment), **found}
        threads = environment.get("SLURM_CPUS_PER_TASK")
        if threads and "OMP_NUM_THREADS" not in environment:
            found["OMP_NUM_THREADS"] = threads
    missing = [name for name in ADDRESS if name not in found]
    if missing:
        raise UsageError(
            f"This is process {launch.rank} of {launch.world_size} of {launch.launcher}, and "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set: the "
            "processes cannot find each other.",
            f"Start them with torchrun --nproc-per-node {launch.world_size} -m deepchest_cli train "
            "...; or set, in all of them, MASTER_ADDR to the host of process 0 and MASTER_PORT to "
            "a free port (Open MPI: mpirun -x MASTER_ADDR -x MASTER_PORT ...).",
        )
    _number(found, "MASTER_PORT")
    return found


def _address_of_step(environment: Environment) -> dict[str, str]:
    """Return where the tasks of a step meet: steps of one job have ports of their own."""
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    one_node = environment.get("SLURM_STEP_NUM_NODES") == "1"
    job, step = (_number(environment, f"SLURM_{name}_ID", "0") for name in ("JOB", "STEP"))
    found = {"MASTER_PORT": str(FIRST_PORT + (31 * job + step) % PORTS)}
    if one_node or nodes:
        found["MASTER_ADDR"] = "localhost" if one_node else first_node(nodes)
    return found


def first_node(nodes: str) -> str:
    """Return the first of a list of nodes as Slurm writes it: `gpu[03-05,9],fat1` gives `gpu03`."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", first[0] if first else nodes)
