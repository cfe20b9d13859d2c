import numpy as np
import pytest

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.sources.recognize import read_source
from deepchest_cli.data.sources.splitting import assign_splits
from deepchest_cli.errors import UsageError

TABLE = """Path,patient,Age,Sex,View,No Finding,Pleural Effusion,Lung Opacity
b/1.png,B,050Y,Male,PA,0,1,-1
a/1.png,A,411,female,lateral,1,,
a/2.png,A,33,,AP,,0.0,1.0
c/1.png,C,7,F,,0,-1.0,
"""


def read(tmp_path, text=TABLE, **settings):
    (tmp_path / "labels.csv").write_text(text)
    settings = {"patient_column": "patient", "views": "all", **settings}
    return read_source(tmp_path, PrepareConfig(labels_csv=tmp_path / "labels.csv", **settings))


def cells(source, image, finding):
    row = list(source.table["image_index"]).index(image)
    column = source.findings.index(finding)
    known = source.known[row, column]
    return int(source.labels[row, column]) if known else None


def test_a_table_says_what_is_present_absent_and_unknown(tmp_path):
    source = read(tmp_path)
    assert source.findings == ("Effusion", "Lung Opacity")
    assert list(source.table["image_index"]) == ["a/1.png", "a/2.png", "b/1.png", "c/1.png"]
    found = {name: [cells(source, name, f) for f in source.findings] for name in
             source.table["image_index"]}  # fmt: skip
    assert found == {
        "a/1.png": [0, 0],  # blank beside "No Finding"
        "a/2.png": [0, 1],
        "b/1.png": [1, None],  # uncertain
        "c/1.png": [None, None],  # uncertain, blank
    }
    assert source.policies == {"uncertain": "ignore", "blank": "ignore"}


@pytest.mark.parametrize(
    ("uncertain", "blank", "expected"),
    [("zero", "zero", [0, 0]), ("one", "ignore", [1, None]), ("ignore", "zero", [None, 0])],
)
def test_policies_for_doubtful_labels(tmp_path, uncertain, blank, expected):
    source = read(tmp_path, uncertain=uncertain, blank=blank)
    assert [cells(source, "c/1.png", finding) for finding in source.findings] == expected


def test_a_labels_zero_where_it_is_unknown(tmp_path):
    source = read(tmp_path)
    assert not source.labels[source.known == 0].any()


def test_what_a_table_says_of_patients(tmp_path):
    source = read(tmp_path)
    table = source.table.set_index("image_index")
    assert table["patient_id"]["a/1.png"] == table["patient_id"]["a/2.png"]
    assert table["patient_id"].nunique() == 3
    assert np.isnan(table["age"]["a/1.png"]) and table["age"]["b/1.png"] == 50
    assert any("411" in note for note in source.notes)
    assert list(table["sex"]) == ["F", "", "M", "F"]
    assert list(table["view"]) == ["L", "AP", "PA", ""]


def test_frontal_views_are_what_is_taken_unless_all_are_asked_for(tmp_path):
    source = read(tmp_path, views="frontal")
    assert list(source.table["image_index"]) == ["a/2.png", "b/1.png", "c/1.png"]
    assert len(source.labels) == len(source.known) == 3
    assert any("1 image that is not frontal is left out (1 × L)" in note for note in source.notes)


def test_the_findings_that_were_guessed_are_named_and_can_be_chosen(tmp_path):
    assert any("Effusion, Lung Opacity" in note for note in read(tmp_path).notes)
    assert read(tmp_path, label_columns="Lung Opacity").findings == ("Lung Opacity",)


def test_the_same_patient_has_the_same_number_in_every_table(tmp_path):
    one = read(tmp_path).table.set_index("image_index")["patient_id"]["c/1.png"]
    rows = TABLE.splitlines()
    other = read(tmp_path, "\n".join([rows[0], rows[4]]))
    assert other.table["patient_id"][0] == one


def test_patients_that_are_numbers_stay_numbers(tmp_path):
    text = TABLE.replace(",A,", ",12,").replace(",B,", ",7,").replace(",C,", ",0009,")
    assert sorted(read(tmp_path, text).table["patient_id"]) == [7, 9, 12, 12]


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        (TABLE, {"path_column": "Bild"}, r"no column 'Bild'. Found: Path, patient"),
        (TABLE.replace("Path", "Bild"), {}, "no column 'Path'. Found: Bild"),
        (TABLE, {"patient_column": "id"}, "no column 'id'"),
        (TABLE, {"label_columns": "Edema"}, "no column 'Edema'"),
        (TABLE, {"label_columns": "Sex"}, "row 2: column 'Sex' should be 1, 0, -1.*'Male'"),
        (TABLE.replace("b/1.png", "a/1.png"), {}, "image 'a/1.png' stands in rows 2, 3"),
        (TABLE.replace("c/1.png,C", "c/1.png,"), {}, "row 5: column 'patient' is empty"),
        (TABLE.replace("c/1.png,C", ",C"), {}, "row 5: column 'Path' is empty"),
        (TABLE[:-6], {}, "row 5: the row ends before column"),
        (TABLE.replace("Lung Opacity", "Effusion"), {}, "are all about 'Effusion'"),
        (TABLE.replace("Lung Opacity", "é"), {}, "not plain ASCII"),
        ("Path,patient\na.png,A\n", {}, "no column of labels"),
        (TABLE.replace("a/2.png", "é.png"), {}, "row 4: image name 'é.png'"),
        (TABLE.replace("a/2.png", '"a\n2.png"'), {}, "row 4: image name"),
    ],
)
def test_bad_tables_are_refused_with_row_and_column(tmp_path, text, settings, message):
    with pytest.raises(UsageError, match=message):
        read(tmp_path, text, **settings)


def test_flags_that_would_do_nothing_are_refused(nih_folder, tmp_path):
    with pytest.raises(UsageError, match="--patient-column is about a table of your own"):
        read_source(nih_folder, PrepareConfig(patient_column="x"))
    with pytest.raises(UsageError, match="--study-column is about a table of your own"):
        read_source(nih_folder, PrepareConfig(study_column="x"))
    with pytest.raises(UsageError, match="--uncertain and --blank have no meaning for nih"):
        read_source(nih_folder, PrepareConfig(uncertain="one"))
    with pytest.raises(UsageError, match="There is no table"):
        read_source(tmp_path, PrepareConfig(labels_csv=tmp_path / "none.csv"))


def test_what_a_few_cells_keep_from_being_labels_is_named(tmp_path):
    rows = "".join(f"{n}.png,P{n},{n % 2},{n % 2}\n" for n in range(20))
    text = "Path,patient,Mass,Edema\n" + rows.replace("3.png,P3,1,1", "3.png,P3,1,o")
    source = read(tmp_path, text)
    assert source.findings == ("Mass",)
    assert any("Column 'Edema' is not taken: row 5 holds 'o'" in note for note in source.notes)


def test_a_column_with_the_blanks_of_r_is_one_of_labels(tmp_path):
    rows = "".join(f"{n}.png,P{n},{n % 2},{'NA' if n % 3 else n % 2}\n" for n in range(12))
    source = read(tmp_path, "Path,patient,Mass,Edema\n" + rows)
    assert source.findings == ("Mass", "Edema")
    assert source.known[:, 1].sum() == 4


def test_every_column_that_is_not_taken_is_named(tmp_path):
    rows = "".join(f"{n}.png,P{n},{n % 2},ward {n},,{n},F\n" for n in range(12))
    source = read(tmp_path, "Path,patient,Mass,Ward,Edema,Dose,Sex\n" + rows)
    assert source.findings == ("Mass",)
    assert (
        "Columns that are not taken, since they hold no labels: Ward, Edema (empty), Dose."
        in source.notes
    )


def test_a_table_of_excel_with_semicolons_and_rows_below_it(tmp_path):
    text = "Path;patient;Age;Mass\na.png;A;58,5;1,0\nb.png;B;7;0,0\n;;;\n;;;\n"
    source = read(tmp_path, text)
    assert source.labels[:, 0].tolist() == [1, 0] and source.table["age"].tolist() == [58.5, 7]
    assert "labels.csv: 2 rows have no values and are passed over." in source.notes


def test_views_that_are_left_out_are_named_with_their_numbers(tmp_path):
    views = ["PA", "AP SUPINE", "ANTEROPOSTERIOR", "LATERAL", "LL", "RAO", "NA"]
    rows = "".join(f"{n}.png,P{n},{view},1\n" for n, view in enumerate(views))
    source = read(tmp_path, "Path,patient,ViewPosition,Mass\n" + rows, views="frontal")
    assert list(source.table["view"]) == ["PA", "AP", "AP", ""]
    note = "3 images that are not frontal are left out (2 × L, 1 × RAO); --views all takes them."
    assert note in source.notes


def test_usual_names_of_columns_in_other_letters(tmp_path):
    text = "FILE NAME,patientId,PATIENT AGE,gender,View_Position,mass\n"
    source = read(tmp_path, text + "a.png,A,7,f,ap,1\nb.png,A,8,m,pa,0\n", patient_column=None)
    assert source.findings == ("Mass",) and source.has_patients
    table = source.table
    assert table["age"].tolist() == [7, 8] and table["patient_id"].nunique() == 1
    assert table["sex"].tolist() == ["F", "M"] and table["view"].tolist() == ["AP", "PA"]


def test_yes_and_no_are_labels(tmp_path):
    source = read(tmp_path, "Path,patient,Mass\na.png,A,Y\nb.png,B,No\n")
    assert source.labels[:, 0].tolist() == [1, 0]


def test_an_index_without_a_name_is_no_finding(tmp_path):
    source = read(tmp_path, ",Path,patient,Mass\n0,a.png,A,1\n1,b.png,B,0\n")
    assert source.findings == ("Mass",)


def test_a_column_of_parts_that_is_not_used_is_named(tmp_path):
    source = read(tmp_path, "Path,patient,Mass,split\na.png,A,1,test\n")
    assert any("Column 'split' is not used; --split-scheme" in note for note in source.notes)


def test_devices_may_be_there_beside_no_finding(tmp_path):
    text = (
        "Path,patient,No Finding,Mass,Support Devices\na.png,A,1,,\nb.png,B,1,1,1\nc.png,C,0,0,0\n"
    )
    source = read(tmp_path, text)
    assert [cells(source, "a.png", name) for name in ("Mass", "Support Devices")] == [0, None]
    assert any("1 image has both 'No Finding' and a finding" in w for w in source.warnings)


def test_chexperts_lateral_views_are_known_in_any_table(tmp_path):
    text = "Path,patient,Frontal/Lateral,AP/PA,Mass\na.png,A,Lateral,,1\nb.png,B,Frontal,AP,1\n"
    text += "c.png,C,Frontal,LL,0\n"
    assert list(read(tmp_path, text).table["view"]) == ["L", "AP", ""]


@pytest.mark.parametrize(
    ("text", "sex"), [("Missing", ""), ("male", "M"), ("F", "F"), ("Mujer", "")]
)
def test_sexes_are_whole_words(tmp_path, text, sex):
    assert list(read(tmp_path, f"Path,patient,Sex,Mass\na.png,A,{text},1\n").table["sex"]) == [sex]


def test_zeros_before_a_number_do_not_make_another_patient(tmp_path):
    source = read(tmp_path, "Path,patient,Mass\na.png,7,1\nb.png,007,0\nc.png,X,0\n")
    assert source.table["patient_id"][0] == source.table["patient_id"][1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"layout": "nih"}, "--labels-csv has no meaning"), ({"readers": 3}, "is about VinDr-CXR")],
)
def test_a_table_that_would_not_be_read_is_refused(tmp_path, settings, message):
    with pytest.raises(UsageError, match=message):
        read(tmp_path, **settings)


STUDIES = """Path,patient,exam,Mass
1.png,A,1,1
2.png,A,1,0
3.png,A,2,0
4.png,B,1,1
5.png,B,9,1
6.png,B,,1
"""


def test_one_name_for_studies_of_several_patients_is_told_apart_by_patient(tmp_path):
    source = read(tmp_path, STUDIES, study_column="exam")
    # the numbers are counted from 1 for each patient, as CheXpert's study1 is
    assert list(source.table["study"]) == ["A/1", "A/1", "2", "B/1", "9", "6.png"]
    assert source.has_studies
    (warning,) = source.warnings
    assert "labels.csv: 1 name of studies is of several patients" in warning
    assert "the first, '1', rows 3 and 5" in warning
    assert "a cell of 'exam' or 'patient' is wrong" in warning
    assert (
        read(tmp_path, STUDIES.replace("4.png,B,1", "4.png,B,3"), study_column="exam").warnings
        == ()
    )


def test_the_usual_names_of_a_column_of_studies_need_no_flag(tmp_path):
    for name in ("study_id", "Study", "StudyInstanceUID", "AccessionNumber", "Exam ID"):
        source = read(tmp_path, STUDIES.replace("exam", name))
        assert source.has_studies and source.findings == ("Mass",)
        assert list(source.table["study"])[4] == "9"
    assert not read(tmp_path, STUDIES).has_studies
    one = read(tmp_path, "Path,patient,study,Mass\n1.png,A,TRIAL,1\n2.png,B,TRIAL,0\n")
    assert not one.has_studies  # it names a project
    assert read(
        tmp_path, "Path,patient,study,Mass\n1.png,A,x,1\n2.png,A,x,0\n", study_column="study"
    ).has_studies


def test_without_patients_the_images_of_a_study_are_of_one(tmp_path):
    text = STUDIES.replace(",patient", "").replace(",A", "").replace(",B", "")
    source = read(tmp_path, text, study_column="exam", patient_column=None)
    table = source.table
    assert not source.has_patients and not source.warnings
    pairs = set(zip(table["study"], table["patient_id"], strict=True))
    assert len(pairs) == table["study"].nunique() == table["patient_id"].nunique() == 4
    found = assign_splits(source, PrepareConfig(validation_fraction=0.3, test_fraction=0.3))
    assert "each study counts as a patient of its own" in found.warnings[0]
    by_study = {}
    for study, split in zip(table["study"], found.splits, strict=True):
        by_study.setdefault(study, set()).add(split)
    assert all(len(splits) == 1 for splits in by_study.values())


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        (STUDIES, "Exam", "no column 'Exam'"),
        (STUDIES.replace(",9,", ",é,"), "exam", "row 6: study 'é' is not plain ASCII"),
        (STUDIES.replace(",9,", f",{'9' * 200},"), "exam", "at most 128 characters"),
    ],
)
def test_bad_columns_of_studies(tmp_path, text, column, message):
    with pytest.raises(UsageError, match=message):
        read(tmp_path, text, study_column=column)
