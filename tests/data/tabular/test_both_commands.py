"""`prepare --labels-csv` and `evaluate --labels` read one table alike."""

import numpy as np
import pytest

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.sources.recognize import read_source
from deepchest_cli.evaluation.reading.labels import read_labels

TABLE = """image,patient,Age,Sex,View,Mass,Pleural Thickening
0.png,7,058Y,male,AP SUPINE,positive,absent
1.png,007,013M,F,PA,no,1.0
2.png,9,,Woman,LATERAL,?,NA
3.png,10,411,O,Frontal,0,present
"""


def both(tmp_path, text):
    """Return a table as prepare reads it and as evaluate does; rows in the order of the images."""
    path = tmp_path / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    source = read_source(tmp_path, PrepareConfig(labels_csv=path, views="all"))
    labels = read_labels(path)
    assert list(source.table["image_index"]) == labels.images.tolist()
    return source, labels


def assert_alike(source, labels):
    assert source.findings == labels.findings
    assert np.array_equal(source.labels, labels.labels)
    assert np.array_equal(source.known, labels.known)
    np.testing.assert_array_equal(source.table["age"], labels.age)
    for column in ("sex", "view"):
        assert list(source.table[column]) == list(getattr(labels, column))
    if labels.patient_id is not None:
        assert np.array_equal(source.table["patient_id"], labels.patient_id)


FORMS = {
    "commas": TABLE.encode(),
    "semicolons": TABLE.replace(",", ";").encode("utf-8-sig"),
    "tabs": TABLE.replace(",", "\t").replace("\n", "\r\n").encode("utf-16"),
    "commas at the end": TABLE.replace("\n", ",,\n").encode(),
    "blank rows": TABLE.replace("2.png", ",,,,,,\n2.png").encode() + b",,,,,,\n",
    "an index without a name": "".join(
        f"{number or ''},{line}\n" for number, line in enumerate(TABLE.splitlines())
    ).encode(),
    "decimal commas": TABLE.replace(",", ";").replace("1.0", "1,0").encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_table_in_every_form(tmp_path, form):
    source, labels = both(tmp_path, FORMS[form])
    assert_alike(source, labels)
    assert source.findings == ("Mass", "Pleural_Thickening")
    assert source.labels.tolist() == [[1, 0], [0, 1], [0, 0], [0, 1]]
    assert source.known.tolist() == [[1, 1], [1, 1], [0, 0], [1, 1]]
    np.testing.assert_allclose(labels.age, [58, 13 / 12, np.nan, np.nan])
    assert list(labels.sex) == ["M", "F", "F", ""] and list(labels.view) == ["AP", "PA", "L", ""]
    assert labels.patient_id.tolist()[0] == labels.patient_id.tolist()[1]


@pytest.mark.parametrize(
    ("column", "finding"),
    [
        ("pleural-thickening", "Pleural_Thickening"),
        ("PleuralThickening", "Pleural_Thickening"),
        ("Hiatal Hernia", "Hernia"),
        ("pulmonary_edema", "Edema"),
        ("infiltrates", "Infiltration"),
        ("Fracture", "Fracture"),
        ("label_Effusion", "Effusion"),
        ("Pleural Effusion_gt", "Effusion"),
    ],
)
def test_names_of_findings(tmp_path, column, finding):
    source, labels = both(tmp_path, f"image,patient,{column}\n0.png,1,1\n1.png,2,0\n")
    assert_alike(source, labels)
    assert source.findings == (finding,)


def test_an_image_without_a_finding_has_none_of_those_that_are_blank(tmp_path):
    text = "image,patient,No Finding,Mass,Edema\n0.png,1,1,,\n1.png,2,0,,1\n2.png,3,,-1,0\n"
    source, labels = both(tmp_path, text)
    assert_alike(source, labels)
    assert labels.known.tolist() == [[1, 1], [0, 1], [0, 1]]


@pytest.mark.parametrize(
    ("heading", "values"),
    [("Patient Gender", ("M", "F")), ("gender", ("Female", "x")), ("PatientSex", ("m", "f"))],
)
def test_names_of_the_column_of_sexes(tmp_path, heading, values):
    one, other = values
    assert_alike(*both(tmp_path, f"image,{heading},Mass\n0.png,{one},1\n1.png,{other},0\n"))


@pytest.mark.parametrize("heading", ["View Position", "Projection", "AP/PA"])
def test_names_of_the_column_of_views(tmp_path, heading):
    source, labels = both(tmp_path, f"image,{heading},Mass\n0.png,PA,1\n1.png,ap,0\n")
    assert_alike(source, labels)
    assert list(labels.view) == ["PA", "AP"]
