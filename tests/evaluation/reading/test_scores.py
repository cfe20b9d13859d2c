import io
import re
import sys
from pathlib import Path

import pytest

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.reading.scores import read_scores


@pytest.fixture
def write(tmp_path):
    def write(text, name="scores.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_columns_in_any_order_and_spelling(write):
    scores = read_scores(
        write("Edema,pleural thickening,Image Index,Patient ID,No Finding\n0.25,1e-3,a.png,7,0.5\n")
    )
    assert scores.findings == ("Edema", "Pleural_Thickening")
    assert scores.images.tolist() == ["a"]
    assert scores.probabilities.tolist() == [[0.25, 0.001]]


@pytest.mark.parametrize("heading", ["Image Index", "image", "path", "File Name", "image_id", "id"])
def test_aliases_of_the_image_column(write, heading):
    scores = read_scores(write(f"{heading},Mass\nimages/001/00000001_000.PNG,0.5\n"))
    assert scores.images.tolist() == ["images/001/00000001_000"]


def test_a_tables_index_without_a_heading(write):
    assert read_scores(write(",Mass\na,0.5\nb,0.1\n")).images.tolist() == ["a", "b"]


def test_every_digit_counts(write):
    assert read_scores(write("image,Mass\na,0.1234567890123456\n")).probabilities[0, 0] == (
        0.1234567890123456
    )


def test_a_column_of_splits(write):
    scores = read_scores(write("image,Mass,split\na,0.1,val\nb,0.2,Test\nc,0.3,test\n"))
    assert scores.of_split("test").images.tolist() == ["b", "c"]
    assert scores.of_split("validation").probabilities.tolist() == [[0.1]]
    assert scores.of_split("train") is None


def test_logits_are_turned_into_probabilities(write):
    scores = read_scores(write("image,Mass\na,0\nb,-800\n"), logits=True)
    assert scores.probabilities[:, 0].tolist() == [0.5, 0.0]


REFUSED = {
    "image,Mass\na,0.5\nb,nan\n": "row 3: the score for Mass is nan.*finite",
    "image,Mass\na,inf\nb,inf\n": "row 2: the score for Mass is inf; 1 other score is so too",
    "image,Mass\na,0.5\nb,1.5\n": "row 3: the score for Mass is 1.5, outside 0 to 1.*--logits",
    "image,Mass\na,-0.1\n": "row 2.*outside 0 to 1.*--logits",
    "image,Mass\na,0.5\nb,\n": "row 3, column 'Mass': should be a number. Found ''",
    "image,Mass\na,high\n": "Found 'high'",
    "image,Mass\na,0.5\nb,0.5\na.png,0.5\n": "image 'a' stands in rows 2, 4.*one row",
    "image,Mass\n ,0.5\n": "row 2: the image has no name",
    "Mass\n0.5\n": "no column of image names. Found: Mass",
    "image,split\na,test\n": "no column of scores",
    "image,Mass,mass\na,0.5,0.5\n": "'Mass' and 'mass' are both Mass",
    "image,Mass,split\na,0.5,holdout\n": "found 'holdout'.*train, validation, test",
    "image,Mass\n": "has no rows",
    "": "is empty",
    "version https://git-lfs.github.com/spec/v1\n": "Git LFS pointer",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_wrong_is_said_and_where(write, text):
    with pytest.raises(UsageError) as error:
        read_scores(write(text))
    message = f"{error.value.message} {error.value.hint}"
    assert "scores.csv" in message
    assert re.search(REFUSED[text], message), message


def test_no_file(tmp_path):
    with pytest.raises(UsageError, match="is not there"):
        read_scores(tmp_path / "none.csv")


def test_medmnists_layout(write):
    row = ",".join(["0.5"] * 13 + ["0.25"])
    scores = read_scores(
        write(f"0,{row}\n1,{row}\n", "chestmnist_test_[AUC]0.780_[ACC]0.947@r.csv")
    )
    assert scores.findings == FINDINGS
    assert scores.images.tolist() == ["0", "1"]
    assert scores.probabilities[0, FINDINGS.index("Hernia")] == 0.25


def test_logits_that_no_probability_tells_apart_are_refused(write):
    with pytest.raises(UsageError, match="logits for Mass of up to 60 are too large"):
        read_scores(write("image,Mass\na,60\nb,50\n"), logits=True)
    assert read_scores(write("image,Mass\na,30\nb,-50\n"), logits=True).probabilities[0] > 0.999


@pytest.mark.parametrize("value", [-1e-7, 0.0, 1.0, 1 + 1.2e-7, 1.0000005])
def test_rounding_of_single_precision_is_no_fault(write, value):
    scores = read_scores(write(f"image,Mass\na,{value!r}\n"))
    assert scores.probabilities.tolist() == [[min(max(value, 0.0), 1.0)]]


@pytest.mark.parametrize("value", ["1.00001", "-0.00001", "1.0000021"])
def test_a_message_shows_what_is_wrong_with_a_number(write, value):
    with pytest.raises(UsageError, match="outside 0 to 1") as error:
        read_scores(write(f"image,Mass\na,{value}\n"))
    shown = re.search(r"the score for Mass is (\S+), outside", error.value.message)
    assert shown and float(shown[1]) == float(value)


def test_percentages_are_recognized(write):
    with pytest.raises(UsageError) as error:
        read_scores(write("image,Mass,Edema\na,12,80.5\nb,0.5,99\n"))
    assert "divide them by 100" in error.value.hint
    with pytest.raises(UsageError) as error:
        read_scores(write("image,Mass,Edema\na,0.2,0.5\nb,0.5,1.5\n"))
    assert "percent" not in error.value.hint


TEXT = "image,Mass\na,0.25\nb,0.5\n"
WRITTEN = {
    "a byte-order mark": TEXT.encode("utf-8-sig"),
    "UTF-16, as PowerShell writes it": TEXT.replace("\n", "\r\n").encode("utf-16"),
    "semicolons and decimal commas": b"image;Mass\na;0,25\nb;5e-1\n",
    "tabs": b"image\tMass\na\t0.25\nb\t,5\n",
    "Excel's rows of commas": TEXT.encode() + b",\n,\n \r\n",
}


@pytest.mark.parametrize("way", WRITTEN)
def test_tables_as_other_programs_write_them(tmp_path, monkeypatch, way):
    path = tmp_path / "scores.csv"
    path.write_bytes(WRITTEN[way])
    piped = io.TextIOWrapper(io.BytesIO(WRITTEN[way]))
    monkeypatch.setattr(sys, "stdin", piped)
    for scores in (read_scores(path), read_scores(Path("-"))):
        assert scores.images.tolist() == ["a", "b"]
        assert scores.probabilities.tolist() == [[0.25], [0.5]]


def test_a_decimal_comma_between_commas_is_refused(write):
    with pytest.raises(UsageError, match="row 2: 3 fields in 2 columns"):
        read_scores(write("image,Mass\na,0,25\n"))


PIPED = {
    "": "Standard input is empty.*before the pipe",
    "path,sha256,Mass,flagged,warnings\n": "Standard input has no rows",
    "path,Mass\na.png,-3.5\n": "Standard input, row 2.*outside 0 to 1.*--logits",
    "path,Effusion,Pleural Effusion\na,0.5,0.5\n": "'Pleural Effusion' are both Effusion",
    "path,Mass\na.png,0.5\na.png,0.5\n": "image 'a' stands in rows 2, 3",
}


@pytest.mark.parametrize("text", PIPED)
def test_what_comes_through_a_pipe_is_checked_alike(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    with pytest.raises(UsageError) as error:
        read_scores(Path("-"), labeled=("Mass", "Effusion"))
    assert re.search(PIPED[text], f"{error.value.message} {error.value.hint}")


def test_outputs_without_a_name_are_passed_over(write):
    """torchxrayvision's models of one data set have outputs that nothing is trained for."""
    scores = read_scores(write(",Mass,,Edema,,\na,0.5,0.1,0.25,0.1,0.1\nb,0.5,0.1,0.25,0.1,0.1\n"))
    assert scores.findings == ("Mass", "Edema")
    assert scores.probabilities.tolist() == [[0.5, 0.25]] * 2
    with pytest.raises(UsageError, match="row 3: 4 fields in 2 columns"):
        read_scores(write("image,Mass,,\na,0.5,,\nb,0.5,0.1,0.1\n"))
