"""Jobs and workers of a comparison that are killed (SIGKILL) at random moments.

As a program, with tests/ on PYTHONPATH, it kills 12 runs as often as is said: FILE KILLS DATA OUT.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killing import assert_equal_comparisons, same_results

FLAGS = (
    "--weighters", "deepchest,rlw", "--backbone", "small_cnn", "--batch-size", "16", "--epochs",
    "3", "--learning-rate", "1e-3", "--bootstrap-replicates", "100", "--cost-rounds", "2",
    "--precision", "fp32", "--threads", "1",
)  # fmt: skip
PROCESSES = 4
COMMAND = (sys.executable, "-m", "deepchest_cli", "compare-weighters")


def compare(*words):
    """Run a command to its end."""
    subprocess.run([*map(str, (*COMMAND, *words))], check=True, capture_output=True, text=True)


class Finished:
    """Holds that no run that has finished is trained or written again."""

    def __init__(self, folder):
        self.folder, self.seen = folder, {}

    def check(self):
        for path in self.folder.glob("runs/*/seed-?/run.json"):
            changed = path.stat().st_mtime_ns
            assert self.seen.setdefault(path, changed) == changed, path


def kill_jobs(folder, jobs, kills, chance):
    """Complete the jobs, four at a time, and kill one of them now and then."""
    waiting, running, finished = list(range(1, jobs + 1)), {}, Finished(folder)
    done, killed = set(), 0
    while waiting or running:
        while waiting and len(running) < PROCESSES:
            number = waiting.pop(0)
            words = [*COMMAND, "--resume", str(folder), "--job", str(number)]
            running[number] = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.5, 2.5))
        if killed < kills:
            number = chance.choice([*running])
            running[number].kill()
            killed += running[number].wait() == -signal.SIGKILL
        for number in [number for number, process in running.items() if process.poll() is not None]:
            code = running.pop(number).returncode
            assert code in (0, -signal.SIGKILL)
            if code:
                waiting.append(number)
            else:
                done.add(number)
        finished.check()
    assert len(done) == jobs
    return killed


def descendants(process):
    """Return the numbers of all processes below one, from /proc."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, look = [], [process]
    while look:
        below = parents.get(look.pop(), [])
        found += below
        look += below
    return found


def kill_cluster(folder, kills, chance):
    """Resume with processes of Dask; kill workers, their runs, and once the command itself."""
    finished, killed = Finished(folder), 0
    words = [*COMMAND, "--resume", str(folder), "--dask", f"local:{PROCESSES}"]
    while True:
        with folder.with_name("dask.txt").open("w+") as log:
            process = subprocess.Popen(
                words, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
            )
            while process.poll() is None:
                time.sleep(chance.uniform(0.5, 2.5))
                below = descendants(process.pid)
                if killed < kills and below:
                    victim = process.pid if killed == kills // 2 else chance.choice(below)
                    try:
                        os.kill(victim, signal.SIGKILL)
                    except ProcessLookupError:
                        continue
                    killed += 1
                finished.check()
            log.seek(0)
            said = log.read()
        if process.returncode == 1 and f"local:{PROCESSES} did not start" in said:
            continue  # a process was killed before it had begun
        if process.returncode != -signal.SIGKILL:
            assert process.returncode == 0, said
            return killed


def show_kills(shards, folder, seeds, kills, chance):
    """Complete a comparison in three ways, with kills in two of them; all end alike."""
    flags = (*FLAGS, "--data", shards, "--seeds", seeds)
    compare(*flags, "--out", folder / "alone")
    for way in ("jobs", "dask"):
        compare(*flags, "--out", folder / way, "--plan")
    killed = kill_jobs(folder / "jobs", 3 * seeds, kills, chance)
    compare("--resume", folder / "jobs", "--report")
    killed += kill_cluster(folder / "dask", kills, chance)
    for way in ("jobs", "dask"):
        results = [
            json.loads((folder / one / "results.json").read_text()) for one in (way, "alone")
        ]
        assert same_results(*results)
        assert_equal_comparisons(folder / way, folder / "alone")
        assert not list((folder / way).rglob("*.attempt-*"))
    return killed


def test_kills_lose_nothing_and_train_no_finished_run_again(shards, tmp_path):
    pytest.importorskip("distributed")
    assert show_kills(shards, tmp_path, 1, 4, random.Random()) >= 4


if __name__ == "__main__":
    data, out = Path(sys.argv[2]), Path(sys.argv[3])
    number = show_kills(data, out, 4, int(sys.argv[1]), random.Random(0))
    print(f"{number} kills; the results and runs of all three ways are equal")
