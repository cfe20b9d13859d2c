"""20,000 small images by four jobs in four processes: the bytes of one process.

Takes minutes. Run it with `pytest tests/slow/test_prepare_jobs.py -s`, which prints times.
"""

import hashlib
import shlex
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
from PIL import Image

IMAGES, SIDE, JOBS = 20_000, 28, 4
PREPARE = (
    sys.executable, "-m", "deepchest_cli", "prepare", "--labels-csv", "labels.csv",
    "--source", "source", "--patient-column", "patient", "--size", str(SIDE), "--quiet",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    (folder / "images").mkdir()
    chance, rows = np.random.default_rng(0), ["path,patient,Effusion,Mass"]
    for number in range(IMAGES):
        name = f"images/{number:06d}.png"
        pixels = chance.integers(0, 255, (SIDE, SIDE), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name, compress_level=1)
        rows.append(f"{name},{number // 2},{number % 2},{int(number % 7 == 0)}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


def unpacked(folder):
    (folder / "source").symlink_to(folder)


def in_tar_gz(folder):
    (folder / "source").mkdir()
    paths = sorted((folder / "images").iterdir())
    for part in range(5):
        with tarfile.open(folder / "source" / f"part-{part}.tar.gz", "w:gz") as archive:
            for path in paths[part::5]:  # each has some of all shards
                archive.add(path, f"images/{path.name}")


def seconds_of(command, folder):
    start = time.monotonic()
    subprocess.run(["bash", "-c", command], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("lay_out", [unpacked, in_tar_gz])
def test_four_jobs_give_the_bytes_of_one_process(folder, lay_out, capsys):
    command = shlex.join(PREPARE)
    lay_out(folder)
    alone = seconds_of(f"{command} --data one", folder)
    commands = (
        f"{command} --data four --plan --jobs {JOBS}",
        f"seq {JOBS} | xargs -P {JOBS} -I{{}} {command} --data four --job {{}}",
        f"{command} --data four",
    )
    divided = [seconds_of(each, folder) for each in commands]
    found = [hashes(folder / name) for name in ("one", "four")]
    assert found[0] == found[1] and len(found[0]) == 42
    with capsys.disabled():
        parts = " + ".join(f"{seconds:.1f}" for seconds in divided)
        print(f"\n{lay_out.__name__}: one process {alone:.1f} s; plan, jobs, publish {parts} s")
    subprocess.run(["rm", "-r", "one", "four", "source"], cwd=folder, check=True)
