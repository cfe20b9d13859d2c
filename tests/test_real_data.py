"""On real NIH radiographs, where they are at hand."""

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests_support import QUICK, read_radiograph

from deepchest_cli.config import PrepareConfig, TrainConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.merging import open_datasets
from deepchest_cli.data.preparation import plan_preparation, run_preparation
from deepchest_cli.data.preparation.folder import count_splits
from deepchest_cli.data.sources.nih_metadata import read_metadata
from deepchest_cli.errors import UsageError
from deepchest_cli.training.components import build_components
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.run_directory import create_run

POSITIVES = {
    "Infiltration": 307,
    "Atelectasis": 199,
    "Effusion": 173,
    "Consolidation": 114,
    "Edema": 114,
    "Nodule": 107,
    "Pleural_Thickening": 95,
    "Mass": 91,
    "Cardiomegaly": 73,
    "Fibrosis": 64,
    "Pneumothorax": 57,
    "Emphysema": 52,
    "Hernia": 23,
    "Pneumonia": 516,
}


def prepare(source, folder, **settings):
    config = PrepareConfig(workers=2, **settings)
    (result,) = run_preparation(plan_preparation(config, source), config, folder, lambda *_: None)
    return result


@pytest.fixture(scope="module")
def prepared(real_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real") / "shards"
    return folder, prepare(real_data / "nih-224", folder, size="64").manifest


def test_the_official_split_of_the_sample(prepared):
    folder, manifest = prepared
    counts = manifest["counts"]
    assert counts["all"]["positives"] == POSITIVES
    assert counts["all"]["no_finding"] == 605
    assert counts["test"]["images"] == 229
    assert counts["train"]["images"] + counts["validation"]["images"] == 1387
    assert not manifest["excluded"]["images"]
    dataset = open_dataset(folder)
    parts = pd.Series(dataset.columns["split"]).groupby(dataset.columns["patient_id"]).nunique()
    assert (parts == 1).all()


def test_a_model_learns_from_it(prepared, tmp_path, recorder):
    small = {**QUICK, "backbone": "small_cnn", "image_size": 32, "epochs": 3}
    config = TrainConfig(data=(str(prepared[0]),), out=tmp_path / "run", **small)
    Trainer(build_components(config), create_run(config), recorder).fit()
    losses = [report.macro("training", "loss") for report in recorder.epochs]
    assert losses[2] < losses[1] < losses[0]


@pytest.fixture(scope="module")
def two_halves(real_data, tmp_path_factory):
    """The sample by patients: half of it as NIH lays it out, half with a table of its own."""
    root, source = tmp_path_factory.mktemp("halves"), real_data / "nih-224"
    table = pd.read_csv(source / "Data_Entry_2017_v2020.csv")
    first = table["Patient ID"].isin(sorted(table["Patient ID"].unique())[::2])
    (root / "nih" / "images").mkdir(parents=True)
    table[first].to_csv(root / "nih" / "Data_Entry_2017_v2020.csv", index=False)
    for name in table["Image Index"][first]:
        (root / "nih" / "images" / name).symlink_to(source / "images" / name)
    other = table[~first]
    cells = {"file": other["Image Index"], "patient": other["Patient ID"]} | {
        column: other["Finding Labels"].str.contains(finding).astype(int)
        for column, finding in {
            "Pleural Effusion": "Effusion",
            "Lung Lesion": "Mass|Nodule",
        }.items()
    }
    pd.DataFrame(cells).to_csv(root / "labels.csv", index=False)
    prepare(root / "nih", root / "nih-shards", size="64", split_scheme="random")
    table_of_own = {"labels_csv": root / "labels.csv", "path_column": "file"}
    prepare(source, root / "csv-shards", size="96", patient_column="patient", **table_of_own)
    return root


def test_two_sources_of_other_sizes_and_findings_train_together(two_halves, tmp_path, recorder):
    folders = tuple(str(two_halves / name) for name in ("nih-shards", "csv-shards"))
    small = {**QUICK, "backbone": "small_cnn", "epochs": 2, "batch_size": 32}
    config = TrainConfig(data=folders, out=tmp_path / "run", **small)
    components = build_components(config)
    dataset = components.dataset
    assert (
        dataset.size == 64 and dataset.findings[-1] == "Lung Lesion" and len(dataset.labels) == 1616
    )
    assert len(np.unique(dataset.columns["patient_id"])) == 1290
    assert components.warnings == ()
    Trainer(components, create_run(config), recorder).fit()
    losses = [report.macro("training", "loss") for report in recorder.epochs]
    assert losses[1] < losses[0]


def test_the_same_real_patients_in_two_sources_are_refused(two_halves, prepared):
    """The whole sample has other splits than its half, and the same radiographs."""
    with pytest.raises(UsageError, match="in different splits"):
        open_datasets([str(prepared[0]), str(two_halves / "nih-shards")])


def test_a_folder_without_lists_by_patient(real_data, tmp_path):
    manifest = prepare(
        real_data / "nih-64", tmp_path / "s", size="64", split_scheme="random"
    ).manifest
    assert manifest["counts"]["all"]["images"] == 1000
    assert manifest["counts"]["all"]["patients"] == 264


def test_original_files_with_alpha_keep_their_gray_values(real_data):
    modes = set()
    for path in sorted((real_data / "nih-1024" / "images").iterdir()):
        with Image.open(path) as image:
            modes.add(image.mode)
            gray = np.asarray(image.convert("RGBA"))[..., 0] if image.mode == "RGBA" else image
            assert np.array_equal(read_radiograph(path, 1024), np.asarray(gray))
    assert modes == {"L", "RGBA"}


def test_the_complete_table_tells_its_label_version(real_data, tmp_path):
    path = tmp_path / "Data_Entry_2017.csv"
    table = pd.read_csv(real_data / "metadata" / "Data_Entry_2017_v2020.csv.gz", dtype=str)
    table.to_csv(path, index=False)
    metadata = read_metadata(path)
    assert metadata.label_version == "2020"
    assert int(metadata.table["Hernia"].sum()) == 227
    assert metadata.table["patient_id"].nunique() == 30805


# of NIH's whole table, labels of 2020: positives in all, in train_val and in test
WHOLE = {
    "No Finding": (60361, 50500, 9861),
    "Infiltration": (19894, 13782, 6112),
    "Effusion": (13317, 8659, 4658),
    "Atelectasis": (11559, 8280, 3279),
    "Nodule": (6331, 4708, 1623),
    "Mass": (5782, 4034, 1748),
    "Pneumothorax": (5302, 2637, 2665),
    "Consolidation": (4667, 2852, 1815),
    "Pleural_Thickening": (3385, 2242, 1143),
    "Cardiomegaly": (2776, 1707, 1069),
    "Emphysema": (2516, 1423, 1093),
    "Edema": (2303, 1378, 925),
    "Fibrosis": (1686, 1251, 435),
    "Pneumonia": (1431, 876, 555),
    "Hernia": (227, 141, 86),
}


def test_counts_of_the_whole_table_by_finding_and_part(real_data, tmp_path):
    shutil.copy(real_data / "metadata" / "Data_Entry_2017_v2020.csv.gz", tmp_path)
    for name in ("train_val_list.txt", "test_list.txt", "BBox_List_2017.csv"):
        shutil.copy(real_data / "nih-224" / name, tmp_path)
    plan = plan_preparation(PrepareConfig(), tmp_path)
    assert plan.source.label_version == "2020"
    assert not plan.notes
    counts = count_splits(plan, np.ones(len(plan.table), dtype=bool))
    assert counts["all"]["images"] == 112_120 and counts["all"]["patients"] == 30_805
    assert counts["test"]["images"] == 25_596 and len(plan.source.boxes) == 984
    for finding, expected in WHOLE.items():
        found = [_count(counts[part], finding) for part in ("all", "train", "validation", "test")]
        assert (found[0], found[1] + found[2], found[3]) == expected
        # carved by patient, alike in the rare findings
        assert found[2] / (found[1] + found[2]) == pytest.approx(0.1, abs=0.03)
    by_patient = pd.Series(plan.splits).groupby(plan.table["patient_id"].to_numpy()).nunique()
    assert (by_patient == 1).all()


def _count(part, finding):
    return part["no_finding"] if finding == "No Finding" else part["positives"][finding]


def test_dicom_files_are_read_as_the_png_made_from_them(real_data):
    dicom, png = real_data / "dicom", real_data / "nih-224" / "images"
    ours = read_radiograph(dicom / "00000002_000.dcm", 224).astype(int)
    if (png / "00000002_000.png").is_file():
        assert np.abs(ours - read_radiograph(png / "00000002_000.png", 224)).mean() < 2
    one, other = (
        read_radiograph(dicom / f"rsna_monochrome{number}.dcm", 224).astype(int)
        for number in (1, 2)
    )
    # lungs are darker than the middle of the chest
    for gray in (ours, other):
        assert gray[90:130, 50:80].mean() < gray[130:180, 100:125].mean()
    # the same pixels, with a tag that says that they are to be shown the other way round
    assert np.abs(one + other - 255).max() <= 1
