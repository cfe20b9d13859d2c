import pytest
from tests_support import label

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.sources.recognize import read_source, recognize
from deepchest_cli.data.sources.splitting import assign_splits
from deepchest_cli.errors import UsageError

VINDR = """image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max
i1,Pleural effusion,10,R1,10,20,110,220
i1,Pleural effusion,10,R2,12,22,112,222
i1,Pleural effusion,10,R2,300,300,310,310
i1,Cardiomegaly,3,R3,5,5,6,6
i2,No finding,14,R1,,,,
i2,No finding,14,R2,,,,
"""


@pytest.mark.parametrize(
    ("readers", "found", "boxes"),
    [(1, {"Cardiomegaly", "Effusion"}, 4), (2, {"Effusion"}, 3), (3, set(), 0)],
)
def test_vindr_counts_readers_and_keeps_the_boxes_that_count(tmp_path, readers, found, boxes):
    (tmp_path / "train.csv").write_text(VINDR)
    source = read_source(tmp_path, PrepareConfig(readers=readers))
    assert source.kind == "vindr" and source.findings == ("Cardiomegaly", "Effusion")
    assert {name for name in source.findings if label(source, "i1", name)} == found
    assert not source.labels[1].any() and source.known.all()
    assert len(source.boxes) == boxes
    if boxes:
        effusion = source.boxes[source.boxes["finding"] == "Effusion"].iloc[0]
        assert list(effusion[["x", "y", "width", "height"]]) == [10, 20, 100, 200]
    assert not source.has_patients


def test_a_vindr_box_without_numbers_names_its_row(tmp_path):
    (tmp_path / "train.csv").write_text(VINDR.replace("12,22,112,222", "12,22,,222"))
    with pytest.raises(UsageError, match=r"row 3: a box needs x_min < x_max"):
        read_source(tmp_path, PrepareConfig())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("i1,Cardiomegaly,3", ",Cardiomegaly,3"), "row 5: column 'image_id' is empty"),
        (("i1,Cardiomegaly", "é,Cardiomegaly"), "row 5: image name"),
        (("Cardiomegaly,3", "Cardiomegaly,abc"), "row 5: column 'class_id' should be a whole"),
        (("10,20,110,220", "110,20,10,220"), "row 2: a box needs x_min < x_max"),
    ],
)
def test_bad_vindr_rows_are_named(tmp_path, change, message):
    (tmp_path / "train.csv").write_text(VINDR.replace(*change))
    with pytest.raises(UsageError, match=message):
        read_source(tmp_path, PrepareConfig())


# PhysioNet's tables: a row for each reader in training, the readers' consensus in test
TRAIN_LABELS = """image_id,rad_id,Cardiomegaly,Pleural effusion,Pneumonia,Other diseases,No finding
a,R1,1,0,1,0,0
a,R2,1,0,0,0,0
a,R3,0,1,1,0,0
b,R1,0,0,0,0,1
b,R4,0,0,0,0,1
b,R2,0,0,0,1,0
"""
TRAIN_BOXES = """image_id,rad_id,class_name,x_min,y_min,x_max,y_max
a,R1,Cardiomegaly,10,20,110,220
a,R2,Cardiomegaly,12,22,112,222
a,R3,Pleural effusion,1,2,3,4
b,R1,No finding,,,,
"""
TEST_LABELS = """image_id,Cardiomegaly,Pleural effusion,Pneumonia,Other disease,No finding
c,0,1.0,0,1,0
d,0,0,0,0,1
"""
TEST_BOXES = """image_id,class_name,x_min,y_min,x_max,y_max
c,Pleural effusion,5,6,7,8
d,No finding,,,,
"""
TABLES = {
    "image_labels_train.csv": TRAIN_LABELS,
    "annotations_train.csv": TRAIN_BOXES,
    "image_labels_test.csv": TEST_LABELS,
    "annotations_test.csv": TEST_BOXES,
}


@pytest.fixture
def physionet(tmp_path):
    folder = tmp_path / "vindr-cxr" / "annotations"
    folder.mkdir(parents=True)
    for name, text in TABLES.items():
        (folder / name).write_text(text)
    return folder.parent


def rows_of(boxes):
    return boxes[["image_index", "finding", "x", "y", "width", "height"]].values.tolist()


def test_physionet_is_recognized_with_its_own_splits(physionet):
    assert recognize(physionet, PrepareConfig()) == ("vindr", physionet)
    assert recognize(physionet.parent, PrepareConfig()) == ("vindr", physionet)
    source = read_source(physionet, PrepareConfig())
    assert list(source.table["image_index"]) == ["a", "b", "c", "d"]
    splits = assign_splits(source, PrepareConfig(validation_fraction=0))
    assert splits.scheme == "official"
    assert list(splits.splits) == ["train", "train", "test", "test"]
    assert {path.name for path in source.hashed} == set(TABLES)


def test_physionets_labels_are_a_majority_in_training_and_a_consensus_in_test(physionet):
    source = read_source(physionet, PrepareConfig())
    found = {
        image: {name for name in source.findings if label(source, image, name)}
        for image in source.table["image_index"]
    }
    assert found == {
        "a": {"Cardiomegaly", "Pneumonia"},
        "b": set(),
        "c": {"Effusion", "Other diseases"},  # spelled otherwise in the table of test labels
        "d": set(),
    }
    assert source.known.all() and not source.warnings
    assert source.findings == ("Cardiomegaly", "Effusion", "Pneumonia", "Other diseases")
    assert rows_of(source.boxes) == [
        ["a", "Cardiomegaly", 10, 20, 100, 200],
        ["a", "Cardiomegaly", 12, 22, 100, 200],
        ["c", "Effusion", 5, 6, 2, 2],
    ]


@pytest.mark.parametrize(("readers", "count"), [(1, 4), (3, 1)])
def test_readers_are_about_training_images_only(physionet, readers, count):
    source = read_source(physionet, PrepareConfig(readers=readers))
    assert len(source.boxes) == count
    assert label(source, "c", "Effusion") == 1


def test_a_class_that_one_of_physionets_tables_lacks_is_unknown_there(physionet):
    path = physionet / "annotations" / "image_labels_test.csv"
    lines = [line.split(",") for line in TEST_LABELS.splitlines()]
    path.write_text("\n".join(",".join(line[:3] + line[4:]) for line in lines))
    source = read_source(physionet, PrepareConfig())
    assert label(source, "c", "Pneumonia") is None and label(source, "a", "Pneumonia") == 1


def test_physionets_training_images_alone(physionet):
    for name in ("image_labels_test.csv", "annotations_test.csv"):
        (physionet / "annotations" / name).unlink()
    source = read_source(physionet, PrepareConfig())
    assert set(assign_splits(source, PrepareConfig(validation_fraction=0)).splits) == {"train"}
    assert source.box_file.name == "annotations_train.csv"


def test_images_that_too_few_readers_have_read_are_said(physionet):
    path = physionet / "annotations" / "image_labels_train.csv"
    path.write_text(TRAIN_LABELS.replace("b,R4,0,0,0,0,1\nb,R2,0,0,0,1,0\n", ""))
    source = read_source(physionet, PrepareConfig())
    assert source.warnings == ("1 image was read by fewer than 2 readers: no finding counts.",)


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("image_labels_train.csv", ("rad_id", "reader"), "no column 'rad_id'"),
        ("image_labels_train.csv", ("a,R2,", "a,R1,"), "image 'a/R1' stands in rows 2, 3"),
        ("image_labels_test.csv", ("d,0", "c,0"), "image 'c' stands in rows 2, 3"),
        ("image_labels_test.csv", ("c,0,1.0", "c,0,-1"), "row 2: column 'Pleural effusion' should"),
        ("image_labels_test.csv", ("c,0,1.0", "c,0,2"), "row 2: column 'Pleural effusion' should"),
        ("annotations_test.csv", ("c,Pleural", "e,Pleural"), "row 2: image 'e' has no labels in"),
        ("annotations_test.csv", ("c,Pleural effusion", "c,COPD"), "row 2: 'COPD' is no column"),
        ("annotations_test.csv", ("5,6,7,8", "5,6,7,"), "row 2: a box needs x_min < x_max"),
        ("annotations_train.csv", ("x_min", "left"), "no column 'x_min'"),
    ],
)
def test_bad_tables_of_physionet_are_named(physionet, table, change, message):
    path = physionet / "annotations" / table
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(UsageError, match=message):
        read_source(physionet, PrepareConfig())


def test_physionets_labels_without_its_boxes(physionet):
    (physionet / "annotations" / "annotations_test.csv").unlink()
    with pytest.raises(UsageError, match=r"has no table annotations_test\.csv"):
        read_source(physionet, PrepareConfig())


def test_an_image_in_both_splits_of_physionet(physionet):
    for name in ("image_labels_test.csv", "annotations_test.csv"):
        path = physionet / "annotations" / name
        path.write_text(path.read_text().replace("\nc,", "\na,"))
    with pytest.raises(UsageError, match="image 'a' is in training and in test"):
        read_source(physionet, PrepareConfig())
