"""On real NIH radiographs, where they are at hand."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests_support import QUICK

from deepchest_cli.config import PrepareConfig, TrainConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.nih_metadata import read_metadata
from deepchest_cli.data.preparation import plan_preparation, run_preparation
from deepchest_cli.data.radiograph import read_radiograph
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.run_directory import create_run
from deepchest_cli.training.setup import set_up

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
    return run_preparation(plan_preparation(config, source), config, folder, lambda *_: None)


@pytest.fixture(scope="module")
def prepared(real_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real") / "shards"
    return folder, prepare(real_data / "nih-224", folder, size=64).manifest


def test_the_official_split_of_the_sample(prepared):
    folder, manifest = prepared
    counts = manifest["counts"]
    assert counts["all"]["positives"] == POSITIVES
    assert counts["all"]["no_finding"] == 605
    assert counts["test"]["images"] == 229
    assert counts["train"]["images"] + counts["validation"]["images"] == 1387
    assert not manifest["left_out"]
    dataset = open_dataset(folder)
    parts = pd.Series(dataset.columns["split"]).groupby(dataset.columns["patient_id"]).nunique()
    assert (parts == 1).all()


def test_a_model_learns_from_it(prepared, tmp_path, recorder):
    small = {**QUICK, "backbone": "small_cnn", "image_size": 32, "epochs": 3}
    config = TrainConfig(data=prepared[0], out=tmp_path / "run", **small)
    Trainer(set_up(config), create_run(config), recorder).fit()
    losses = [report.macro("training", "loss") for report in recorder.epochs]
    assert losses[2] < losses[1] < losses[0]


def test_a_folder_without_lists_by_patient(real_data, tmp_path):
    manifest = prepare(
        real_data / "nih-64", tmp_path / "s", size=64, split_scheme="random"
    ).manifest
    assert manifest["counts"]["all"]["images"] == 1000
    assert manifest["counts"]["all"]["patients"] == 264


def test_original_files_with_alpha_keep_their_grey_values(real_data):
    modes = set()
    for path in sorted((real_data / "nih-1024" / "images").iterdir()):
        with Image.open(path) as image:
            modes.add(image.mode)
            grey = np.asarray(image.convert("RGBA"))[..., 0] if image.mode == "RGBA" else image
            assert np.array_equal(read_radiograph(path, 1024), np.asarray(grey))
    assert modes == {"L", "RGBA"}


def test_the_complete_table_tells_its_label_version(real_data, tmp_path):
    path = tmp_path / "Data_Entry_2017.csv"
    table = pd.read_csv(real_data / "metadata" / "Data_Entry_2017_v2020.csv.gz", dtype=str)
    table.to_csv(path, index=False)
    metadata = read_metadata(path)
    assert metadata.label_version == "2020"
    assert int(metadata.table["Hernia"].sum()) == 227
    assert metadata.table["patient_id"].nunique() == 30805
