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
    "--weighters", "dwa", "--seeds", "2", "--backbone", "small_cnn", "--batch-size", "16",
    "--epochs", "1", "--bootstrap-replicates", "100", "--cost-rounds", "2", "--precision", "fp32",
    "--threads", "1",
)  # fmt: skip


def script_with(word):
    (script,) = [text for text in scripts_of("docs/scaling.md") if word in text]
    return script


def command_of_kubernetes():
    command = re.search(r"command: (\[.*\])", script_with("kind: Job"))
    return shlex.join(json.loads(command[1]))


def command_of_parallel():
    """Return what it starts first: {} is the number of the job, {%} that of the slot."""
    return re.search(r"'(.*)'", script_with("parallel --jobs"))[1].replace("{%}", "1")


# what each batch system sets for the job of a number {}, and the script that it starts
BATCH_SYSTEMS = (
    ("SLURM_ARRAY_TASK_ID={}", lambda: script_with("SLURM_ARRAY_TASK_ID")),
    ("PBS_O_WORKDIR=. PBS_ARRAY_INDEX={}", lambda: script_with("PBS_ARRAY_INDEX")),
    ("JOB_COMPLETION_INDEX=$(({} - 1))", command_of_kubernetes),
    ("", command_of_parallel),
)


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


def test_a_job_by_each_batch_system_completes_a_plan(in_folder, tmp_path):
    for words in (["--out", "comparisons/alone"], ["--out", "comparisons/mine", "--plan"]):
        in_folder(shlex.join(["deepchest", "compare-weighters", *FLAGS, *words]))
    lines = []
    for number, (variables, script) in enumerate(BATCH_SYSTEMS, 1):
        (tmp_path / f"{number}.sh").write_text(script().replace("{}", str(number)))
        lines.append(f"{variables.format(number)} bash {number}.sh\n")
    (tmp_path / "jobs.txt").write_text("".join(lines))
    in_folder("xargs -P 2 -d '\\n' -I{} sh -c '{}' < jobs.txt")
    in_folder("deepchest compare-weighters --resume comparisons/mine --report")
    one, other = (results_in(tmp_path / "comparisons" / name) for name in ("mine", "alone"))
    assert same_results(one, other)


def results_in(folder):
    return json.loads((folder / "results.json").read_text())
