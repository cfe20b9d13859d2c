"""The scripts of docs/scaling.md for batch systems, which `xargs -P` stands for here."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest
from killing import same_results
from test_documents import scripts_of

FLAGS = (
    "--weighters", "dwa", "--seeds", "1", "--backbone", "small_cnn", "--batch-size", "16",
    "--epochs", "1", "--bootstrap-replicates", "100", "--cost-rounds", "2", "--precision", "fp32",
    "--threads", "1",
)  # fmt: skip


def script_with(word):
    (script,) = [text for text in scripts_of("docs/scaling.md") if word in text]
    return script


def kubernetes():
    command = re.search(r"command: (\[.*\])", script_with("kind: Job"))
    return shlex.join(json.loads(command[1]))


# what starts the job of a number in {}, as each batch system does
BATCH_SYSTEMS = {
    "slurm": lambda: ("SLURM_ARRAY_TASK_ID={}", script_with("SLURM_ARRAY_TASK_ID")),
    "pbs": lambda: ("PBS_O_WORKDIR=. PBS_ARRAY_INDEX={}", script_with("PBS_ARRAY_INDEX")),
    "kubernetes": lambda: ("JOB_COMPLETION_INDEX=$(({} - 1))", kubernetes()),
}


@pytest.fixture
def in_folder(tmp_path, shards):
    """Run a shell command in a folder with a plan, `deepchest` and `srun` on its path."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, line in (("deepchest", f'{sys.executable} -m deepchest_cli "$@"'), ("srun", '"$@"')):
        program = programs / name
        program.write_text(f"#!/bin/sh\nexec {line}\n")
        program.chmod(0o755)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/shards").symlink_to(shards)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}

    def run(command):
        ended = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return run


def test_every_batch_system_completes_the_plan(in_folder, tmp_path):
    in_folder(shlex.join(["deepchest", "compare-weighters", *FLAGS, "--out", "comparisons/alone"]))
    found = []
    for name, script_of in BATCH_SYSTEMS.items():
        plan = ["deepchest", "compare-weighters", *FLAGS, "--out", "comparisons/mine", "--plan"]
        in_folder(shlex.join(plan))
        variables, script = script_of()
        (tmp_path / "job.sh").write_text(script)
        in_folder(f"seq 2 | xargs -P 2 -I{{}} sh -c '{variables} bash job.sh'")
        in_folder("deepchest compare-weighters --resume comparisons/mine --report")
        found.append((tmp_path / "comparisons/mine").rename(tmp_path / f"comparisons/{name}"))
    alone = results_in(tmp_path / "comparisons/alone")
    assert all(same_results(results_in(folder), alone) for folder in found)


def results_in(folder):
    return json.loads((folder / "results.json").read_text())
