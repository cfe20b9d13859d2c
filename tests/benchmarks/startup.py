"""How long `deepchest --help` takes as a whole process, in turn with Python doing nothing.

And how long a terminal waits for the first sign of a command.
"""

import os
import pty
import statistics
import subprocess
import sys
import time

ROUNDS = 15
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "deepchest --help": [sys.executable, "-m", "deepchest_cli", "--help"],
    "deepchest train --help": [sys.executable, "-m", "deepchest_cli", "train", "--help"],
}
NOTICED = "first sign of deepchest train"


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def seconds_to_first_sign() -> float:
    ours, theirs = pty.openpty()
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "deepchest_cli", "train", "--epochs", "0"],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.read(ours, 1)
    found = time.perf_counter() - start
    process.wait()
    os.close(theirs)
    os.close(ours)
    return found


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in (*COMMANDS, NOTICED)}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
        times[NOTICED].append(seconds_to_first_sign())
    for name, values in times.items():
        print(
            f"{name}: median {statistics.median(values):.3f} s, "
            f"{min(values):.3f} to {max(values):.3f} s in {ROUNDS} rounds"
        )


if __name__ == "__main__":
    main()
