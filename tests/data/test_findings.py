import pytest

from deepchest_cli.data.findings import FINDINGS, parse_labels


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
