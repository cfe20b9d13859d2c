import numpy as np
import pytest

from deepchest_cli.data.findings import FINDINGS, MatchedFindings
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.reading.labels import read_labels
from deepchest_cli.evaluation.reading.medmnist import write_medmnist
from deepchest_cli.evaluation.reading.pairing import (
    pair,
    refuse_shared_patients,
    shared_findings,
)
from deepchest_cli.evaluation.reading.scores import read_scores

LABELS = "image,Patient ID,Mass,Edema\na,1,1,0\nb,1,0,1\nc,2,1,1\nd,3,0,0\n"


@pytest.fixture
def files(tmp_path):
    def read(scores, labels=LABELS):
        (tmp_path / "scores.csv").write_text(scores)
        (tmp_path / "labels.csv").write_text(labels)
        return read_scores(tmp_path / "scores.csv"), read_labels(tmp_path / "labels.csv")

    return read


def test_scored_is_what_stands_in_both(files):
    found = pair(*files("Edema,image\n0.3,c.png\n0.1,a.png\n"))
    table = found.cases.predictions
    assert found.cases.image_index.tolist() == ["a", "c"]
    assert table.probabilities.tolist() == [[0.1], [0.3]]
    assert table.labels.tolist() == [[0], [1]]
    assert table.patient_id.tolist() == [1, 2]
    assert found.labels_without_predictions == 2
    assert found.findings.only_second == ("Mass",)
    assert found.predictions_without_labels == ()


def test_order_changes_nothing(files):
    one = pair(*files("image,Mass,Edema\na,0.1,0.2\nb,0.3,0.4\n")).cases
    other = pair(*files("Edema,image,Mass\n0.4,b,0.3\n0.2,a,0.1\n")).cases
    columns = [other.predictions.findings.index(name) for name in one.predictions.findings]
    assert np.array_equal(
        one.predictions.probabilities, other.predictions.probabilities[:, columns]
    )
    assert one.image_index.tolist() == other.image_index.tolist()


def test_predictions_without_labels_are_named_and_not_scored(files):
    found = pair(*files("image,Mass\nx,0.1\na,0.2\ny,0.3\n"))
    assert found.cases.image_index.tolist() == ["a"]
    assert found.cases.predictions.probabilities.tolist() == [[0.2]]
    assert found.predictions_without_labels == ("x", "y")


def test_files_without_a_common_image_are_refused(files):
    with pytest.raises(UsageError, match="No image is in both.* 2 images of .*x, y.* a, b, c, d"):
        pair(*files("image,Mass\nx,0.1\ny,0.3\n"))


def test_images_stand_in_the_order_of_medmnists_arrays(tmp_path):
    labels = np.eye(14, dtype=np.uint8)
    np.savez(tmp_path / "chestmnist.npz", test_labels=labels)
    path = tmp_path / "chestmnist_test_[AUC]0.500_[ACC]0.500@x.csv"
    write_medmnist(path, FINDINGS, labels.astype(float))
    table = pair(read_scores(path), read_labels(tmp_path / "chestmnist.npz")).cases.predictions
    assert np.array_equal(table.probabilities, labels)


def test_labels_for_other_findings(files):
    with pytest.raises(UsageError, match="labels none.*it has Mass, Edema, and predicted are Rib"):
        pair(*files("image,Rib\na,0.1\n"))


def test_the_findings_of_both_files_are_scored_and_the_others_named(files):
    found = pair(*files("image,Rib,Mass\nb,0.1,0.2\na,0.3,0.4\n"))
    assert found.findings == MatchedFindings((("Mass", "Mass"),), ("Rib",), ("Edema",))
    assert found.cases.predictions.findings == ("Mass",)
    assert found.cases.predictions.probabilities.tolist() == [[0.4], [0.2]]


def test_findings_are_matched_by_their_aliases():
    """The model's spelling is kept; unknown names match whatever their case and signs."""
    names = (("Pleural_Thickening", "Effusion", "lung lesion"), ("Lung Lesion", "Pleural Effusion"))
    matched = shared_findings(names, ("m", "d"))
    assert matched.shared == (("Effusion", "Pleural Effusion"), ("lung lesion", "Lung Lesion"))
    assert matched.only_first == ("Pleural_Thickening",)


@pytest.mark.parametrize(("side", "place"), [(0, "m"), (1, "d")])
def test_two_names_of_one_finding_are_refused(side, place):
    names = [("Mass",), ("Mass",)]
    names[side] = ("Pleural Effusion", "Mass", "effusion")
    with pytest.raises(
        UsageError, match=f"{place}: 'Pleural Effusion' and 'effusion' are the same"
    ):
        shared_findings(tuple(names), ("m", "d"))


def test_patients_in_two_parts(files):
    one = pair(*files("image,Mass\na,0.1\n")).cases
    with pytest.raises(UsageError, match="1 image is in both V and T: a"):
        refuse_shared_patients(one, one, ("V", "T"))
    with pytest.raises(UsageError, match="1 patient is in both V and T"):
        refuse_shared_patients(one, pair(*files("image,Mass\nb,0.1\n")).cases, ("V", "T"))
    refuse_shared_patients(one, pair(*files("image,Mass\nc,0.1\n")).cases, ("V", "T"))


def test_folders_agree_as_far_as_both_files_have_them(files):
    labels = "image,Mass\nsiteB/x/1.png,1\nsiteA/x/1.png,0\n"
    found = pair(*files("image,Mass\nx/siteA/x/1.png,0.1\n", labels)).cases
    assert found.image_index.tolist() == ["siteA/x/1.png"]
    assert found.predictions.labels.tolist() == [[0]]
    with pytest.raises(UsageError, match="no label in"):
        pair(*files("image,Mass\nsiteC/x/1.png,0.1\n", labels))
    with pytest.raises(UsageError, match="could be the image of several rows"):
        pair(*files("image,Mass\n1.png,0.1\n", labels))


def test_two_predictions_for_one_image_are_refused(files):
    with pytest.raises(UsageError, match="'one/a' and 'two/a' would both be 'a'"):
        pair(*files("image,Mass\none/a.png,0.1\ntwo/a.png,0.2\n"))


def test_findings_of_any_script(files):
    found = pair(*files("image,気胸\na,0.1\nb,0.2\n", "image,気胸\na,1\nb,0\n"))
    assert found.cases.predictions.findings == ("気胸",)
