import gzip

import numpy as np
import pandas as pd
import pytest

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.tabular.cells import patient_numbers
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.reading.labels import patients_of, read_labels


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "labels.csv"
        path.write_text(text)
        return path

    return write


def test_nihs_metadata(nih_folder):
    labels = read_labels(nih_folder / "Data_Entry_2017_v2020.csv")
    assert labels.findings == FINDINGS
    assert (len(labels.images), labels.label_version) == (80, "2020")
    row = labels.images.tolist().index("00000003_001.png")
    found = {name for name, label in zip(FINDINGS, labels.labels[row], strict=True) if label}
    assert found == {FINDINGS[3], "Effusion"}
    assert (labels.patient_id[row], labels.age[row], labels.sex[row]) == (3, 51, "M")


def test_a_column_for_each_finding(write):
    labels = read_labels(
        write(
            "image,Patient ID,Sex,Age,View Position,Pleural Thickening,Mass,Fracture\n"
            "a.png,p7,female,60Y,pa,1,0,YES\nb.png,p1,M,,AP,0.0,,NO\nc.png,p7,F,300,PA,1.0,-1,NO\n"
        )
    )
    assert labels.findings == ("Pleural_Thickening", "Mass", "Fracture")
    assert labels.labels.tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert labels.known.tolist() == [[1, 1, 1], [1, 0, 1], [1, 0, 1]]
    patients = patient_numbers(pd.Series(["p7", "p1", "p7"]))  # as in shards
    assert labels.patient_id.tolist() == patients.tolist()
    assert labels.sex.tolist() == ["F", "M", "F"]
    assert labels.view.tolist() == ["PA", "AP", "PA"]
    np.testing.assert_array_equal(labels.age, [60, np.nan, np.nan])


def test_images_keep_their_spelling_and_stand_in_the_order_of_shards(write):
    labels = read_labels(write("image,Mass,Patient ID\nb/2.png,1,12\na/10.PNG,0,9\na/9,,007\n"))
    assert labels.images.tolist() == ["a/10.PNG", "a/9", "b/2.png"]
    assert labels.labels[:, 0].tolist() == [0, 0, 1]
    assert labels.known[:, 0].tolist() == [1, 0, 1]
    assert labels.patient_id.tolist() == [9, 7, 12]


def test_patients_from_nihs_file_names_and_without(write):
    named = read_labels(write("image,Mass\n00000012_003.png,1\n00000012_004.png,0\n"))
    patients, note = patients_of(named)
    assert patients.tolist() == [12, 12]
    assert "file names" in note
    patients, note = patients_of(read_labels(write("image,Mass\na,1\nb,0\n")))
    assert patients.tolist() == [0, 1]
    assert "too narrow" in note


def test_medmnists_arrays(tmp_path):
    path, labels = tmp_path / "chestmnist.npz", np.eye(14, dtype=np.uint8)
    np.savez(path, test_labels=labels, val_labels=labels[:2], test_images=np.zeros((14, 28, 28)))
    assert read_labels(path).labels.tolist() == labels.tolist()
    assert read_labels(path, "validation").images.tolist() == ["0", "1"]
    with pytest.raises(UsageError, match="no readable array 'train_labels'"):
        read_labels(path, "train")
    np.savez(path, test_labels=np.zeros((3, 1)))
    with pytest.raises(UsageError, match="0 or 1 for 14 labels"):
        read_labels(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,Mass\na,1\nb,2\n", "row 3: column 'Mass' should be 1, 0, -1.*Found '2'"),
        ("image,date\na,2020\n", "no column of labels"),
        ("image,Mass\na,1\na,0\n", "'a' stands in rows 2, 3"),
        ("Image Index,Finding Labels,Patient ID\na,Mas,1\n", "row 2.*did you mean 'Mass'"),
        ("Mass\n1\n", "no column of image names"),
    ],
)
def test_what_is_no_label(write, text, message):
    with pytest.raises(UsageError, match=message):
        read_labels(write(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "image,effusion,Effusion\na,1,0\n",
            "the columns 'effusion', 'Effusion' are all about 'Effusion'",
        ),
        ("image,Mass,Mass\na,1,0\n", "two columns 'Mass'"),
        ("image,Patient ID,Mass\na,1,0\nb,,1\n", "row 3: column 'Patient ID' is empty"),
        ("image,Mass\na,0,344\n", "row 2: 3 fields in 2 columns"),
        ("image,Mass,Edema\na,1\n", "row 2: the row ends before column 'Edema'"),
    ],
)
def test_what_would_be_misread_is_refused(tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_labels(tmp_path / "labels.csv")


@pytest.mark.parametrize("name", ["labels.csv.gz", "labels.csv", "labels.npz"])
@pytest.mark.parametrize("share", [0, 0.5])
def test_files_that_are_empty_or_cut_are_named(tmp_path, name, share):
    data = gzip.compress(b"image,Mass\n" + b"a,1\n" * 50)
    path = tmp_path / name
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UsageError, match=name):
        read_labels(path)
