import pytest

from deepchest_cli.data.source_relations import (
    names_are_comparable,
    same_patient_numbers,
    same_patients,
)


def source(kind, sha="a", synthetic=False, patients=True):
    return {
        "kind": kind, "sha256": {"t.csv": sha}, "synthetic": synthetic, "patients": patients,
    }  # fmt: skip


SOURCES = {  # two sources: same patients, same patient numbers, comparable names
    "the public set": (source("nih"), source("nih", "b"), (True, True, True)),
    "its arrays": (source("nih"), source("chestmnist", "b", patients=False), (True, False, True)),
    "its images read again": (
        source("nih"),
        source("rsna", "b", patients=False),
        (True, False, True),
    ),
    "read again twice": (
        source("siim", patients=False),
        source("rsna", "b", patients=False),
        (True, False, True),
    ),
    "its Parquet files": (source("nih"), source("nih-parquet", "b"), (True, True, True)),
    "another public set": (source("nih"), source("padchest", "b"), (False, False, False)),
    "one's own table": (source("csv"), source("csv"), (True, True, True)),
    "another table": (source("csv"), source("csv", "b"), (False, False, True)),
    "a table of a public set": (source("nih"), source("csv", "b"), (False, False, True)),
    "synthetic and real": (source("nih"), source("nih", synthetic=True), (False, False, False)),
    "two demos": (
        source("nih", synthetic=True),
        source("nih", "b", synthetic=True),
        (False, False, False),
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_what_two_sources_have_in_common(name):
    one, other, expected = SOURCES[name]
    for pair in ((one, other), (other, one)):
        found = (same_patients(*pair), same_patient_numbers(*pair), names_are_comparable(*pair))
        assert found == expected
