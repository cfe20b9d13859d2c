"""One meaning for a cell, whichever program wrote it and whichever command reads it."""

import numpy as np
import pandas as pd
import pytest

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.sources.recognize import read_source
from deepchest_cli.data.tabular.cells import (
    ABSENT,
    BLANK,
    PRESENT,
    UNCERTAIN,
    label_state,
    patient_numbers,
    read_ages,
    read_sexes,
    view_of,
)
from deepchest_cli.evaluation.reading.labels import read_labels

STATES = {
    PRESENT: ["1", "1.0", "1,0", "1.", "+1", "01", "TRUE", "yes", "Y", "Positive", "present"],
    ABSENT: ["0", "0.0", "0,00", "-0", "FALSE", "no", "N", "negative", "Absent"],
    UNCERTAIN: ["-1", "-1.0", "-1,0", "uncertain", "?"],
    # R, pandas, NumPy, Excel, SQL, Stata, SAS, people
    BLANK: ["", " ", "NA", "N/A", "n/a", "<NA>", "NaN", "nan", "NaT", "None", "NULL", "(null)",
            "\\N", "#N/A", "#N/A N/A", "#NULL!", ".", ".a", "-", "--", "–", "Missing"],
    None: ["2", "0.5", "1e0", "-2", "x", "M", "F", "male", "2015-01-01", "#DIV/0!", "no finding"],
}  # fmt: skip
CELLS = [(cell, state) for state, cells in STATES.items() for cell in cells]


@pytest.mark.parametrize(("cell", "state"), CELLS)
def test_a_label_cell_says_one_thing(cell, state):
    assert label_state(cell) == state


def test_prepare_and_evaluate_read_every_cell_alike(tmp_path):
    cells = [(cell, state) for cell, state in CELLS if state is not None]
    rows = [f'{n:03d}.png,p{n},"{cell}",{n % 2}' for n, (cell, _) in enumerate(cells)]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["image,patient,Mass,Edema", *rows]) + "\n")
    source = read_source(tmp_path, PrepareConfig(labels_csv=path))
    labels = read_labels(path)
    assert source.findings == labels.findings == ("Mass", "Edema")
    for read in (source, labels):
        assert read.labels[:, 0].tolist() == [int(state == PRESENT) for _, state in cells]
        assert read.known[:, 0].tolist() == [int(state in (PRESENT, ABSENT)) for _, state in cells]


AGES = [
    ("58", 58), ("58.0", 58), ("58,5", 58.5), ("060Y", 60), ("60 years", 60), ("013M", 13 / 12),
    ("13 mo", 13 / 12), ("002W", 14 / 365.25), ("001D", 1 / 365.25), ("0", 0), ("411", np.nan),
    ("-3", np.nan), ("adult", np.nan), ("NA", np.nan), ("", np.nan),
]  # fmt: skip


def test_prepare_and_evaluate_read_every_age_alike(tmp_path):
    rows = [f'{n:03d}.png,p{n},"{age}",{n % 2}' for n, (age, _) in enumerate(AGES)]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["image,patient,Age,Mass", *rows]) + "\n")
    wanted = [years for _, years in AGES]
    source = read_source(tmp_path, PrepareConfig(labels_csv=path))
    np.testing.assert_allclose(source.table["age"], wanted, rtol=1e-6)
    np.testing.assert_allclose(read_labels(path).age, wanted, rtol=1e-6)


def test_impossible_ages_are_counted_and_blank_ones_are_not():
    _, notes = read_ages(pd.Series(["411", "NA", "", "old"]))
    assert notes == (
        "2 impossible ages are taken as unknown (the first is '411'); the images stay.",
    )
    assert read_ages(pd.Series(["NA", "", "<NA>", "7"]))[1] == ()


def test_sexes():
    cells = ["M", "male", "Woman", "F", "O", "Unknown", "NA", ""]
    assert read_sexes(pd.Series(cells)).tolist() == ["M", "M", "F", "F", "", "", "", ""]


@pytest.mark.parametrize(
    ("view", "cells"),
    [
        ("PA", "PA|pa|POSTEROANTERIOR|POSTERO-ANTERIOR|postero anterior|Posterior to Anterior|P.A.|"
               "PA_horizontal|PA ERECT|CHEST PA|PA VIEW 1|PA UPRIGHT|P/A|DX CHEST PA|Frontal PA"),
        ("AP", "AP|ap|AP SUPINE|AP ERECT|PORTABLE AP|AP PORTABLE UPRIGHT|ANTEROPOSTERIOR|"
               "ANTERO-POSTERIOR|anterior-posterior|AP_horizontal|A.P.|AP (sitting)|AP SEMI-ERECT|"
               "AP\\SUPINE|Chest AP portable|AP1|AP BEDSIDE"),
        ("", "|NA|UNK|unknown|Frontal|FRONTAL|-|<NA>|SUPINE|AP/PA"),
        ("L", "L|LL|RL|LATERAL|lateral|LAT|LEFT LATERAL|Lateral - Right|CHEST LATERAL"),
    ],
)  # fmt: skip
def test_views_in_every_spelling(view, cells):
    assert {cell: view_of(cell) for cell in cells.split("|")} == dict.fromkeys(
        cells.split("|"), view
    )


@pytest.mark.parametrize(
    "cell",
    ["OBLIQUE", "LAO", "RPO", "PA OBLIQUE", "antero-posterior oblique", "COSTAL", "AP RIBS",
     "LLD", "AP LLD", "LATERAL DECUBITUS", "AP LORDOTIC", "AP AXIAL", "XTABLE LATERAL", "SWIMMERS",
     "PA AND LATERAL", "AP/LATERAL", "EXCLUDE", "OBLICUA", "ABDOMEN AP", "PLAP"],
)  # fmt: skip
def test_views_that_are_neither_frontal_nor_simply_lateral_keep_their_names(cell):
    assert view_of(cell) == cell.upper()


def test_numbers_of_patients_are_read_as_they_were_written():
    """What a table of predictions calls a patient is what its shards do."""
    numbers = patient_numbers(pd.Series(["p7", "p1", "7", "p7", "007"]))
    assert numbers[0] == numbers[3] != numbers[1] and numbers[2] == numbers[4]
    assert numbers.max() > 2**53  # hashed, beyond what a float holds
    assert np.array_equal(patient_numbers(pd.Series(numbers).astype(str)), numbers)
    assert patient_numbers(pd.Series(["007", "12.0"])).tolist() == [7, 12]
    assert patient_numbers(pd.Series(["007", str(2**53 + 1)])).tolist() == [7, 2**53 + 1]
    many = patient_numbers(pd.Series(["7", "839860488694292331637988235681460987"]))
    assert many.max() < 2**63 and many.min() > 0
