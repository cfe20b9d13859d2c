import io
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from parquet_files import FEATURES, columns, nameless, numbered, pack, scans, tabular, timm, write
from PIL import Image
from tests_support import label

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.images import Embedded
from deepchest_cli.data.parquet import stream_images
from deepchest_cli.data.preparation import plan_preparation, run_preparation
from deepchest_cli.data.sources.recognize import read_source, recognize
from deepchest_cli.data.sources.splitting import assign_splits
from deepchest_cli.errors import DeepChestError, UsageError

CONFIG = PrepareConfig(size="32", workers=1)
TABLES = ("BBox_List_2017.csv", "train_val_list.txt", "test_list.txt", "Data_Entry_2017_v2020.csv")
FIRST = "train-00000-of-00002.parquet"


def prepare(source, folder, config=CONFIG):
    said = []
    plan = plan_preparation(config, source)
    (result,) = run_preparation(plan, config, folder, lambda *_: None, said.append)
    return result, [*plan.notes, *plan.warnings, *said]


def content(folder):
    """Return all that the shards of a data set hold but the kind of their source."""
    found = {}
    for path in sorted(folder.glob("shard-*.h5")):
        with h5py.File(path) as file:
            found |= {(path.name, name): file[name][:] for name in file if name != "source"}
    return found


def same(one, other):
    one, other = content(one), content(other)
    equal = {key: np.array_equal(one[key], other[key]) or key[1] == "age" for key in one}
    ages = [np.allclose(one[k], other[k], equal_nan=True) for k in one if k[1] == "age"]
    return one.keys() == other.keys() and all(equal.values()) and all(ages)


def changed(path, change):
    """Write a Parquet file anew with its rows changed."""
    rows = pq.read_table(path).to_pylist()
    form = next(form for form in FEATURES if form.__name__ == path.parents[1].name)
    write(path, change(rows) or rows, FEATURES[form])


@pytest.fixture
def packed(nih_folder, tmp_path):
    """Return the folder of NIH's radiographs in timm's form, without any file of NIH's."""
    return pack(nih_folder, tmp_path / "timm", timm)


@pytest.mark.parametrize("form", [timm, tabular])
def test_the_shards_are_those_of_the_files(nih_folder, tmp_path, form):
    files, _ = prepare(nih_folder, tmp_path / "files")
    pack(nih_folder, tmp_path / form.__name__, form)
    # without NIH's tables: the split is that of the files' names
    (tmp_path / form.__name__ / "BBox_List_2017.csv").write_bytes(
        (nih_folder / "BBox_List_2017.csv").read_bytes()
    )
    made, _ = prepare(tmp_path / form.__name__, tmp_path / "made")
    assert same(tmp_path / "files", tmp_path / "made")
    assert made.manifest["counts"] == files.manifest["counts"]
    assert made.manifest["settings"] == files.manifest["settings"]
    assert made.manifest["source"]["kind"] == "nih-parquet"
    assert open_dataset(tmp_path / "made").columns["source"][0] == "nih-parquet"


@pytest.mark.parametrize("form", [timm, tabular, numbered, scans, columns])
def test_nihs_tables_beside_the_files_say_what_these_lack(nih_folder, tmp_path, form):
    prepare(nih_folder, tmp_path / "files")
    folder = pack(nih_folder, tmp_path / form.__name__, form)
    for name in TABLES:
        shutil.copy(nih_folder / name, folder)
    made, said = prepare(folder, tmp_path / "made")
    assert same(tmp_path / "files", tmp_path / "made")
    taken = [note for note in said if "is taken from Data_Entry_2017_v2020.csv" in note]
    assert bool(taken) == (form not in (timm, tabular))
    hashed = list(made.manifest["source"]["sha256"])
    assert f"data/{FIRST} (footer)" in hashed and "test_list.txt" in hashed
    assert ("Data_Entry_2017_v2020.csv" in hashed) == bool(taken)


@pytest.mark.parametrize("form", [timm, numbered, scans, nameless, tabular, columns])
def test_labels_are_nihs_in_every_form(nih_folder, tmp_path, form):
    folder = pack(nih_folder, tmp_path / form.__name__, form)
    assert recognize(folder, PrepareConfig()) == ("nih-parquet", folder)
    source, files = read_source(folder, CONFIG), read_source(nih_folder, CONFIG)
    assert source.known.all() and source.has_patients
    order = slice(None)
    if form is nameless:  # rows in the order of the files, test first
        test = set((nih_folder / "test_list.txt").read_text().split())
        order = np.argsort([name not in test for name in files.table["image_index"]], kind="stable")
    assert np.array_equal(source.labels, files.labels[order])
    numbers = files.table["patient_id"].to_numpy()[order]
    assert np.array_equal(source.table["patient_id"], numbers)
    assert source.label_version == "unknown"


def test_images_without_names_are_named_by_file_and_row(nih_folder, tmp_path):
    folder = pack(nih_folder, tmp_path / "nameless", nameless)
    _, said = prepare(folder, tmp_path / "made")
    assert any("do not name their images" in note for note in said)
    names = list(open_dataset(tmp_path / "made").columns["image_index"])
    assert names[0] == "data_test-00000-of-00002_000000" and len(set(names)) == 80
    assert open_dataset(tmp_path / "made").columns["age"].min() == 50
    for path in folder.rglob("*.parquet"):
        changed(path, lambda rows: [{k: r[k] for k in ("image", "label")} for r in rows])
    _, said = prepare(folder, tmp_path / "strangers")
    assert not open_dataset(tmp_path / "strangers").manifest["source"]["patients"]


def test_a_split_of_files_that_shares_patients_is_refused(nih_folder, tmp_path):
    folder = pack(nih_folder, tmp_path / "nameless", nameless)
    first = folder / "data" / FIRST
    shutil.move(first, first.with_name("mixed-00000-of-00001.parquet"))
    rows = pq.read_table(first.with_name("mixed-00000-of-00001.parquet")).to_pylist()
    (first.with_name("mixed-00000-of-00001.parquet")).unlink()
    (folder / "data" / "train-00001-of-00002.parquet").unlink()
    write(first.with_name("train-00000-of-00001.parquet"), rows[::2], FEATURES[nameless])
    write(first.with_name("valid-00000-of-00001.parquet"), rows[1::2], FEATURES[nameless])
    with pytest.raises(DeepChestError, match="patients stand in two splits") as error:
        plan_preparation(CONFIG, folder)
    assert "--split-scheme random" in error.value.hint
    plan_preparation(PrepareConfig(split_scheme="random"), folder)


def test_one_split_of_all_is_none(nih_folder, tmp_path):
    folder = pack(nih_folder, tmp_path / "scans", scans)
    for path in sorted(folder.rglob("test-*.parquet")):
        path.rename(path.with_name(path.name.replace("test", "train-b")))
    made, _ = prepare(folder, tmp_path / "made")
    assert made.manifest["settings"]["split_scheme"] == "random"
    with pytest.raises(UsageError, match="has no split 'official'"):
        plan_preparation(PrepareConfig(split_scheme="official"), folder)


def test_files_that_name_no_split_are_left_out_and_counted(packed, tmp_path):
    path = packed / "data" / FIRST
    path.rename(path.with_name("more.parquet"))
    path.with_name("train-00001-of-00002.parquet").rename(path.with_name("train.parquet"))
    _, said = prepare(packed, tmp_path / "made")
    assert "30 images of files that name no split left out." in said


def test_a_column_or_a_folder_may_say_the_split(packed, tmp_path):
    expected = prepare(packed, tmp_path / "expected")[0].manifest["counts"]
    data = packed / "data"
    for split in ("train", "test"):  # as Hugging Face's own conversion lays them out
        (data / "default" / split).mkdir(parents=True)
        for number, path in enumerate(sorted(data.glob(f"{split}-*.parquet"))):
            path.rename(data / "default" / split / f"{number:04d}.parquet")
    assert prepare(data, tmp_path / "made")[0].manifest["counts"] == expected
    hashed = prepare(data, tmp_path / "made")[0].manifest["source"]["sha256"]
    assert len(hashed) == 4  # files of one name in two folders
    for split in ("train", "test"):
        for path in list((data / "default" / split).iterdir()):
            rows = [{**row, "split": split} for row in pq.read_table(path).to_pylist()]
            write(data / f"{len(list(data.glob('*.parquet')))}.parquet", rows, FEATURES[timm])
    shutil.rmtree(data / "default")
    assert prepare(data, tmp_path / "column")[0].manifest["counts"] == expected


def test_bytes_are_the_same_with_any_workers_and_after_an_interruption(
    packed, tmp_path, monkeypatch
):
    monkeypatch.setattr("deepchest_cli.data.preparation.planning.rows_per_shard", lambda size: 20)
    prepare(packed, tmp_path / "one")
    prepare(packed, tmp_path / "three", PrepareConfig(size="32", workers=3))
    written = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert written == {path.name: path.read_bytes() for path in (tmp_path / "three").iterdir()}
    assert len(written) == 6

    def stop(done, total):
        if done == 50:
            raise KeyboardInterrupt

    plan = plan_preparation(CONFIG, packed)
    with pytest.raises(KeyboardInterrupt):
        run_preparation(plan, CONFIG, tmp_path / "broken", stop)
    kept = {path.name for path in (tmp_path / "broken").glob("*.h5")}
    assert kept and "manifest.json" not in kept
    begun = []
    plan = plan_preparation(CONFIG, packed)
    run_preparation(plan, CONFIG, tmp_path / "broken", lambda done, total: begun.append(done))
    assert begun[0] == 20 * len(kept) + 1
    assert written == {path.name: path.read_bytes() for path in (tmp_path / "broken").iterdir()}
    assert prepare(packed, tmp_path / "one")[0].unchanged


def test_row_groups_without_a_wanted_image_are_not_read(packed, monkeypatch):
    path = packed / "data" / FIRST
    names = tuple(f"{name}.png" for name in pq.read_table(path)["image_id"].to_pylist())
    read = []
    real = pq.ParquetFile.iter_batches

    def counted(self, *arguments, row_groups, **more):
        read.append(*row_groups)
        return real(self, *arguments, row_groups=row_groups, **more)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    walked = list(stream_images(path, names, lambda name: name == names[9]))
    assert read == [1]  # of groups of seven
    assert [name for name, _, _ in walked] == list(names)
    assert [name for name, image, _ in walked if image] == [names[9]]


@pytest.mark.parametrize("form", [timm, tabular, columns])
def test_a_file_by_itself_is_a_source(nih_folder, tmp_path, form):
    folder = pack(nih_folder, tmp_path / form.__name__, form, files=1)
    source = read_source(folder / "data" / "test-00000-of-00001.parquet", CONFIG)
    assert len(source.table) == 20
    assert set(assign_splits(source, CONFIG).splits) == {"test"}  # none of NIH's test images trains
    assert label(source, "00000004_001.png", "Mass") == 1


def test_parquet_without_images_is_no_source(nih_folder, packed):
    table = pq.read_table(packed / "data" / FIRST).drop_columns(["image"])
    pq.write_table(table, nih_folder / "predictions.parquet")
    assert recognize(nih_folder, PrepareConfig()) == ("nih", nih_folder)
    pq.write_table(table, packed / "data" / "zz.parquet")
    with pytest.raises(UsageError, match=r"zz.parquet has no column of images. Found: image_id"):
        read_source(packed, CONFIG)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def pointer(path):
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 450000000\n")


def empty(path):
    pq.write_table(pq.read_table(path).slice(0, 0), path)


def same_image(path):
    changed(path, lambda rows: [*rows, rows[2]])


def other_file_too(path):
    changed(path, lambda rows: [*rows, pq.read_table(path.with_name(
        "test-00001-of-00002.parquet")).to_pylist()[0]])  # fmt: skip


def without(*names):
    def change(path):
        changed(path, lambda rows: [{k: v for k, v in r.items() if k not in names} for r in rows])

    return change


def with_value(row, **values):
    def change(path):
        changed(path, lambda rows: rows[row].update(values))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut, "cut short"),
        (pointer, "Git LFS pointer"),
        (empty, "has no rows"),
        (same_image, r"is there 2 times: .*parquet, row 3; .*parquet, row 31"),
        (other_file_too, r"is there 2 times: .*test-00001.*, row 1; .*train-00000.*, row 31"),
        (without("label_names", "labels"), "has no labels"),
        (without("image"), "has no column of images"),
        (with_value(4, label_names=["Masss"]), r"row 5: .*unknown finding 'Masss'.*'Mass'"),
        (with_value(4, label_names=["No Finding", "Mass"]), "row 5: .*stands beside findings"),
        (with_value(4, label_names=None), "row 5: column 'Finding Labels' is empty"),
        (with_value(4, patient_id=99), "row 5: .* is of patient 3 by its name and of 99"),
        (with_value(4, image_id="lung"), r"row 5: 'lung' is no name such as"),
    ],
)
def test_bad_tables_are_refused_with_file_and_row(packed, change, message):
    path = packed / "data" / FIRST
    change(path)
    with pytest.raises(UsageError, match=message) as error:
        read_source(packed, CONFIG)
    assert FIRST in error.value.message and not (packed / "shards").exists()


@pytest.mark.parametrize(
    ("form", "change", "message"),
    [
        (columns, with_value(4, Mass=None), "row 5: column 'Mass' should be 0 or 1"),
        (columns, with_value(4, Mass=-1), "row 5: column 'Mass' should be 0 or 1"),
        (columns, without("Mass"), "has no labels"),
        (scans, with_value(4, labels=[0, 3]), "row 5: .*'No Finding' stands beside findings"),
        (scans, with_value(4, labels=[15]), "'labels' has class 15, and names for 15 classes"),
        (tabular, with_value(4, split="fold 3"), "row 5: column 'split': 'fold 3' is no split"),
    ],
)
def test_bad_labels_of_other_forms_are_refused(nih_folder, tmp_path, form, change, message):
    folder = pack(nih_folder, tmp_path / form.__name__, form)
    if form is tabular:
        for path in folder.rglob("*.parquet"):
            changed(path, lambda rows: [{**row, "split": "train"} for row in rows])
    change(folder / "data" / FIRST)
    with pytest.raises(UsageError, match=message) as error:
        read_source(folder, CONFIG)
    assert FIRST in error.value.message


def test_class_numbers_without_names_are_no_labels_but_nihs_table_has_them(nih_folder, tmp_path):
    folder = pack(nih_folder, tmp_path / "numbered", numbered)
    for path in folder.rglob("*.parquet"):
        write(path, pq.read_table(path).to_pylist(), {})
    with pytest.raises(
        UsageError, match="has no labels: .*class numbers with their names"
    ) as error:
        read_source(folder, CONFIG)
    assert "Data_Entry_2017_v2020.csv" in error.value.hint
    shutil.copy(nih_folder / "Data_Entry_2017_v2020.csv", folder)
    source = read_source(folder, CONFIG)
    assert np.array_equal(source.labels, read_source(nih_folder, CONFIG).labels)
    assert source.label_version == "2020"


def test_files_that_are_missing_from_a_set_are_named(packed, tmp_path):
    (packed / "data" / "test-00001-of-00002.parquet").unlink()
    with pytest.raises(
        UsageError, match="1 file is missing of 2: test-00001-of-00002.parquet"
    ) as error:
        read_source(packed, CONFIG)
    assert "--allow-missing" in error.value.hint
    config = PrepareConfig(size="32", workers=1, allow_missing=True)
    made, said = prepare(packed, tmp_path / "made", config)
    assert any("1 file is missing of 2" in warning for warning in said)
    assert made.manifest["counts"]["test"]["images"] == 10


def webp(data):
    memory = io.BytesIO()
    Image.open(io.BytesIO(data)).save(memory, "WEBP", lossless=True)
    return memory.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, f"it is null (in {FIRST})"),
        (b"", f"the file is empty (0 bytes); fetch it again (in {FIRST})"),
        (b"\x00\x00\x00\x0cjxl image", f"cannot identify it as an image (in {FIRST})"),
    ],
)
def test_images_that_cannot_be_read_are_named_with_their_file(packed, tmp_path, data, reason):
    changed(packed / "data" / FIRST, lambda rows: rows[3].update(image={"bytes": data}))
    with pytest.raises(DeepChestError, match="1 image is missing or unreadable") as error:
        prepare(packed, tmp_path / "made")
    assert f"00000002_001.png: {reason}" in error.value.message
    assert not (tmp_path / "made" / "manifest.json").exists()
    config = PrepareConfig(size="32", workers=1, allow_missing=True)
    made, _ = prepare(packed, tmp_path / "made", config)
    assert made.manifest["excluded"]["reasons"] == {reason: 1}


def test_another_codec_that_pillow_reads_is_no_mistake(packed, nih_folder, tmp_path):
    def change(rows):
        for row in rows:
            row["image"]["bytes"] = webp(row["image"]["bytes"])

    prepare(packed, tmp_path / "png")
    changed(packed / "data" / FIRST, change)
    prepare(packed, tmp_path / "webp")
    one, other = (open_dataset(tmp_path / name) for name in ("png", "webp"))
    assert np.array_equal(one.gather(np.arange(80)), other.gather(np.arange(80)))


def test_damage_within_a_file_is_said_and_nothing_is_published(packed, tmp_path):
    path = packed / "data" / FIRST
    data = bytearray(path.read_bytes())
    place = pq.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset
    data[place : place + 40] = bytes(40)
    path.write_bytes(data)
    plan, said = plan_preparation(CONFIG, packed), []
    with pytest.raises(DeepChestError, match=f"not found, and data/{FIRST} is damaged"):
        run_preparation(plan, CONFIG, tmp_path / "made", lambda *_: None, said.append)
    assert f"{path} is damaged" in said[0]


def test_an_embedded_image_tells_where_it_is_from():
    assert Embedded(Path("x.parquet"), b"1").read() == b"1"


# VmHWM is the peak of this process alone; ru_maxrss begins with that of the one that started it
SCRIPT = """
import sys
from pathlib import Path
from deepchest_cli.data.parquet import stream_images
def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
before = peak()
names = [f"{n}" for n in range(int(sys.argv[2]))]
walk = stream_images(Path(sys.argv[1]), names, lambda name: True)
count = sum(len(image.data) for _, image, _ in walk)
print(count, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_number_of_row_groups(tmp_path):
    chance, peaks = np.random.default_rng(0), []
    for count in (200, 1000):  # 40 and 200 MB, in row groups of 8 MB
        path = tmp_path / f"{count}.parquet"
        write(path, [{"image": {"bytes": chance.bytes(200_000), "path": ""}} for _ in range(count)],
              {}, group=40)  # fmt: skip
        command = [sys.executable, "-c", SCRIPT, str(path), str(count)]
        read, grown = subprocess.check_output(command, text=True).split()
        assert int(read) == 200_000 * count
        peaks.append(int(grown) * 1024)
    assert peaks[1] < peaks[0] + 40e6 and peaks[1] < 160e6
