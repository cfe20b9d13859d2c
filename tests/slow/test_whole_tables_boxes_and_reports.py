"""The whole tables of RSNA, SIIM-ACR, VinDr-CXR and OpenI against readings that share no code.

The tables come with torchxrayvision, which is found and not imported. Where its own rule for labels
differs, the numbers of differing images are those of docs/data.md.
"""

import csv
import gzip
import importlib.util
import io
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.sources.recognize import read_source

MOST_SECONDS, MOST_MEMORY = 10, 1000  # of CPU time; MB
TABLES = {
    "rsna": ("kaggle_stage_2_train_labels.csv.zip", "stage_2_train_labels.csv.zip"),
    "siim": ("siim-pneumothorax-train-rle.csv.gz", "siim-pneumothorax-train-rle.csv.gz"),
    "vindr": ("vinbigdata-train.csv.gz", "train.csv.gz"),
    "openi": ("NLMCXR_reports.tgz", "NLMCXR_reports.tgz"),
}
MEASURE = """
import sys, time
from pathlib import Path
from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.sources.recognize import read_source
from deepchest_cli.data.sources.splitting import assign_splits
start, config = time.process_time(), PrepareConfig()
source = read_source(Path(sys.argv[1]), config)
assert set(assign_splits(source, config).splits) == {"train", "validation", "test"}
seconds, status = time.process_time() - start, Path("/proc/self/status").read_text()
print(source.kind, seconds, status.partition("VmHWM:")[2].split()[0])
"""


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Each table in a folder of its own, named as its owner names it."""
    spec = importlib.util.find_spec("torchxrayvision")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("torchxrayvision, which brings the tables, is not installed")
    there = Path(spec.submodule_search_locations[0]) / "data"
    folders = {}
    for kind, (packed, name) in TABLES.items():
        folders[kind] = tmp_path_factory.mktemp(kind)
        shutil.copy(there / packed, folders[kind] / name)
    return folders


def read(tables, kind, **settings):
    return read_source(tables[kind], PrepareConfig(**settings))


def csv_rows(text):
    return [
        {key.strip(): cell.strip() for key, cell in row.items()}
        for row in csv.DictReader(io.StringIO(text))
    ]


def positives(source, finding):
    present = source.labels[:, source.findings.index(finding)] == 1
    return set(source.table["image_index"][present])


def unknown(source, finding):
    known = source.known[:, source.findings.index(finding)] == 1
    return set(source.table["image_index"][~known])


def boxes_of(source):
    boxes = source.boxes[["image_index", "finding", "x", "y", "width", "height"]]
    return sorted(map(tuple, boxes.to_numpy().tolist()))


@pytest.mark.parametrize("kind", TABLES)
def test_a_whole_table_is_read_and_split_quickly_in_little_memory(tables, kind):
    command = [sys.executable, "-c", MEASURE, str(tables[kind])]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    print(f"{kind}: {float(found[1]):.1f} s of CPU, {int(found[2]) / 1024:.0f} MB")
    assert found[0] == kind
    assert float(found[1]) < MOST_SECONDS and int(found[2]) / 1024 < MOST_MEMORY


def test_rsna(tables):
    with zipfile.ZipFile(tables["rsna"] / TABLES["rsna"][1]) as archive:
        rows = csv_rows(archive.read(archive.namelist()[0]).decode())
    source = read(tables, "rsna")
    ill = {row["patientId"] for row in rows if row["Target"] == "1"}
    assert list(source.table["image_index"]) == sorted({row["patientId"] for row in rows})
    assert positives(source, "Pneumonia") == ill and source.known.all()
    assert (len(rows), len(source.table), len(ill)) == (30_227, 26_684, 6_012)
    assert boxes_of(source) == sorted(
        (row["patientId"], "Pneumonia", *(float(row[k]) for k in ("x", "y", "width", "height")))
        for row in rows
        if row["x"]
    )


def test_siim(tables):
    rows = csv_rows(gzip.decompress((tables["siim"] / TABLES["siim"][1]).read_bytes()).decode())
    source = read(tables, "siim")
    outlined = [row for row in rows if row["EncodedPixels"] != "-1"]
    ill = {row["ImageId"] for row in outlined}
    assert list(source.table["image_index"]) == sorted({row["ImageId"] for row in rows})
    assert positives(source, "Pneumothorax") == ill and source.known.all()
    # torchxrayvision has a sample for each row: 12,954 of which 3,576 are positive
    assert (len(rows), len(outlined)) == (12_954, 3_576)
    assert (len(source.table), len(ill)) == (12_047, 2_669)
    drawn = []
    for row in outlined:
        mask, place = np.zeros(1024 * 1024, dtype=bool), 0
        numbers = list(map(int, row["EncodedPixels"].split()))
        for gap, length in zip(numbers[::2], numbers[1::2], strict=True):
            mask[place + gap : place + gap + length] = True
            place += gap + length
        image = mask.reshape(1024, 1024).T
        across, down = np.flatnonzero(image.any(axis=0)), np.flatnonzero(image.any(axis=1))
        box = across[0], down[0], across[-1] - across[0] + 1, down[-1] - down[0] + 1
        drawn.append((row["ImageId"], "Pneumothorax", *map(float, box)))
    assert boxes_of(source) == sorted(drawn)


VINDR_NAMES = {
    "Pleural effusion": "Effusion",
    "Pleural thickening": "Pleural_Thickening",
    "Pulmonary fibrosis": "Fibrosis",
}


@pytest.mark.parametrize("readers", [1, 2, 3])
def test_vindr(tables, readers):
    rows = csv_rows(gzip.decompress((tables["vindr"] / TABLES["vindr"][1]).read_bytes()).decode())
    source = read(tables, "vindr", readers=readers)
    reports = defaultdict(set)
    for row in rows:
        reports[row["class_name"], row["image_id"]].add(row["rad_id"])
    classes = {name for name, _ in reports} - {"No finding"}
    assert len(source.findings) == len(classes) == 14 and len(source.table) == 15_000
    for name in classes:
        agreed = {i for (n, i), by in reports.items() if n == name and len(by) >= readers}
        # torchxrayvision takes every image that any reader reports, as --readers 1 does
        assert positives(source, VINDR_NAMES.get(name, name)) == agreed
    assert source.known.all() and not source.warnings
    corners = ("x_min", "y_min", "x_max", "y_max")
    expected = []
    for row in rows:
        count = len(reports[row["class_name"], row["image_id"]])
        if row["class_name"] != "No finding" and count >= readers:
            x, y, right, bottom = (float(row[corner]) for corner in corners)
            name = VINDR_NAMES.get(row["class_name"], row["class_name"])
            expected.append((row["image_id"], name, x, y, right - x, bottom - y))
    assert boxes_of(source) == sorted(expected)


OPENI = {  # the beginnings of the coders' terms
    "Atelectasis": "pulmonary atelectasis",
    "Cardiomegaly": "cardiomegaly|cardiac shadow/enlarged",
    "Effusion": "pleural effusion|hydropneumothorax|hemopneumothorax|hemothorax",
    "Infiltration": "infiltrate",
    "Mass": "mass/lung",
    "Nodule": "nodule/lung",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax|hydropneumothorax|hemopneumothorax",
    "Consolidation": "consolidation",
    "Edema": "pulmonary edema",
    "Emphysema": "emphysema|pulmonary emphysema|bullous emphysema",
    "Fibrosis": "fibrosis|pulmonary fibrosis",
    "Pleural_Thickening": "thickening/pleura",
    "Hernia": "hernia, hiatal|hernia, diaphragmatic",
}
UNCODED = "no indexing|technical quality of image unsatisfactory"
# torchxrayvision looks for these within the terms that a program took from the text
WORDS = {
    "Atelectasis": "atelectasis|atelectases",
    "Infiltration": "infiltration|infiltrate",
    "Pleural_Thickening": "pleural_thickening|pleural thickening",
}
# images here, there, here alone, there alone
DIFFERENCES = {
    "Atelectasis": (616, 711, 20, 115),
    "Cardiomegaly": (693, 493, 200, 0),
    "Effusion": (292, 346, 19, 73),
    "Infiltration": (116, 174, 2, 60),
    "Mass": (23, 13, 21, 11),
    "Nodule": (189, 157, 67, 35),
    "Pneumonia": (77, 158, 5, 86),
    "Pneumothorax": (54, 44, 10, 0),
    "Edema": (87, 144, 0, 57),
    "Emphysema": (199, 193, 45, 39),
    "Fibrosis": (36, 39, 12, 15),
    "Pleural_Thickening": (82, 68, 24, 10),
    "Hernia": (90, 97, 0, 7),
}


@pytest.fixture(scope="module")
def reports(tables):
    """Each image's terms of the coders and of the program, found in the text of its report."""
    found = {}
    with tarfile.open(tables["openi"] / TABLES["openi"][1]) as archive:
        for member in archive.getmembers():
            if member.isfile():
                text = archive.extractfile(member).read().decode().lower()
                terms = [
                    re.findall(rf"<{k}>\s*(.*?)\s*</{k}>", text) for k in ("major", "automatic")
                ]
                for image in re.findall(r'<parentimage id="(.*?)"', text):
                    found[image.upper()] = terms
    return found


def having(reports, pattern, which, whole):
    """Return the images that have a term; whole: it begins with the pattern, as a whole word."""
    find = re.compile(f"({pattern})(/.*)?").fullmatch if whole else re.compile(pattern).search
    return {image for image, terms in reports.items() if any(map(find, terms[which]))}


def test_openi(tables, reports):
    source = read(tables, "openi")
    assert set(source.table["image_index"]) == reports.keys() and len(reports) == 7_470
    assert list(source.findings) == list(OPENI)
    uncoded = having(reports, UNCODED, 0, True)
    for finding, pattern in OPENI.items():
        present = having(reports, pattern, 0, True)
        assert positives(source, finding) == present
        elsewhere = having(reports, finding.lower(), 0, True) - present
        doubtful = elsewhere if finding in ("Mass", "Nodule") else set()
        assert unknown(source, finding) == (uncoded | doubtful) - present


def test_openi_differs_from_torchxrayvision_as_the_documents_say(tables, reports):
    source = read(tables, "openi")
    for finding, expected in DIFFERENCES.items():
        here = positives(source, finding)
        there = having(reports, WORDS.get(finding, finding.lower()), 1, False)
        assert (len(here), len(there), len(here - there), len(there - here)) == expected, finding
