from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from deepchest_cli import files
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.evaluation_input import EvaluationInput
from deepchest_cli.evaluation.output.predictions_table import FORMATS, write_predictions
from deepchest_cli.evaluation.reading.labels import read_labels
from deepchest_cli.evaluation.reading.pairing import pair
from deepchest_cli.evaluation.reading.scores import read_scores


@pytest.fixture
def material(make_scored_images):
    """Images with endings, some labels unknown, and one finding that NIH does not have."""
    scored = make_scored_images(40)
    table = scored.predictions
    known = table.known.copy()
    known[::3, 0] = 0
    names = np.array([f"images_001/{name}.png" for name in scored.image_index])
    table = replace(
        table, findings=("Mass", "Lung Lesion"), known=known, patient_id=table.patient_id + 2**60
    )
    scored = replace(scored, predictions=table, image_index=names)
    return EvaluationInput(scored, {"split": "test"}, None, "", None)


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
def test_what_is_written_is_read_as_predictions_and_as_labels(material, tmp_path, name):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    path = tmp_path / "new" / name
    write_predictions(path, material)
    scored, table = material.scored, material.scored.predictions
    labels = read_labels(path)
    scores = read_scores(path, labeled=labels.findings)
    assert labels.findings == scores.findings == table.findings
    assert set(scores.splits) == {"test"}
    found = pair(scores, labels).cases
    order = np.argsort(scored.image_index)
    for field in ("image_index", "age", "sex", "view"):
        assert np.array_equal(getattr(found, field), getattr(scored, field)[order]), field
    read = found.predictions
    assert np.array_equal(read.probabilities, table.probabilities[order])
    assert np.array_equal(read.known, table.known[order])
    assert np.array_equal(read.labels, (table.labels * table.known)[order])
    assert np.array_equal(read.patient_id, table.patient_id[order])


def test_columns_and_cells(material, tmp_path):
    write_predictions(tmp_path / "p.csv", material)
    table = pd.read_csv(tmp_path / "p.csv")
    assert table.columns.tolist() == [
        "Image Index", "Patient ID", "split", "Age", "Sex", "View", "Mass", "Lung Lesion",
        "Mass_label", "Lung Lesion_label", "Mass_known", "Lung Lesion_known",
    ]  # fmt: skip
    assert table["Image Index"][0] == "images_001/00000000_000.png"
    assert table["Mass_label"].isna().tolist() == [row % 3 == 0 for row in range(40)]
    assert set(table["Mass_label"].dropna()) == set(table["Lung Lesion_label"]) == {0, 1}
    assert (table["Mass_known"] == table["Mass_label"].notna()).all()


def test_splits_that_are_not_known_are_left_out(material, tmp_path):
    material = replace(material, description={"split": "all"})
    write_predictions(tmp_path / "p.csv", material)
    assert "split" not in pd.read_csv(tmp_path / "p.csv").columns
    assert read_scores(tmp_path / "p.csv").of_split("test") is not None


def test_a_merge_with_nihs_table_names_no_column_twice(make_scored_images, nih_folder, tmp_path):
    nih = pd.read_csv(nih_folder / "Data_Entry_2017_v2020.csv")
    scored = replace(make_scored_images(80), image_index=nih["Image Index"].to_numpy(str))
    path = tmp_path / "p.csv"
    write_predictions(path, EvaluationInput(scored, {"split": "test"}, None, "", None))
    merged = nih.merge(pd.read_csv(path).drop(columns="Patient ID"), on="Image Index")
    assert len(merged) == 80
    assert not [name for name in merged.columns if name.endswith(("_x", "_y"))]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("p.txt", "does not end in .csv or .parquet"),
        ("folder.csv", "is a folder"),
        ("there.csv", "exists already"),
        ("p.parquet", "needs pyarrow"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused(tmp_path, monkeypatch, name, message):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "there.csv").write_text("mine")
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=message):
        files.refuse_unwritable(tmp_path / name, "--save-predictions", FORMATS, False)
    files.refuse_unwritable(tmp_path / "there.csv", "--save-predictions", FORMATS, True)


def test_nothing_half_written_stays(material, tmp_path, monkeypatch):
    def cut(table, path, **options):
        path.write_bytes(b"PAR1")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(pd.DataFrame, "to_parquet", cut)
    with pytest.raises(OSError, match="No space left"):
        write_predictions(tmp_path / "p.parquet", material)
    assert not list(tmp_path.iterdir())
