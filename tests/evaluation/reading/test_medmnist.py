import numpy as np
import pytest

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.reading.medmnist import (
    claimed,
    is_medmnist,
    medmnist_name,
    read_medmnist,
    split_of,
    write_medmnist,
)


def test_written_and_read_again_to_the_last_digit(tmp_path):
    name = medmnist_name("chestmnist", "validation", 0.78049, 0.9474, "run-1")
    assert name == "chestmnist_val_[AUC]0.780_[ACC]0.947@run-1.csv"
    assert is_medmnist(tmp_path / name)
    assert split_of(tmp_path / name) == "validation"
    assert claimed(tmp_path / name) == {"auroc": 0.78, "accuracy": 0.947}
    scores = np.random.default_rng(0).random((3, 14))
    write_medmnist(tmp_path / name, FINDINGS[::-1], scores[:, ::-1])
    assert (tmp_path / name).read_text().startswith("0,")
    images, again = read_medmnist(tmp_path / name)
    assert images.tolist() == ["0", "1", "2"]
    assert np.array_equal(again, scores)


def test_other_names_are_no_medmnist(tmp_path):
    assert not is_medmnist(tmp_path / "predictions.csv")
    assert claimed(tmp_path / "predictions.csv") == {}
    assert is_medmnist(tmp_path / "chestmnist_224_test_[AUC]0.780_[ACC]0.947@x.csv")


def test_all_findings_are_needed(tmp_path):
    with pytest.raises(UsageError, match="not predicted: Atelectasis"):
        write_medmnist(tmp_path / "x.csv", FINDINGS[1:], np.zeros((1, 13)))
    path = tmp_path / "chestmnist_test_[AUC]0.780_[ACC]0.947@x.csv"
    path.write_text("0,0.5\n")
    with pytest.raises(UsageError, match="has 2 columns"):
        read_medmnist(path)
