"""PadChest's terms: each counts as all findings that it is a kind of."""

import numpy as np
import pytest
from tests_support import label

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.sources.recognize import read_source
from deepchest_cli.errors import UsageError


@pytest.fixture
def padchest(tmp_path):
    (tmp_path / "PADCHEST_chest_x_ray_images_labels_160K.csv").write_text(
        "ImageID,ImageDir,StudyDate_DICOM,PatientID,PatientBirth,PatientSex_DICOM,Projection,Labels\n"
        "a.png,0,20150101,839860488694292331637988235681460987,1950.0,M,PA,"
        "\"['cardiomegaly', ' laminar atelectasis', 'scoliosis']\"\n"
        "b.png,1,20150101,839860488694292331637988235681460987,1950.0,M,AP_horizontal,['normal']\n"
        "c.png,1,20160101,1,,F,PA,\n"
        "d.png,1,20160101,2,,F,L,['normal']\n"
    )
    return tmp_path


def cells_of(folder, cell, **settings):
    """Return what is known of an image with these terms, by finding."""
    path = next(folder.glob("PADCHEST*.csv"))
    path.write_text(path.read_text().replace("AP_horizontal,['normal']", f"AP,{cell}"))
    source = read_source(folder, PrepareConfig(**settings))
    return {finding: label(source, "b.png", finding) for finding in source.findings}


def test_padchest_reads_lists_of_terms(padchest):
    source = read_source(padchest, PrepareConfig())
    assert source.kind == "padchest"
    assert list(source.table["image_index"]) == ["a.png", "b.png", "c.png"]
    found = {name for name in source.findings if label(source, "a.png", name)}
    assert found == {"Cardiomegaly", "Atelectasis"}
    assert label(source, "b.png", "Mass") == 0
    assert label(source, "c.png", "Mass") is None  # no labels at all
    assert list(source.table["view"]) == ["PA", "AP", "PA"]
    assert source.table["age"][0] == 65 and np.isnan(source.table["age"][2])
    assert source.table["patient_id"][0] == source.table["patient_id"][1]


@pytest.mark.parametrize(
    "cell", ["['exclude']", "['suboptimal study']", "['unchanged']", "[]", "['']", "{[]: 1}"]
)
def test_padchest_cells_that_say_nothing_are_unknown(padchest, cell):
    path = padchest / "PADCHEST_chest_x_ray_images_labels_160K.csv"
    path.write_text(path.read_text().replace("AP_horizontal,['normal']", f"AP,{cell}"))
    assert label(read_source(padchest, PrepareConfig()), "b.png", "Mass") is None


def test_padchest_terms_without_commas_between_them(padchest):
    path = padchest / "PADCHEST_chest_x_ray_images_labels_160K.csv"
    path.write_text(path.read_text().replace("['normal']", "['infiltrates' 'nodule']"))
    source = read_source(padchest, PrepareConfig())
    assert label(source, "b.png", "Infiltration") == label(source, "b.png", "Nodule") == 1


@pytest.mark.parametrize(
    ("terms", "present"),
    [
        ("alveolar pattern", {"Infiltration"}),
        ("interstitial pattern", {"Infiltration"}),
        ("ground glass pattern", {"Infiltration"}),
        ("reticulonodular interstitial pattern", {"Infiltration"}),
        ("miliary opacities", {"Infiltration"}),
        ("consolidation", {"Consolidation", "Infiltration"}),
        ("air bronchogram", {"Consolidation", "Infiltration"}),
        ("hydropneumothorax", {"Effusion", "Pneumothorax"}),
        ("empyema", {"Effusion"}),
        ("loculated fissural effusion", {"Effusion"}),
        ("calcified pleural thickening", {"Pleural_Thickening"}),
        ("asbestosis signs", {"Fibrosis"}),
        ("post radiotherapy changes", {"Fibrosis"}),
        ("multiple nodules", {"Nodule"}),
        ("pulmonary mass", {"Mass"}),
        ("hiatal hernia", {"Hernia"}),
        # not what their names resemble
        ("pseudonodule", set()),
        ("mediastinal mass", set()),
        ("soft tissue mass", set()),
        ("subcutaneous emphysema", set()),
        ("pericardial effusion", set()),
        ("fissure thickening", set()),
        ("calcified pleural plaques", set()),
        ("fibrotic band", set()),
        ("normal", set()),
    ],
)
def test_a_term_counts_for_what_it_is_a_kind_of_and_for_nothing_else(padchest, terms, present):
    cells = cells_of(padchest, f"['{terms}']")
    assert {finding for finding in FINDINGS if cells[finding] == 1} == present
    assert all(cells[finding] == 0 for finding in set(FINDINGS) - present)


@pytest.mark.parametrize("term", ["unchanged", "exclude", "suboptimal study"])
def test_beside_terms_of_an_incomplete_reading_only_what_is_named_is_known(padchest, term):
    cells = cells_of(padchest, f"\"['{term}', 'empyema']\"")
    assert cells.pop("Effusion") == 1
    assert set(cells.values()) == {None}


def test_a_normal_image_that_has_not_changed_has_no_finding(padchest):
    path = padchest / "PADCHEST_chest_x_ray_images_labels_160K.csv"
    path.write_text(
        path.read_text().replace("['normal']\nc.png", "\"['normal', 'unchanged']\"\nc.png")
    )
    source = read_source(padchest, PrepareConfig())
    assert {label(source, "b.png", finding) for finding in FINDINGS} == {0}


def test_a_normal_image_with_a_finding_is_said(padchest):
    path = padchest / "PADCHEST_chest_x_ray_images_labels_160K.csv"
    path.write_text(
        path.read_text().replace("['normal']\nc.png", "\"['normal', 'nodule']\"\nc.png")
    )
    source = read_source(padchest, PrepareConfig())
    assert label(source, "b.png", "Nodule") == 1
    assert source.warnings == ("1 image has both 'No Finding' and a finding; the finding counts.",)


def test_more_terms_and_whole_branches_are_findings_where_they_are_asked_for(padchest):
    cells = cells_of(
        padchest, "\"['callus rib fracture', 'scoliosis']\"", findings="Mass,Scoliosis,fracture"
    )
    assert cells == {"Mass": 0, "Scoliosis": 1, "fracture": 1}


def test_a_term_that_no_image_has_is_absent(padchest):
    assert cells_of(padchest, "['normal']", findings="nipple shadow") == {"nipple shadow": 0}


def test_an_unknown_term_is_answered_with_the_nearest(padchest):
    with pytest.raises(UsageError, match=r"Unknown finding 'scolosis'\. Did you mean 'scoliosis'"):
        read_source(padchest, PrepareConfig(findings="scolosis"))
