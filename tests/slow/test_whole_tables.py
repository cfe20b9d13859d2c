"""The whole tables of public data sets: our labels against an independent reading of each.

The tables come with the package torchxrayvision (the extra `bench`), which is found, not imported;
its own labels are recomputed from the rules of its data set classes. docs/data.md explains every
difference. One function for each data set; `whole_tables.py` says which files it has.
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from whole_tables import FILES, find_tables, read_whole

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.sources.splitting import assign_splits

TABLES = find_tables()
BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "tables.py"
pytestmark = pytest.mark.skipif(
    TABLES is None, reason="the tables come with torchxrayvision: pip install 'deepchest[bench]'"
)


def raw(kind, name=None, **options):
    """Return one of a data set's tables as pandas reads it."""
    packed = FILES[kind][name or next(iter(FILES[kind]))]
    return pd.read_csv(TABLES / packed, low_memory=False, **options)


def column(source, finding):
    """Return what a source says of a finding by image: 1, 0, NaN where that is unknown."""
    place = source.findings.index(finding)
    said = np.where(source.known[:, place], source.labels[:, place], np.nan)
    return pd.Series(said, index=source.table["image_index"].to_numpy())


def assert_equal(source, finding, expected):
    """Hold every image's label against another reading, a series by image."""
    pd.testing.assert_series_equal(
        column(source, finding).sort_index(), expected.sort_index(), check_dtype=False,
        check_names=False, check_index_type=False,
    )  # fmt: skip


def assert_split_by_patient(source):
    """Hold that the whole table can be split, and that no patient is in two splits."""
    config = PrepareConfig(split_scheme="random")
    splits = pd.Series(assign_splits(source, config).splits)
    assert set(splits) == {"train", "validation", "test"}
    assert splits.groupby(source.table["patient_id"].to_numpy()).nunique().max() == 1


@pytest.mark.parametrize("kind", FILES)
def test_each_is_read_and_split_in_little_memory(kind):
    command = [sys.executable, BENCHMARK, "--tables", TABLES, "--one", kind]
    said = subprocess.check_output(command, text=True)
    (peak,) = map(float, re.findall(r"peak +([\d.]+) MiB", said))
    assert peak < 1000, said


def test_nih(tmp_path):
    source = read_whole("nih", TABLES, tmp_path)
    table = raw("nih").set_index("Image Index")
    assert (len(source.table), source.label_version) == (112_120, "2020")
    assert source.known.all()
    for finding in FINDINGS:
        listed = table["Finding Labels"].map(lambda text, name=finding: name in text.split("|"))
        assert_equal(source, finding, listed.astype(float))
        # torchxrayvision looks for the name anywhere in the text: the same, for no name of NIH's
        # is part of another
        assert (listed == table["Finding Labels"].str.contains(finding)).all()
    ours = source.boxes.groupby("finding").size()
    theirs = raw("nih", "BBox_List_2017.csv").iloc[:, 1].replace("Infiltrate", "Infiltration")
    assert ours.to_dict() == theirs.value_counts().to_dict()
    assert_split_by_patient(source)


def test_chexpert(tmp_path):
    source = read_whole("chexpert", TABLES, tmp_path)
    table = raw("chexpert")
    table.index = table["Path"].str.split("/", n=1).str[1]
    assert len(source.table) == 223_414
    unlike = {}
    for finding in source.findings:
        theirs = table["Pleural Effusion" if finding == "Effusion" else finding]
        expected = theirs.replace(-1, np.nan).mask(theirs.isna(), 0)
        assert_equal(source, finding, expected)
        # torchxrayvision: a blank is unknown but beside "No Finding", which makes all absent
        healthy = (table["No Finding"] == 1) & (finding != "Support Devices")
        their_labels = theirs.mask(healthy, 0).replace(-1, np.nan)
        differ = expected.fillna(-1) != their_labels.fillna(-1)
        assert (theirs[differ].isna() | healthy[differ]).all()
        unlike[finding] = int((differ & theirs.notna()).sum())
    # beside "No Finding" nothing but devices is mentioned, so that its readings differ in blanks
    assert {name for name, number in unlike.items() if number} <= {"Pleural Other", "Fracture"}
    assert_split_by_patient(source)


@pytest.mark.parametrize("policy", ["zero", "one", "chexpert-paper"])
def test_chexpert_under_other_policies(tmp_path, policy):
    source = read_whole("chexpert", TABLES, tmp_path, uncertain=policy)
    table = raw("chexpert")
    table.index = table["Path"].str.split("/", n=1).str[1]
    paper = {"Atelectasis": 1, "Edema": 1, "Effusion": 1, "Cardiomegaly": 0, "Consolidation": 0}
    for finding in source.findings:
        theirs = table["Pleural Effusion" if finding == "Effusion" else finding].fillna(0)
        value = paper.get(finding, np.nan) if policy == "chexpert-paper" else float(policy == "one")
        assert_equal(source, finding, theirs.replace(-1, value))


# the terms that count for each finding, written down again by hand from the authors' tree
PADCHEST = {
    "Atelectasis": "atelectasis|(total|lobar|segmental|laminar|round) atelectasis|"
    "atelectasis basal",
    "Cardiomegaly": "cardiomegaly",
    "Effusion": "pleural effusion|loculated (pleural|fissural) effusion|hydropneumothorax|empyema|"
    "hemothorax",
    "Infiltration": "infiltrates|interstitial pattern|ground glass pattern|"
    "reticular interstitial pattern|reticulonodular interstitial pattern|miliary opacities|"
    "alveolar pattern|consolidation|air bronchogram",
    "Mass": "mass|pulmonary mass",
    "Nodule": "nodule|multiple nodules",
    "Pneumonia": "pneumonia|atypical pneumonia",
    "Pneumothorax": "pneumothorax|hydropneumothorax",
    "Consolidation": "consolidation|air bronchogram",
    "Edema": "pulmonary edema",
    "Emphysema": "emphysema",
    "Fibrosis": "pulmonary fibrosis|post radiotherapy changes|asbestosis signs",
    "Pleural_Thickening": "(apical |calcified )?pleural thickening",
    "Hernia": "hiatal hernia",
    "scoliosis": "scoliosis",
    "fracture": "fracture|(clavicle|humeral|vertebral|rib|callus rib) fracture",
    "thoracic cage deformation": "thoracic cage deformation|scoliosis|kyphosis|"
    "pectum (excavatum|carinatum)|cervical rib",
}
# what torchxrayvision looks for anywhere in the text of all terms
THEIRS = {
    "Infiltration": "infiltration|infiltrates|interstitial pattern|ground glass pattern|"
    "reticular interstitial pattern|reticulonodular interstitial pattern|alveolar pattern|"
    "consolidation|air bronchogram",
    "Pleural_Thickening": "pleural_thickening|pleural thickening",
    "Consolidation": "consolidation|air bronchogram",
}
# images that it counts and we do not, by the term that is another thing, and the other way round
ONLY_THEIRS = {
    "Nodule": "pseudonodule",
    "Mass": "(mediastinal|soft tissue|pleural|breast) mass",
    "Emphysema": "subcutaneous emphysema",
    "Effusion": "pericardial effusion",
}
ONLY_OURS = {
    "Effusion": "hydropneumothorax|empyema",
    "Fibrosis": "post radiotherapy changes|asbestosis signs",
    "Infiltration": "miliary opacities",
}


def any_term(lists, pattern):
    whole = re.compile(pattern)
    return lists.map(lambda terms: any(whole.fullmatch(term) for term in terms))


def test_padchest(tmp_path):
    source = read_whole("padchest", TABLES, tmp_path, findings=",".join(PADCHEST))
    table = raw("padchest", usecols=["ImageID", "Labels"], dtype=str).set_index("ImageID")
    text = table["Labels"].fillna("")
    lists = text.map(lambda cell: {term.strip().lower() for term in re.findall("'(.*?)'", cell)})
    lists = lists.map(lambda terms: terms - {""})
    healthy = any_term(lists, "normal")
    incomplete = any_term(lists, "unchanged|exclude|suboptimal study") | (lists.map(len) == 0)
    assert len(source.table) == 160_861
    differences = {}
    for finding, pattern in PADCHEST.items():
        present = any_term(lists, pattern)
        expected = present.astype(float).mask(incomplete & ~present & ~healthy)
        assert_equal(source, finding, expected)
        if finding not in FINDINGS:
            continue
        name = {"Edema": "edema", "Fibrosis": "fibrosis", "Hernia": "hernia"}.get(finding)
        theirs = text.str.contains(THEIRS.get(finding, name or finding.lower()))
        only_theirs, only_ours = theirs & ~present, present & ~theirs
        assert any_term(lists[only_theirs], ONLY_THEIRS.get(finding, "$.")).all()
        assert any_term(lists[only_ours], ONLY_OURS.get(finding, "$.")).all()
        differences[finding] = (int(only_theirs.sum()), int(only_ours.sum()))
    assert {name: two for name, two in differences.items() if two != (0, 0)} == {
        "Effusion": (40, 35),
        "Emphysema": (206, 0),
        "Fibrosis": (0, 405),
        "Infiltration": (0, 75),
        "Mass": (425, 0),
        "Nodule": (2163, 0),
    }
    assert_split_by_patient(source)


def studies_of(source):
    """Return each image's study, by image."""
    return source.table.set_index("image_index")["study"].sort_index()


def groups_of(studies):
    """Return the sets of images that share a study."""
    return set(studies.groupby(studies).apply(lambda group: frozenset(group.index)))


def test_studies_of_chexpert(tmp_path):
    source = read_whole("chexpert", TABLES, tmp_path)
    folders = raw("chexpert")["Path"].str.split("/").str[2:-1]  # patient00001, study1
    expected = pd.Series(folders.str.join("/").to_numpy(), index=source_names("chexpert"))
    pd.testing.assert_series_equal(
        studies_of(source), expected.sort_index(), check_names=False, check_index_type=False
    )
    assert source.has_studies and studies_of(source).nunique() == 187_641
    assert folders.str[1].nunique() == 91  # names alone, which patients share
    assert not any("studies" in warning for warning in source.warnings)


def source_names(kind):
    """Return the names of CheXpert's images: paths without the folder of all."""
    return raw(kind)["Path"].str.split("/", n=1).str[1].to_numpy()


def test_studies_of_padchest_one_of_which_is_two_patients(tmp_path):
    source = read_whole("padchest", TABLES, tmp_path)
    table = raw("padchest", dtype=str).set_index("ImageID")[["StudyID", "PatientID"]]
    pairs = table["PatientID"] + " " + table["StudyID"]
    assert groups_of(studies_of(source)) == groups_of(pairs)
    assert (table["StudyID"].nunique(), pairs.nunique()) == (109_931, 109_932)
    (said,) = [warning for warning in source.warnings if "studies" in warning]
    assert "1 name of studies is of several patients" in said
    one, other = (int(row.replace(",", "")) for row in re.findall(r"rows? ([\d,]+)", said) +
                  re.findall(r"and ([\d,]+)\)", said))  # fmt: skip
    lines = table.iloc[[one - 2, other - 2]]
    assert lines["StudyID"].nunique() == 1 and lines["PatientID"].nunique() == 2


def test_studies_of_openi_are_those_of_its_dicom_files(tmp_path):
    source = read_whole("openi", TABLES, tmp_path)
    studies = studies_of(source)
    assert (len(studies), studies.nunique()) == (7470, 3851)
    tags = pd.read_csv(TABLES / "nlmcxr_dicom_metadata.csv.gz", low_memory=False, dtype=str)
    theirs = tags.set_index("imageid")["Study Instance UID"]
    theirs = theirs[~theirs.index.duplicated()]
    both = sorted(set(studies.index) & set(theirs.index))
    assert len(both) > 7000
    assert groups_of(studies[both]) == groups_of(theirs[both])
