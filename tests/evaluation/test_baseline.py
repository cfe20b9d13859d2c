import numpy as np
import pytest

from deepchest_cli.evaluation.baseline import (
    metadata_baseline,
    metadata_features,
    metadata_probabilities,
)
from deepchest_cli.evaluation.bootstrap import resample_patients
from deepchest_cli.evaluation.metrics import per_finding


def with_labels(scored, column, labels):
    scored.predictions.labels[:, column] = labels
    return scored


def test_what_follows_from_view_is_found_and_what_does_not_is_not(make_scored_images):
    training, scored = make_scored_images(2000, seed=1), make_scored_images(2000, seed=2)
    chance = np.random.default_rng(0)
    for one in (training, scored):
        with_labels(one, 0, chance.random(2000) < np.where(one.view == "AP", 0.4, 0.1))
    draws = resample_patients(scored.predictions.patient_id, 50, seed=0)
    found = metadata_baseline(training, scored, draws)
    mass, edema = (found["findings"][name] for name in ("Mass", "Edema"))
    assert mass["low"] > 0.6
    assert edema["low"] < 0.5 < edema["high"] + 0.02
    assert found["macro_auroc"]["value"] == pytest.approx((mass["value"] + edema["value"]) / 2)
    assert (found["images"], found["patients"]) == (2000, 1000)
    gain, own = found["macro_difference"], per_finding("auroc", scored.predictions)
    assert gain["value"] == pytest.approx(own.mean() - found["macro_auroc"]["value"])
    assert gain["low"] < gain["value"] < gain["high"]
    assert found["scored_findings"] == 2


def test_the_difference_is_over_findings_that_the_baseline_has(make_scored_images):
    training = with_labels(make_scored_images(seed=1), 1, np.arange(400) < 9)
    scored = make_scored_images()
    draws = resample_patients(scored.predictions.patient_id, 50, seed=0)
    found = metadata_baseline(training, scored, draws)
    assert found["scored_findings"] == 1
    mass = per_finding("auroc", scored.predictions)[0] - found["findings"]["Mass"]["value"]
    assert found["macro_difference"]["value"] == pytest.approx(mass)
    assert np.isnan(list(found["differences"]["Edema"].values())).all()
    assert np.isnan(found["findings"]["Edema"]["value"])


def test_too_few_positives_make_no_model(make_scored_images):
    training = with_labels(make_scored_images(seed=1), 1, np.arange(400) < 9)
    found = metadata_probabilities(training, make_scored_images())
    assert np.isfinite(found[:, 0]).all()
    assert np.isnan(found[:, 1]).all()


def test_unknown_metadata_are_columns_of_their_own(make_scored_images):
    scored = make_scored_images(
        4, age=np.array([50, np.nan, 60, 0]), view=np.array(["AP", "PA", "", "LL"])
    )
    inputs = metadata_features(scored)
    assert np.isfinite(inputs).all()
    assert inputs[:, 2].tolist() == [0, 1, 0, 0]
    assert inputs[:, 5].tolist() == [0, 0, 1, 1]


def test_nihs_floor(real_data, tmp_path):
    """Published nowhere, but computed independently: 0.605 over the findings, Hernia 0.848."""
    import gzip

    from deepchest_cli.evaluation.predictions import Predictions, ScoredImages
    from deepchest_cli.evaluation.reading.labels import read_labels

    path = tmp_path / "Data_Entry_2017_v2020.csv"
    path.write_bytes(
        gzip.decompress((real_data / "metadata" / "Data_Entry_2017_v2020.csv.gz").read_bytes())
    )
    labels = read_labels(path)
    names = (real_data / "nih-224" / "test_list.txt").read_text().split()
    tested = np.isin(labels.images, names)
    parts = []
    for rows in (~tested, tested):
        table = Predictions(
            labels.findings,
            np.zeros(labels.labels[rows].shape),
            labels.labels[rows],
            labels.known[rows],
            labels.patient_id[rows],
        )
        parts.append(
            ScoredImages(
                table, labels.images[rows], labels.age[rows], labels.sex[rows], labels.view[rows]
            )
        )
    draws = resample_patients(parts[1].predictions.patient_id, 0, seed=0)
    found = metadata_baseline(*parts, draws)
    assert found["macro_auroc"]["value"] == pytest.approx(0.605, abs=0.01)
    assert found["findings"]["Hernia"]["value"] == pytest.approx(0.848, abs=0.02)
