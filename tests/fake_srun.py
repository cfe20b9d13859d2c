"""A stand-in for Slurm's srun that starts tasks on this machine, with the variables of srun(1).

As srun does, it passes signals to all tasks and ends with the highest exit code of a task. With
--kill-on-bad-exit it kills all tasks as soon as one has failed, as suddenly as slurmstepd does.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SRUN = [sys.executable, str(Path(__file__))]
# of a job of two tasks on one node, as sbatch and salloc set them, in which no srun was typed
JOB = {
    "SLURM_JOB_ID": "4217",
    "SLURM_JOB_NODELIST": "gpu[03-04]",
    "SLURM_NTASKS": "2",
    "SLURM_NNODES": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_GTIDS": "0",
}
FORWARDED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


def task_variables(rank: int, tasks: int, nodes: int, step: int = 0) -> dict[str, str]:
    """Return what srun sets in a task; the first node is this machine where there are several."""
    on_node = tasks // nodes
    first = rank // on_node * on_node
    return {
        "SLURM_JOB_ID": os.environ.get("SLURM_JOB_ID", "4217"),
        "SLURM_STEP_ID": str(step),
        "SLURM_STEP_NODELIST": "gpu03" if nodes == 1 else "localhost,gpu[04-09]",
        "SLURM_STEP_NUM_NODES": str(nodes),
        "SLURM_STEP_NUM_TASKS": str(tasks),
        "SLURM_STEP_TASKS_PER_NODE": str(on_node) if nodes == 1 else f"{on_node}(x{nodes})",
        "SLURM_NTASKS": str(tasks),
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank - first),
        "SLURM_NODEID": str(rank // on_node),
        "SLURM_GTIDS": ",".join(map(str, range(first, first + on_node))),
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ntasks", type=int, default=int(os.environ.get("SLURM_NTASKS", "1")))
    parser.add_argument("--nodes", type=int, default=int(os.environ.get("SLURM_NNODES", "1")))
    parser.add_argument("--kill-on-bad-exit", type=int, default=0)
    parser.add_argument("--cpus-per-task", default=None)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    cpus = {"SLURM_CPUS_PER_TASK": options.cpus_per_task} if options.cpus_per_task else {}
    tasks = [
        subprocess.Popen(
            options.command,
            env={**os.environ, **task_variables(rank, options.ntasks, options.nodes), **cpus},
        )
        for rank in range(options.ntasks)
    ]

    def forward(number: int, _: object) -> None:
        for task in tasks:
            task.send_signal(number)

    for number in FORWARDED:
        signal.signal(number, forward)
    while any(task.poll() is None for task in tasks):
        if options.kill_on_bad_exit and any(task.poll() for task in tasks):
            forward(signal.SIGKILL, None)
        time.sleep(0.01)
    codes = [task.wait() for task in tasks]
    return max(code if code >= 0 else 128 - code for code in codes)


if __name__ == "__main__":
    sys.exit(main())
