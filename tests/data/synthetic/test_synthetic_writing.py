"""The demo on disk: NIH's layout, names, tables, and the same bytes however it is made."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from deepchest_cli.data.findings import FINDINGS, NO_FINDING
from deepchest_cli.data.synthetic import MINIMUM_IMAGES, SITES, TABLE, write_demo
from deepchest_cli.data.synthetic.csv_layout import study_names
from deepchest_cli.data.synthetic.population import plan_population
from deepchest_cli.data.synthetic.rendering import render_radiograph

IMAGES = MINIMUM_IMAGES
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
BOXED = {"Atelectasis", "Cardiomegaly", "Effusion", "Infiltrate", "Mass", "Nodule", "Pneumonia"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo, written in this process."""
    folder = tmp_path_factory.mktemp("demo")
    write_demo(folder, images=IMAGES, seed=7)
    return folder


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo of the second site."""
    folder = tmp_path_factory.mktemp("second")
    write_demo(folder, images=IMAGES, seed=7, site=SITES[1])
    return folder


def _bytes(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _table(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_workers_do_not_change_a_byte(demo: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_demo(
        tmp_path,
        images=IMAGES,
        seed=7,
        workers=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert _bytes(tmp_path) == _bytes(demo)
    assert seen == sorted(seen)
    assert seen[-1] == (IMAGES, IMAGES)


def test_another_seed_gives_other_images_and_labels(demo: Path, tmp_path: Path) -> None:
    write_demo(tmp_path, images=IMAGES, seed=8)
    ours, theirs = _bytes(demo), _bytes(tmp_path)
    assert not any(ours[name] == theirs[name] for name in ours.keys() & theirs.keys())


def test_images_are_gray_png_with_nih_names(demo: Path) -> None:
    images = sorted((demo / "images").iterdir())
    assert len(images) == IMAGES
    assert images[0].name == "00000001_000.png"
    for path in images:
        assert re.fullmatch(r"\d{8}_\d{3}\.png", path.name)
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "L", (256, 256))


def test_label_table(demo: Path) -> None:
    text = (demo / "Data_Entry_2017_v2020.csv").read_text(encoding="utf-8")
    assert text.splitlines()[0] == HEADER
    rows = _table(demo / "Data_Entry_2017_v2020.csv")[1:]
    assert [row[0] for row in rows] == sorted(path.name for path in (demo / "images").iterdir())
    for name, labels, follow_up, patient, age, sex, view, *original in rows:
        assert name == f"{int(patient):08d}_{int(follow_up):03d}.png"
        assert labels == NO_FINDING or set(labels.split("|")) <= set(FINDINGS)
        assert 0 < int(age) < 110
        assert sex in {"M", "F"}
        assert view in {"PA", "AP"}
        assert len([float(number) for number in original]) == 4


def test_lists_part_the_images_by_patient(demo: Path) -> None:
    texts = [(demo / name).read_text() for name in ("train_val_list.txt", "test_list.txt")]
    assert not any(text.endswith("\n") for text in texts)
    train, test = (text.split("\n") for text in texts)
    assert sorted(train + test) == sorted(path.name for path in (demo / "images").iterdir())
    assert not {name[:8] for name in train} & {name[:8] for name in test}


def test_boxes_lie_in_the_frame_and_belong_to_test_labels(demo: Path) -> None:
    header, *rows = _table(demo / "BBox_List_2017.csv")
    assert ",".join(header) == "Image Index,Finding Label,Bbox [x,y,w,h],,,".replace('"', "")
    labels = {row[0]: row[1] for row in _table(demo / "Data_Entry_2017_v2020.csv")}
    test = (demo / "test_list.txt").read_text().split("\n")
    assert {row[1] for row in rows} == BOXED | {"Pneumothorax"}
    for name, finding, *numbers in rows:
        left, top, width, height = map(float, numbers)
        assert name in test
        assert finding.replace("Infiltrate", "Infiltration") in labels[name].split("|")
        assert 0 <= left < left + width <= 1024
        assert 0 <= top < top + height <= 1024
        assert min(width, height) >= 10


def test_the_second_site_writes_one_table_of_its_own_names(second: Path) -> None:
    assert sorted(path.name for path in second.iterdir()) == ["images", TABLE]
    header, *rows = _table(second / TABLE)
    assert header[7:] == ["No Finding", *SITES[1].columns, "Support Devices"]
    assert {"Pleural Effusion", "Hiatal Hernia", "Lung Lesion"} < set(header)
    assert not {"Infiltration", "Mass", "Nodule"} & set(header)
    names = sorted(path.name for path in (second / "images").iterdir())
    assert sorted(row[0] for row in rows) == [f"images/{name}" for name in names]
    assert {row[5] for row in rows} == {"validation", "test"}
    halves = [{row[1] for row in rows if row[5] == name} for name in ("validation", "test")]
    assert not halves[0] & halves[1]


def test_some_studies_of_the_second_site_have_two_images_of_the_same_findings() -> None:
    radiographs = plan_population(600, seed=7, site=SITES[1]).radiographs
    studies: dict[str, list[tuple[int, int, frozenset[str]]]] = {}
    for name, spec in zip(study_names(radiographs), radiographs, strict=True):
        findings = frozenset(lesion.finding for lesion in spec.lesions)
        studies.setdefault(name, []).append((spec.patient, spec.age, findings))
    assert all(len(set(images)) == 1 for images in studies.values())
    counts = Counter(map(len, studies.values()))
    assert counts.keys() == {1, 2}
    assert 20 < counts[2] < 100


def test_cells_of_the_second_site_say_what_is_drawn_or_nothing(second: Path) -> None:
    header, *rows = _table(second / TABLE)
    specs = plan_population(IMAGES, seed=7, site=SITES[1]).radiographs
    seen: set[tuple[bool, str]] = set()
    for spec, row in zip(specs, rows, strict=True):
        cells = dict(zip(header, row, strict=True))
        drawn = {lesion.finding for lesion in spec.lesions}
        assert cells["No Finding"] == ("" if drawn else "1")
        for column, findings in SITES[1].columns.items():
            present = bool(drawn & set(findings))
            seen.add((present, cells[column]))
            if not drawn:
                assert cells[column] == ""
    assert seen == {(True, "1"), (True, "-1"), (False, "0"), (False, "-1"), (False, "")}


def test_devices_are_labeled_where_they_are_drawn(second: Path) -> None:
    header, *rows = _table(second / TABLE)
    devices = header.index("Support Devices")
    specs = plan_population(IMAGES, seed=7, site=SITES[1]).radiographs
    shown = [render_radiograph(spec, 64).shown.has_device for spec in specs]
    assert [row[devices] == "1" for row in rows] == shown
    assert 0 < sum(shown) < IMAGES
