"""Which images a data set says to be one study: by its table, or by the files themselves."""

import json

import numpy as np
import pytest
from dicom_files import dicom
from test_layouts import prepare

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.errors import DeepChestError

pytest.importorskip("pydicom")
SPLITS = ("train", "train", "validation", "test")  # of studies 0 to 3


def write_site(folder, images=8, studies="1.2.{}", more=None):
    """Write DICOM files, two of each study one after the other, and a table of them.

    studies: the UID of each study by its number; more: further columns, a cell by image number.
    """
    chance = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    names = [f"{number}.dcm" for number in range(images)]
    columns = {"path": names, "Mass": [number % 2 for number in range(images)], **(more or {})}
    columns["split"] = [SPLITS[number // 2 % 4] for number in range(images)]
    rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    (folder / "labels.csv").write_text("\n".join([",".join(columns), *rows]) + "\n")
    for number, name in enumerate(names):
        uid = studies.format(number // 2) if studies else None
        tags = {"StudyInstanceUID": uid} if uid else {}
        pixels = chance.integers(0, 255, (32, 32), dtype=np.uint8)
        (folder / name).write_bytes(dicom(pixels, 8, **tags))
    return folder


def prepared(folder, out, said=None, **settings):
    table = folder / "labels.csv"
    given = {"split_scheme": str(table), "label_columns": "Mass", **settings}
    config = PrepareConfig(size="32", workers=2, labels_csv=table, **given)
    result = prepare(folder, out, config, said)
    return result.manifest, open_dataset(out).columns


def test_dicom_files_name_their_studies_where_the_table_does_not(tmp_path):
    said = []
    manifest, columns = prepared(write_site(tmp_path / "site"), tmp_path / "out", said)
    assert columns["study"].tolist() == [f"1.2.{number // 2}" for number in range(8)]
    assert not manifest["source"]["studies"] and not manifest["source"]["patients"]
    counted = {split: one["studies"] for split, one in manifest["counts"].items()}
    assert counted == {"train": 2, "validation": 1, "test": 1, "all": 4}
    # a study is of one patient, so that its images count as one where intervals are by patient
    assert len(set(zip(columns["study"], columns["patient_id"], strict=True))) == 4
    assert manifest["counts"]["all"]["patients"] == 4
    assert not any("StudyInstanceUID" in one for one in said)


def test_a_table_that_names_studies_goes_before_the_files(tmp_path):
    folder = write_site(
        tmp_path / "site", more={"study_id": ["a", "a", "b", "b", "", "c", "d", ""]}
    )
    manifest, columns = prepared(folder, tmp_path / "out")
    assert columns["study"].tolist() == ["a", "a", "b", "b", "4.dcm", "c", "d", "7.dcm"]
    assert manifest["source"]["studies"] and manifest["counts"]["all"]["studies"] == 6


def test_patients_of_the_table_stay_where_files_name_studies(tmp_path):
    folder = write_site(tmp_path / "site", more={"patient": [1, 1, 2, 2, 3, 3, 4, 4]})
    _, columns = prepared(folder, tmp_path / "out")
    assert columns["patient_id"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert len(set(columns["study"])) == 4


def test_without_any_study_each_image_is_its_own_and_none_is_counted(tmp_path):
    manifest, columns = prepared(write_site(tmp_path / "site", studies=""), tmp_path / "out")
    assert columns["study"].tolist() == columns["image_index"].tolist()
    assert manifest["counts"]["all"]["studies"] is None


@pytest.mark.parametrize("uid", ["1." * 40, "1.2\n3"])
def test_a_uid_that_no_study_can_have_is_none(tmp_path, uid):
    with pytest.warns(UserWarning, match="UI"):
        folder = write_site(tmp_path / "site", studies=uid)
    manifest, _ = prepared(folder, tmp_path / "out")
    assert manifest["counts"]["all"]["studies"] is None


def test_studies_stay_when_a_preparation_is_continued(tmp_path):
    folder = write_site(tmp_path / "site")
    first = prepared(folder, tmp_path / "out")[0]
    assert prepared(folder, tmp_path / "out")[0] == first
    # one file is replaced by another of its study, of another length
    pixels = np.random.default_rng(9).integers(0, 255, (40, 40), dtype=np.uint8)
    (folder / "3.dcm").write_bytes(dicom(pixels, 8, StudyInstanceUID="1.2.9"))
    manifest, columns = prepared(folder, tmp_path / "out")
    assert columns["study"].tolist()[2:4] == ["1.2.1", "1.2.9"]
    assert manifest["counts"]["all"]["studies"] == 5


def test_a_study_of_dicom_files_in_two_splits_is_warned_of(tmp_path):
    said = []
    folder = write_site(tmp_path / "site", studies="1.2.3")
    prepared(folder, tmp_path / "out", said)
    (warning,) = [one for one in said if "StudyInstanceUID" in one]
    assert "1 study has images in several splits" in warning
    assert "the first, 1.2.3: 0.dcm (train)" in warning or "(train) and" in warning
    assert "--study-column" in warning
    said.clear()
    prepared(folder, tmp_path / "out", said)  # again where nothing is to be done
    assert any("images in several splits" in one for one in said)


def test_a_study_of_dicom_files_of_two_patients_is_warned_of(tmp_path):
    said = []
    folder = write_site(tmp_path / "site", more={"patient": [1, 5, 2, 2, 3, 3, 4, 4]})
    prepared(folder, tmp_path / "out", said)
    (warning,) = [one for one in said if "StudyInstanceUID" in one]
    assert "1 study has images of several patients" in warning
    assert "1.2.0: 0.dcm (1) and 1.dcm (5)" in warning


def test_studies_in_two_splits_of_a_file_are_refused_with_two_images(tmp_path):
    folder = write_site(tmp_path / "site", more={"exam": ["a", "b", "a", "c", "d", "a", "e", "b"]})
    with pytest.raises(DeepChestError) as error:
        prepared(folder, tmp_path / "out", study_column="exam")
    assert "2 studies have images in two splits" in error.value.message
    assert "'a': 2.dcm in train, 5.dcm in validation" in error.value.message
    assert "labels.csv" in error.value.message and "--split-scheme random" in error.value.hint
    assert not (tmp_path / "out").exists()
    manifest, columns = prepared(
        folder, tmp_path / "out", study_column="exam", split_scheme="random", test_fraction=0.4
    )
    assert manifest["source"] | {"patients": False, "studies": True} == manifest["source"]
    splits = {}
    for study, split in zip(columns["study"], columns["split"], strict=True):
        splits.setdefault(study, set()).add(split)
    assert all(len(found) == 1 for found in splits.values())


def test_the_summary_counts_studies_where_they_are_known(deepchest, tmp_path):
    folder = write_site(tmp_path / "site")
    arguments = ("prepare", "--labels-csv", folder / "labels.csv", "--split-scheme",
                 folder / "labels.csv", "--label-columns", "Mass", "--size", 32)  # fmt: skip
    outcome = deepchest(*arguments, "--data", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    (row,) = [line.split() for line in outcome.out.splitlines() if line.startswith("Studies")]
    assert row[1:] == ["2", "1", "1", "4"]
    assert "by image (patients are unknown)" in outcome.out
    document = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert document["counts"]["test"]["studies"] == 1
    named = deepchest(*arguments, "--data", tmp_path / "named", "--study-column", "split")
    assert "by study (patients are unknown)" in named.out, named.err
