"""Numbered jobs in any order give the bytes of one process, and what is wrong is refused."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from test_layouts import LAYOUTS, nest, pack_tar

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.preparation import (
    complete_job,
    plan_jobs,
    plan_preparation,
    remaining_jobs,
    run_preparation,
)
from deepchest_cli.data.preparation.job_plan import read_plans, rows_in, shards_of_job
from deepchest_cli.data.text import consecutive
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.files import locked, temporary_path

CONFIG = PrepareConfig(size="32", workers=2)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Five shards of 16 rows, of the smaller size eight of 10."""
    monkeypatch.setattr(
        "deepchest_cli.data.preparation.planning.rows_per_shard",
        lambda size: 16 if size == 32 else 10,
    )


def plan(source, data, jobs=4, config=CONFIG, said=None):
    config = replace(config, jobs=jobs)
    say = [].append if said is None else said.append
    return plan_jobs(plan_preparation(config, source), config, data, lambda *_: None, say)


def job(source, data, number, config=CONFIG, progress=lambda *_: None):
    return complete_job(config, source, data, number, progress)


def prepare(source, data, config=CONFIG, said=None):
    say = [].append if said is None else said.append
    return run_preparation(plan_preparation(config, source), config, data, lambda *_: None, say)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("layout", [*LAYOUTS, "flat"])
@pytest.mark.parametrize("missing", [False, True])
def test_jobs_in_any_order_give_the_bytes_of_one_process(nih_folder, tmp_path, layout, missing):
    config = replace(CONFIG, allow_missing=missing)
    if missing:
        for path in sorted((nih_folder / "images").iterdir())[5:60:4]:
            path.unlink()
        (nih_folder / "images" / "00000002_001.png").write_text("not an image")
    LAYOUTS.get(layout, lambda _: None)(nih_folder)
    prepare(nih_folder, tmp_path / "one", config)
    planned = plan(nih_folder, tmp_path / "out", config=config)
    assert planned.jobs == 4
    done = [job(nih_folder, tmp_path / "out", number, config) for number in (3, 1, 4, 2)]
    assert sum(one.images for one in done) == planned.images == (66 if missing else 80)
    assert sum(one.unreadable for one in done) == int(missing)
    prepare(nih_folder, tmp_path / "out", config)
    assert contents(tmp_path / "out") == contents(tmp_path / "one")


def test_several_sizes_are_divided_alike(nih_folder, tmp_path):
    both = replace(CONFIG, size="28,32")
    prepare(nih_folder, tmp_path / "one", both)
    planned = plan(nih_folder, tmp_path / "out", 3, both)
    assert planned.shards == {str(tmp_path / "out" / "28"): 8, str(tmp_path / "out" / "32"): 5}
    found = plan_preparation(both, nih_folder)
    documents = read_plans(found, both, tmp_path / "out")
    cut = [shards_of_job(found, documents, number) for number in (1, 2, 3)]
    assert [[len(shards[size]) for shards in cut] for size in (28, 32)] == [[4, 3, 1], [2, 2, 1]]
    for number in (2, 3, 1):
        job(nih_folder, tmp_path / "out", number, both)
    assert remaining_jobs(found, tmp_path / "out") == []
    prepare(nih_folder, tmp_path / "out", both)
    assert contents(tmp_path / "out") == contents(tmp_path / "one")


def test_what_jobs_have_not_done_is_done_at_the_end_and_said(nih_folder, tmp_path):
    prepare(nih_folder, tmp_path / "one")
    plan(nih_folder, tmp_path / "out")
    job(nih_folder, tmp_path / "out", 2)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("shard-*.h5")}
    assert remaining_jobs(plan_preparation(CONFIG, nih_folder), tmp_path / "out") == [1, 3, 4]
    said = []
    prepare(nih_folder, tmp_path / "out", said=said)
    assert said[0].startswith("Not complete of the planned jobs: 1, 3, 4.")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert contents(tmp_path / "out") == contents(tmp_path / "one")


def test_the_same_again_does_nothing(nih_folder, tmp_path):
    out = tmp_path / "out"
    assert not plan(nih_folder, out).unchanged
    assert not job(nih_folder, out, 1).unchanged
    before = contents(out), {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert plan(nih_folder, out).unchanged and plan(nih_folder, out, None).jobs == 4
    assert job(nih_folder, out, 1).unchanged
    assert before == (contents(out), {path: path.stat().st_mtime_ns for path in out.iterdir()})
    prepare(nih_folder, out)
    published = contents(out)
    assert plan(nih_folder, out).jobs == 0 and job(nih_folder, out, 2).jobs == 0
    assert contents(out) == published


def test_a_shard_that_was_damaged_after_its_job_is_made_again(nih_folder, tmp_path):
    prepare(nih_folder, tmp_path / "one")
    out = tmp_path / "out"
    plan(nih_folder, out)
    job(nih_folder, out, 1)
    (out / "shard-00000.h5").write_bytes(b"cut")
    assert not job(nih_folder, out, 1).unchanged
    (out / "shard-00001.h5").write_bytes(b"cut")
    prepare(nih_folder, out)
    assert contents(out) == contents(tmp_path / "one")


def test_another_number_of_jobs_before_one_has_begun_and_after(nih_folder, tmp_path):
    said = []
    plan(nih_folder, tmp_path / "out")
    assert plan(nih_folder, tmp_path / "out", 9, said=said).jobs == 5
    assert said == ["There are 5 jobs, not 9: each has a shard at least."]
    job(nih_folder, tmp_path / "out", 5)
    with pytest.raises(UsageError, match="a plan of 5 jobs, of which some have begun") as error:
        plan(nih_folder, tmp_path / "out", 2)
    assert "leave out --jobs 2" in error.value.hint


def test_what_is_wrong_is_refused(nih_folder, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="has no plan of jobs") as error:
        job(nih_folder, out, 1, replace(CONFIG, job=1, data=out))
    assert error.value.hint.endswith("--plan") and "--job" not in error.value.hint
    plan(nih_folder, out)
    for number in (0, 5, -1):
        with pytest.raises(UsageError, match=rf"1 to 4, since 4 jobs are planned. Found {number}"):
            job(nih_folder, out, number)
    with pytest.raises(UsageError, match="settings seed 0, not 3"):
        job(nih_folder, out, 1, replace(CONFIG, seed=3))
    with pytest.raises(UsageError, match="settings seed 0, not 3"):
        plan(nih_folder, out, config=replace(CONFIG, seed=3))
    assert plan(nih_folder, out, config=replace(CONFIG, seed=3, force=True)).jobs == 4
    with pytest.raises(UsageError, match="settings seed 3, not 0"):
        job(nih_folder, out, 1)
    table = nih_folder / "Data_Entry_2017_v2020.csv"
    table.write_text(table.read_text().replace("No Finding", "Mass", 1))
    with pytest.raises(UsageError, match="prepared from other sources"):
        job(nih_folder, out, 1, replace(CONFIG, seed=3))


@pytest.mark.parametrize(
    ("module", "name"),
    [("deepchest_cli.engines.versions", "deepchest"), ("PIL", "Pillow")],
)
def test_another_version_is_refused(nih_folder, tmp_path, monkeypatch, module, name):
    plan(nih_folder, tmp_path / "out")
    monkeypatch.setattr(f"{module}.__version__", "9.9")
    with pytest.raises(UsageError, match=rf"planned with {name} .*, and this is {name} 9\.9\."):
        job(nih_folder, tmp_path / "out", 1)


def test_jobs_run_beside_each_other_and_not_beside_the_end(nih_folder, tmp_path):
    out = tmp_path / "out"
    plan(nih_folder, out)
    with locked(out, shared=True):
        job(nih_folder, out, 1)
        for do in (lambda: prepare(nih_folder, out), lambda: plan(nih_folder, out)):
            with pytest.raises(UsageError, match="Another deepchest process is working in"):
                do()
    with locked(out), pytest.raises(UsageError, match="Another deepchest process is working in"):
        job(nih_folder, out, 2)


@pytest.fixture
def no_locks(monkeypatch):
    """As between machines."""
    monkeypatch.setattr("fcntl.flock", lambda *_: None)


@pytest.mark.usefixtures("no_locks")
def test_two_attempts_at_one_job_at_a_time_are_harmless(nih_folder, tmp_path):
    prepare(nih_folder, tmp_path / "one")
    out, begun = tmp_path / "out", []
    plan(nih_folder, out, 1)

    def second(done, total):
        if done == 40 and not begun:
            begun.append(True)
            job(nih_folder, out, 1)

    assert not job(nih_folder, out, 1, progress=second).unchanged and begun
    prepare(nih_folder, out)
    assert contents(out) == contents(tmp_path / "one")


@pytest.mark.usefixtures("no_locks")
def test_a_job_that_others_have_overtaken_ends_and_leaves_nothing(nih_folder, tmp_path):
    prepare(nih_folder, tmp_path / "one")
    out = tmp_path / "out"
    plan(nih_folder, out, 1)

    def publish(done, total):
        if done == 40 and not (out / "manifest.json").exists():
            prepare(nih_folder, out)

    assert job(nih_folder, out, 1, progress=publish).jobs == 0
    assert contents(out) == contents(tmp_path / "one")


@pytest.mark.usefixtures("no_locks")
def test_a_job_of_a_plan_that_was_replaced_ends(nih_folder, tmp_path):
    out = tmp_path / "out"
    plan(nih_folder, out, 1)

    def plan_anew(done, total):
        if done == 10:
            plan(nih_folder, out, 2)

    with pytest.raises(UsageError, match="planned anew"):
        job(nih_folder, out, 1, progress=plan_anew)
    prepare(nih_folder, tmp_path / "one")
    prepare(nih_folder, out)
    assert contents(out) == contents(tmp_path / "one")


def test_what_another_machine_writes_stays_until_all_is_published(nih_folder, tmp_path):
    out = tmp_path / "out"
    plan(nih_folder, out)
    foreign = temporary_path(out / "shard-00003.h5", "node-7", 40)
    foreign.touch()
    plan(nih_folder, out)
    job(nih_folder, out, 1)
    assert foreign.exists()
    prepare(nih_folder, out)
    prepare(nih_folder, tmp_path / "one")
    assert contents(out) == contents(tmp_path / "one")


def test_scratch_is_in_the_folder_for_temporary_files(nih_folder, tmp_path, monkeypatch):
    plan(nih_folder, tmp_path / "out")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    usage, used = shutil.disk_usage, []

    def full(path):
        used.append(Path(path))
        return usage(path)._replace(free=10_000) if Path(path) == scratch else usage(path)

    monkeypatch.setattr(shutil, "disk_usage", full)
    with pytest.raises(UsageError, match=rf"take 33 KB, and {scratch} has 10 KB") as error:
        job(nih_folder, tmp_path / "out", 1)
    assert "TMPDIR" in error.value.hint and tmp_path / "out" in used
    monkeypatch.setattr(shutil, "disk_usage", usage)
    opened, ours = [], tempfile.TemporaryFile
    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda **values: opened.append(values["dir"]) or ours(**values)
    )
    job(nih_folder, tmp_path / "out", 1)
    assert opened == [scratch]


def test_planning_reads_archives_and_a_job_reads_only_its_own(nih_folder, tmp_path, monkeypatch):
    pack_tar(nih_folder)  # of 25 and 55 images
    read = []
    from deepchest_cli.data import images

    ours = images.stream_tar
    monkeypatch.setattr(
        images, "stream_tar", lambda path, *a, **k: read.append(path.name) or ours(path, *a, **k)
    )
    plan(nih_folder, tmp_path / "out", 5)
    assert read == ["images_001.tar.gz", "images_002.tar.gz"]
    read.clear()
    assert plan(nih_folder, tmp_path / "out", 5).unchanged
    assert read == []
    for number, expected in ((1, [1]), (2, [1, 2]), (5, [2])):
        job(nih_folder, tmp_path / "out", number)
        assert read == [f"images_00{place}.tar.gz" for place in expected]
        read.clear()


def test_archives_that_changed_after_planning(nih_folder, tmp_path):
    kept = shutil.copytree(nih_folder / "images", tmp_path / "kept")
    pack_tar(nih_folder)
    out, path = tmp_path / "out", nih_folder / "images_002.tar.gz"
    plan(nih_folder, out)
    job(nih_folder, out, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-2000])
    with pytest.raises(UsageError, match="not those that the jobs were planned for"):
        job(nih_folder, out, 4)
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    with pytest.raises(DeepChestError, match=r"images_002\.tar\.gz does not hold .* damaged"):
        job(nih_folder, out, 4)
    for file in sorted((nih_folder).glob("*.tar.gz")):
        file.unlink()
    shutil.copytree(kept, nih_folder / "images")
    with Image.open(kept / "00000040_000.png") as image:
        image.resize((50, 50)).save(nih_folder / "images" / "00000040_000.png")
    pack_tar(nih_folder)
    assert not plan(nih_folder, out).unchanged
    job(nih_folder, out, 4)
    prepare(nih_folder, out)
    prepare(nih_folder, tmp_path / "one")
    assert contents(out) == contents(tmp_path / "one")


def test_a_damaged_archive_is_refused_at_planning_or_allowed(nih_folder, tmp_path):
    pack_tar(nih_folder)
    path = nih_folder / "images_002.tar.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    with pytest.raises(DeepChestError, match=r"images_002\.tar\.gz: damaged"):
        plan(nih_folder, tmp_path / "out")
    allowed = replace(CONFIG, allow_missing=True)
    prepare(nih_folder, tmp_path / "one", allowed)
    planned = plan(nih_folder, tmp_path / "out", 2, allowed)
    for number in range(1, planned.jobs + 1):
        job(nih_folder, tmp_path / "out", number, allowed)
    shutil.copytree(tmp_path / "out", tmp_path / "mended")
    prepare(nih_folder, tmp_path / "out", allowed)
    assert contents(tmp_path / "out") == contents(tmp_path / "one")
    path.write_bytes(whole)  # of the same length
    prepare(nih_folder, tmp_path / "mended", allowed)
    prepare(nih_folder, tmp_path / "whole")
    assert contents(tmp_path / "mended") == contents(tmp_path / "whole")


def test_images_that_come_after_planning_are_taken_up_at_the_end(nih_folder, tmp_path):
    prepare(nih_folder, tmp_path / "one")
    lost = [nih_folder / "images" / f"0000000{n}_000.png" for n in (1, 9)]
    bytes_of = [path.read_bytes() for path in lost]
    for path in lost:
        path.unlink()
    said = []
    plan(nih_folder, tmp_path / "out", said=said)
    assert said[0].startswith("2 images are missing (2 × the file is missing). Restore them and")
    job(nih_folder, tmp_path / "out", 1)
    with pytest.raises(DeepChestError, match="2 images are missing"):
        prepare(nih_folder, tmp_path / "out")
    for path, data in zip(lost, bytes_of, strict=True):
        path.write_bytes(data)
    job(nih_folder, tmp_path / "out", 3)  # as it was planned
    prepare(nih_folder, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "one")


def test_files_that_go_after_planning_count_as_lost(nih_folder, tmp_path):
    nest(nih_folder)
    plan(nih_folder, tmp_path / "out")
    (nih_folder / "images_001" / "images" / "00000001_000.png").unlink()
    assert job(nih_folder, tmp_path / "out", 1).unreadable == 1
    with pytest.raises(DeepChestError, match="00000001_000.png: the file is missing"):
        prepare(nih_folder, tmp_path / "out")


def test_ranges_of_rows():
    assert consecutive([]) == [] and rows_in([]) == []
    assert consecutive([0, 1, 2, 7, 9, 10]) == [[0, 2], [7, 7], [9, 10]]
    assert rows_in([[0, 2], [7, 7], [9, 10]]) == [0, 1, 2, 7, 9, 10]
