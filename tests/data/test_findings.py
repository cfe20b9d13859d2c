import pytest

from deepchest_cli.data.findings import FINDINGS, match_findings, parse_labels


def test_there_are_fourteen():
    assert len(set(FINDINGS)) == 14


def test_labels_are_matched_exactly_and_not_as_parts_of_others():
    assert parse_labels("Pneumothorax") == {"Pneumothorax"}
    assert parse_labels("Pneumonia|Mass") == {"Pneumonia", "Mass"}
    assert parse_labels("No Finding") == frozenset()


@pytest.mark.parametrize("text", ["Pneumo", "Pneumonia|Unheard", "", "pneumonia"])
def test_unknown_findings_are_refused(text):
    with pytest.raises(ValueError, match="unknown finding"):
        parse_labels(text)


def test_the_nearest_name_is_suggested():
    with pytest.raises(ValueError, match="did you mean 'Infiltration'"):
        parse_labels("Infiltrations")


def test_no_finding_excludes_findings():
    with pytest.raises(ValueError, match="beside"):
        parse_labels("No Finding|Mass")


def test_findings_of_two_sides_are_matched_by_their_aliases_and_keep_their_spelling():
    matched = match_findings(
        ("Pleural_Thickening", "Effusion", "Scoliosis"),
        ("scoliosis", "Pleural Effusion", "Fracture"),
    )
    assert matched.shared == (("Effusion", "Pleural Effusion"), ("Scoliosis", "scoliosis"))
    assert matched.only_first == ("Pleural_Thickening",)
    assert matched.only_second == ("Fracture",)


def test_two_names_of_one_finding_on_one_side_are_refused():
    with pytest.raises(ValueError, match="'Effusion' and 'Pleural Effusion' are the same finding"):
        match_findings(("Effusion", "Pleural Effusion"), ("Effusion",))
