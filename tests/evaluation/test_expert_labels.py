import gzip

import numpy as np
import pytest

from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.bootstrap import resample_patients
from deepchest_cli.evaluation.expert_labels import expert_label_results, read_expert_labels


@pytest.fixture
def expert_labels(tmp_path):
    def write(text):
        path = tmp_path / "google.csv"
        path.write_text(text)
        return read_expert_labels(path)

    return write


HEADER = "Image Index,Fracture,Pneumothorax,Airspace opacity,Nodule or mass,Set Id\n"


def test_findings_under_one_label_count_by_their_highest_probability(
    expert_labels, make_scored_images
):
    scored = make_scored_images(8)
    scored.predictions.labels[:] = [[1, 0], [0, 1], [0, 0], [1, 1], [0, 0], [0, 0], [0, 0], [0, 0]]
    scored.predictions.probabilities[:4] = [[0.9, 0.1], [0.1, 0.8], [0.2, 0.3], [0.1, 0.1]]
    object.__setattr__(scored.predictions, "findings", ("Nodule", "Mass"))
    rows = zip(scored.image_index[:4], ("YES", "YES", "NO", "NO"), strict=True)
    text = HEADER + "".join(f"{name}.png,NO,NO,NO,{answer},test\n" for name, answer in rows)
    draws = resample_patients(scored.predictions.patient_id, 20, seed=0)
    found = expert_label_results(expert_labels(text), scored, draws)["findings"]
    assert found.keys() == {"Nodule or mass"}
    entry = found["Nodule or mass"]
    assert (entry["images"], entry["positives"], entry["nih_positives"]) == (4, 2, 3)
    assert entry["auroc"]["value"] == 1
    assert entry["nih_ppv"]["value"] == pytest.approx(2 / 3)
    assert entry["nih_sensitivity"]["value"] == 1


def test_nothing_in_common_is_said(expert_labels, make_scored_images):
    with pytest.raises(UsageError, match="None of the scored images"):
        draws = resample_patients(np.arange(2), 2, seed=0)
        expert_label_results(
            expert_labels(HEADER + "x.png,NO,NO,NO,NO,test\n"), make_scored_images(2), draws
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Image Index,Fracture\na,NO\n", "no column 'Pneumothorax'"),
        (HEADER + "a,NO,MAYBE,NO,NO,test\n", "row 2, column 'Pneumothorax'.*Found 'MAYBE'"),
    ],
)
def test_another_file_is_refused(expert_labels, text, message):
    with pytest.raises(UsageError, match=message):
        expert_labels(text)


def test_googles_own_file(real_data, tmp_path):
    packed = real_data / "metadata" / "google2019_nih-chest-xray-labels.csv.gz"
    path = tmp_path / "google.csv"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    found = read_expert_labels(path)
    assert len(found["Pneumothorax"]) == 4376
    assert sum(found["Pneumothorax"].values()) == 238
    assert sum(found["Nodule or mass"].values()) == 605
