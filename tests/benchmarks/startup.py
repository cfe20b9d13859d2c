"""How long `deepchest --help` takes as a whole process, in turn with Python doing nothing."""

import statistics
import subprocess
import sys
import time

ROUNDS = 15
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "deepchest --help": [sys.executable, "-m", "deepchest_cli", "--help"],
}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    for name, values in times.items():
        print(
            f"{name}: median {statistics.median(values):.3f} s, "
            f"{min(values):.3f} to {max(values):.3f} s in {ROUNDS} rounds"
        )


if __name__ == "__main__":
    main()
