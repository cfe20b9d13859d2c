"""OpenI's reports: XML with the coders' terms, in a folder or in their archive."""

import io
import tarfile

import pytest
from tests_support import label

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.sources.openi import read_report
from deepchest_cli.data.sources.recognize import read_source, recognize
from deepchest_cli.data.sources.splitting import assign_splits
from deepchest_cli.errors import DeepChestError, UsageError


def report(number, terms, images=2):
    majors = "".join(f"<major>{term}</major>" for term in terms)
    shown = "".join(
        f"<parentImage id='CXR{number}_IM-{n:04d}-1001'><caption>PA and lateral</caption>"
        "</parentImage>"
        for n in range(images)
    )
    return (
        f"<?xml version='1.0' encoding='utf-8'?><eCitation><uId id='CXR{number}'/><MeSH>{majors}"
        f"<automatic>edema</automatic></MeSH>{shown}</eCitation>"
    ).encode()


REPORTS = {
    "1.xml": report(1, ["normal"]),
    "2.xml": report(2, ["Cardiomegaly/mild", "Pulmonary Atelectasis/base/left", "Mass/lung"]),
    "3.xml": report(3, ["No Indexing"], 1),
    "4.xml": report(4, ["Opacity/lung"], 0),
}


@pytest.fixture
def openi(tmp_path):
    folder = tmp_path / "ecgen-radiology"
    folder.mkdir()
    for name, data in REPORTS.items():
        (folder / name).write_bytes(data)
    return tmp_path


def pack(folder, files):
    with tarfile.open(folder / "NLMCXR_reports.tgz", "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"ecgen-radiology/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return folder


def first_image(number):
    return f"CXR{number}_IM-0000-1001"


def present(source, image):
    return {name for name in source.findings if label(source, image, name)}


def test_the_images_of_a_report_have_its_findings_and_are_of_one_patient(openi):
    assert recognize(openi, PrepareConfig()) == ("openi", openi)
    source = read_source(openi, PrepareConfig())
    assert source.findings == FINDINGS and len(source.table) == 5
    assert present(source, first_image(1)) == set() and source.known[0].all()
    assert present(source, first_image(2)) == {"Cardiomegaly", "Atelectasis", "Mass"}
    assert label(source, first_image(2), "Edema") == 0  # automatic terms are not read
    assert not source.known[-1].any()
    assert list(source.table["patient_id"]) == [1, 1, 2, 2, 3]
    assert list(source.table["study"][:3]) == ["CXR1", "CXR1", "CXR2"]
    assert source.has_patients
    assert "1 report names no image." in source.notes
    assert any("lateral ones are among those taken" in warning for warning in source.warnings)
    splits = assign_splits(source, PrepareConfig()).splits
    assert splits[0] == splits[1] and splits[2] == splits[3]


def test_the_archive_says_what_its_folder_says(openi, tmp_path_factory):
    packed = pack(tmp_path_factory.mktemp("packed"), REPORTS)
    one, other = (read_source(folder, PrepareConfig()) for folder in (openi, packed))
    assert one.table.equals(other.table) and (one.labels == other.labels).all()
    assert [path.name for path in other.hashed] == ["NLMCXR_reports.tgz"]


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("Cardiac Shadow/enlarged", {"Cardiomegaly": 1}),
        ("Cardiac Shadow/borderline", {"Cardiomegaly": 0}),
        ("Hydropneumothorax/right", {"Effusion": 1, "Pneumothorax": 1}),
        ("Pericardial Effusion", {"Effusion": 0}),
        ("Subcutaneous  Emphysema", {"Emphysema": 0}),
        ("Cystic Fibrosis", {"Fibrosis": 0}),
        ("Thickening/pleura/apex", {"Pleural_Thickening": 1}),
        ("Thickening/bronchi", {"Pleural_Thickening": 0}),
        ("Hernia, Hiatal/large", {"Hernia": 1}),
        ("Nodule/lung/apex", {"Nodule": 1, "Mass": 0}),
        ("Nodule/thorax", {"Nodule": None, "Mass": 0}),
        ("Mass/mediastinum", {"Mass": None, "Nodule": 0}),
        ("Technical Quality of Image Unsatisfactory ", {"Mass": None, "Hernia": None}),
    ],
)
def test_what_a_term_stands_for(openi, term, expected):
    (openi / "ecgen-radiology" / "1.xml").write_bytes(report(1, [term]))
    source = read_source(openi, PrepareConfig())
    assert {name: label(source, first_image(1), name) for name in expected} == expected


def test_other_terms_may_be_taken(openi):
    data = report(1, ["Fractures, Bone/ribs", "Opacity / lung"])
    (openi / "ecgen-radiology" / "1.xml").write_bytes(data)
    source = read_source(openi, PrepareConfig(findings="Mass,opacity/lung"))
    assert source.findings == ("Mass", "opacity/lung")
    assert label(source, first_image(1), "opacity/lung") == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (REPORTS["1.xml"][:-5], "is no readable XML"),
        (b"", "is no readable XML"),
        (b"<a>" * 5, "is no readable XML"),
        (b"<?xml version='1.0' encoding='xyz'?><a/>", "is no readable XML"),
        (b"<eCitation/>", "it has no <uId id=...>"),
        (
            REPORTS["1.xml"].replace(b"parentImage id", b"parentImage name"),
            "parentImage> has no id",
        ),
    ],
)
def test_a_damaged_report_is_named(openi, data, message):
    (openi / "ecgen-radiology" / "1.xml").write_bytes(data)
    with pytest.raises(UsageError, match=f"ecgen-radiology/1.xml.*{message}"):
        read_source(openi, PrepareConfig())


def test_a_report_cannot_declare_entities():
    bomb = b"<!DOCTYPE a [<!ENTITY b 'bbbbbbbb'><!ENTITY c '&b;&b;&b;&b;'>]>"
    data = REPORTS["1.xml"].replace(b"<eCitation>", bomb + b"<eCitation>")
    with pytest.raises(UsageError, match="1.xml is no readable XML: it declares a document type"):
        read_report(data, "1.xml")
    outside = b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><eCitation><uId id='1'/></eCitation>"
    with pytest.raises(UsageError, match="declares a document type"):
        read_report(outside, "1.xml")


@pytest.mark.parametrize(
    ("number", "message"), [(1, "report 'CXR1' is there twice"), (5, "image 'CXR1_IM-0000-1001'")]
)
def test_a_report_or_an_image_that_is_there_twice(openi, number, message):
    data = REPORTS["1.xml"].replace(b"<uId id='CXR1'", f"<uId id='CXR{number}'".encode())
    (openi / "ecgen-radiology" / "5.xml").write_bytes(data)
    with pytest.raises(UsageError, match=message):
        read_source(openi, PrepareConfig())


def test_a_folder_or_archive_without_reports(tmp_path):
    (tmp_path / "ecgen-radiology").mkdir()
    with pytest.raises(UsageError, match="holds no report"):
        read_source(tmp_path, PrepareConfig())
    (tmp_path / "ecgen-radiology").rmdir()
    pack(tmp_path, {"readme.txt": b"none"})
    with pytest.raises(UsageError, match="holds no report"):
        read_source(tmp_path, PrepareConfig())


def test_an_archive_that_is_cut_short(tmp_path):
    path = pack(tmp_path, REPORTS) / "NLMCXR_reports.tgz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DeepChestError, match="NLMCXR_reports.tgz is damaged"):
        read_source(tmp_path, PrepareConfig())
