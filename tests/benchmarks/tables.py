"""Time and peak memory of reading and splitting the whole tables of public data sets.

Each is read in a process of its own, several times. The tables are those of the package
torchxrayvision: its folder `data`, found where it is installed, or named. Target: 10 s of CPU and
1 GB for each.

    python tests/benchmarks/tables.py [--tables FOLDER] [--kinds nih,padchest] [--rounds 3]
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from whole_tables import FILES, find_tables, own_folder, settings

from deepchest_cli.data.sources.recognize import read_source
from deepchest_cli.data.sources.splitting import assign_splits


def peak_memory() -> int:
    """Return the largest memory of this process in KiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # elsewhere the peak of the process that started this one counts, too
        return int(status.read_text().partition("VmHWM:")[2].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(kind: str, tables: Path) -> None:
    """Read and split one data set and print what it took, the imports before it left out."""
    import sklearn.model_selection  # noqa: F401  loaded by whoever splits

    with tempfile.TemporaryDirectory() as name:
        folder = own_folder(kind, tables, Path(name))
        config = settings(kind)
        start = time.process_time()
        source = read_source(folder, config)
        read = time.process_time()
        assign_splits(source, config)
        split = time.process_time()
    peak = peak_memory() / 1024
    print(
        f"{kind:10} {len(source.all_paths):8,} rows: read {read - start:5.1f} s, split "
        f"{split - read:4.1f} s of CPU, peak {peak:5.0f} MiB"
    )


def main() -> None:
    """Read the arguments and measure each data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tables", type=Path, default=find_tables(), help="folder of the tables")
    parser.add_argument("--kinds", default=",".join(FILES), help="separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", help="measure this one in this process")
    given = parser.parse_args()
    if given.tables is None:
        parser.error("torchxrayvision is not installed; name a folder with --tables")
    if given.one:
        measure(given.one, given.tables)
        return
    for kind in given.kinds.split(","):
        for _ in range(given.rounds):
            command = [sys.executable, __file__, "--tables", given.tables, "--one", kind]
            print(subprocess.check_output(command, text=True).strip(), flush=True)


if __name__ == "__main__":
    main()
