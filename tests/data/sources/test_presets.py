import gzip

import pytest
from tests_support import label

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.sources.presets import STATES
from deepchest_cli.data.sources.recognize import read_source, recognize
from deepchest_cli.data.sources.splitting import assign_splits
from deepchest_cli.errors import UsageError


def states(**present):
    """Return cells in the order of STATES; names have underscores for blanks."""
    return ",".join(present.get(name.replace(" ", "_"), "") for name in STATES)


HEADER = f"Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,{','.join(STATES)}\n"


@pytest.fixture
def chexpert(tmp_path):
    start = "CheXpert-v1.0-small"
    (tmp_path / "train.csv").write_text(
        HEADER
        + f"{start}/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1,{states()}\n"
        + f"{start}/train/patient00001/study1/view2_lateral.jpg,Female,68,Lateral,,1,{states()}\n"
        + f"{start}/train/patient00002/study2/view1_frontal.jpg,Unknown,0,Frontal,PA,,"
        + states(Edema="1.0", Pneumonia="-1.0", Pleural_Effusion="0.0")
        + "\n"
    )
    (tmp_path / "valid.csv").write_text(
        HEADER + f"{start}/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,0.0,"
        + states(Cardiomegaly="1.0") + "\n"
    )  # fmt: skip
    return tmp_path


def test_chexpert(chexpert):
    source = read_source(chexpert, PrepareConfig())
    assert source.kind == "chexpert"
    assert "Effusion" in source.findings and "Support Devices" in source.findings
    assert "No Finding" not in source.findings and len(source.findings) == 13
    second = "train/patient00002/study2/view1_frontal.jpg"
    assert len(source.table) == 3  # the lateral view is left out
    assert label(source, second, "Edema") == 1
    assert label(source, second, "Pneumonia") is None
    assert label(source, second, "Effusion") == 0
    assert label(source, second, "Fracture") == 0  # not mentioned
    assert source.policies.pop("label_map").startswith("chexpert.toml, sha256 ")
    assert source.policies == {"uncertain": "ignore", "blank": "zero"}
    parts = assign_splits(source, PrepareConfig(validation_fraction=0)).splits
    assert list(parts) == ["train", "train", "test"]
    assert source.table["patient_id"].nunique() == 3


def test_chexperts_valid_part_is_validation_where_its_test_part_is_there(chexpert):
    text = (chexpert / "valid.csv").read_text()
    (chexpert / "test.csv").write_text(text.replace("64541", "65001").replace("valid/", "test/"))
    source = read_source(chexpert, PrepareConfig())
    parts = dict(
        zip(source.table["image_index"], assign_splits(source, PrepareConfig()).splits, strict=True)
    )
    assert parts["valid/patient64541/study1/view1_frontal.jpg"] == "validation"
    assert parts["test/patient65001/study1/view1_frontal.jpg"] == "test"


@pytest.fixture
def mimic(tmp_path):
    rows = [("d1", 10, 1, "PA"), ("d2", 10, 1, "LATERAL"), ("d3", 11, 2, "AP"), ("d4", 12, 3, "AP")]
    tables = {
        "metadata": ["dicom_id,subject_id,study_id,ViewPosition",
                     *(",".join(map(str, row)) for row in rows)],
        "chexpert": [f"subject_id,study_id,{','.join(STATES)},No Finding",
                     f"10,1,{states(Atelectasis='1.0', Edema='-1.0')},", f"11,2,{states()},1.0"],
        "split": ["dicom_id,study_id,subject_id,split", "d1,1,10,train", "d2,1,10,train",
                  "d3,2,11,test", "d4,3,12,validate"],
    }  # fmt: skip
    for name, lines in tables.items():
        path = tmp_path / f"mimic-cxr-2.0.0-{name}.csv.gz"
        path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return tmp_path


def test_mimic_cxr_joins_labels_of_studies_to_images(mimic):
    source = read_source(mimic, PrepareConfig())
    assert source.kind == "mimic-cxr"
    assert list(source.table["image_index"]) == ["d1", "d3"]  # d4's study has no labels
    assert label(source, "d1", "Atelectasis") == 1
    assert label(source, "d1", "Edema") is None
    assert label(source, "d3", "Atelectasis") == 0
    assert list(assign_splits(source, PrepareConfig(validation_fraction=0)).splits) == [
        "train",
        "test",
    ]
    assert list(source.table["patient_id"]) == [10, 11]


def test_mimic_cxr_without_one_of_its_tables(mimic):
    (mimic / "mimic-cxr-2.0.0-split.csv.gz").unlink()
    with pytest.raises(UsageError, match=r"no table mimic-cxr-\.\.\.-split"):
        read_source(mimic, PrepareConfig())


def test_kinds_are_recognized_and_may_be_named(chexpert, tmp_path):
    assert recognize(chexpert, PrepareConfig()) == ("chexpert", chexpert)
    assert recognize(chexpert, PrepareConfig(layout="nih"))[0] == "nih"
    assert recognize(tmp_path / "none", PrepareConfig())[0] == "nih"
    inside = tmp_path / "above" / "CheXpert-v1.0-small"
    inside.mkdir(parents=True)
    (chexpert / "train.csv").rename(inside / "train.csv")
    assert recognize(tmp_path / "above", PrepareConfig()) == ("chexpert", inside)
    (inside / "train.csv").rename(chexpert / "train.csv")
    with pytest.raises(UsageError, match="no column 'image_id'"):
        read_source(chexpert, PrepareConfig(layout="vindr"))


@pytest.mark.parametrize(
    "layout", ["chexpert", "mimic-cxr", "padchest", "vindr", "chestmnist", "rsna", "siim"]
)
def test_a_folder_without_the_tables_that_are_named(nih_folder, layout):
    with pytest.raises(UsageError):
        read_source(nih_folder, PrepareConfig(layout=layout))


def test_mimic_cxr_says_what_it_leaves_out(mimic):
    source = read_source(mimic, PrepareConfig())
    assert any("1 image of studies without labels is left out" in w for w in source.warnings)
    path = mimic / "mimic-cxr-2.0.0-split.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode().replace("d3,2,11,test\n", "")
    path.write_bytes(gzip.compress(text.encode()))
    source = read_source(mimic, PrepareConfig())
    assert any("1 image of no split in mimic-cxr-2.0.0-split" in w for w in source.warnings)


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("chexpert", ("11,2,", "10,1,"), "image '10/1' stands in rows 2, 3"),
        ("metadata", ("dicom_id", "id"), "no column 'dicom_id'"),
        ("split", (",split", ",part"), "no column 'split'"),
    ],
)
def test_bad_mimic_tables(mimic, table, change, message):
    path = mimic / f"mimic-cxr-2.0.0-{table}.csv.gz"
    path.write_bytes(
        gzip.compress(gzip.decompress(path.read_bytes()).replace(*(c.encode() for c in change)))
    )
    with pytest.raises(UsageError, match=message):
        read_source(mimic, PrepareConfig())


def test_a_chexpert_path_without_a_patient_names_its_file_and_row(chexpert):
    path = chexpert / "valid.csv"
    path.write_text(path.read_text().replace("patient64541/", ""))
    with pytest.raises(UsageError, match=r"valid.csv, row 2: .* names no patient"):
        read_source(chexpert, PrepareConfig())


def test_studies_of_chexpert_are_named_with_their_patient(chexpert):
    source = read_source(chexpert, PrepareConfig(views="all"))
    assert source.has_studies
    assert list(source.table["study"]) == [
        "patient00001/study1", "patient00001/study1", "patient00002/study2", "patient64541/study1",
    ]  # fmt: skip
    path = chexpert / "valid.csv"
    path.write_text(path.read_text().replace("study1/view1", "view1"))
    (last,) = read_source(chexpert, PrepareConfig()).table["study"].tail(1)
    assert last == "valid/patient64541/view1_frontal.jpg"  # no folder of a study: the image


def test_studies_of_mimic_cxr(mimic):
    source = read_source(mimic, PrepareConfig(views="all"))
    assert source.has_studies
    assert source.table.set_index("image_index")["study"].to_dict() == {
        "d1": "1", "d2": "1", "d3": "2",
    }  # fmt: skip
    assert not any("studies is" in warning for warning in source.warnings)
