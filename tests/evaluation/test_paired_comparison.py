import numpy as np
import pytest

from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.bootstrap import interval, resample_patients, resampled
from deepchest_cli.evaluation.paired_comparison import compare, paired_with
from deepchest_cli.evaluation.reading.scores import Scores

NAMES = ("one.csv", "other.csv")


def scores_of(scored, probabilities=None, findings=None):
    table = scored.predictions
    values = table.probabilities if probabilities is None else probabilities
    return Scores("other.csv", scored.image_index, findings or table.findings, values)


def draws_of(scored, replicates=300):
    return resample_patients(scored.predictions.patient_id, replicates, seed=0)


def test_a_model_is_not_tested_against_itself(make_scored_images):
    """A difference that no replicate varies has no interval; one of zero width would say more."""
    scored = make_scored_images()
    found = compare(scored, paired_with(scored, scores_of(scored), NAMES), draws_of(scored))
    for row in (found["macro"]["auroc"], found["findings"]["Mass"]["average_precision"]):
        assert (row["difference"], row["p"], row["p_holm"]) == (0, None, None)
        assert np.isnan([row["low"], row["high"]]).all()
        assert row["verdict"] == "inconclusive"
        assert "the same in every bootstrap replicate" in row["not_tested"]


def test_few_replicates_can_be_significant_after_correction(make_scored_images):
    """The bootstrap's own p-value of 60 replicates, 2 / 61 times 2 findings, is never below 5 %."""
    scored = make_scored_images()
    chance = paired_with(
        scored, scores_of(scored, np.random.default_rng(0).random((len(scored), 2))), NAMES
    )
    row = compare(scored, chance, draws_of(scored, 60))["findings"]["Mass"]["auroc"]
    assert row["p_holm"] < 0.05 < 2 * 2 / 61
    assert row["verdict"] == "better" and row["low"] > 0


def test_without_replicates_nothing_is_tested(make_scored_images):
    scored = make_scored_images()
    other = paired_with(
        scored, scores_of(scored, make_scored_images(seed=3).predictions.probabilities), NAMES
    )
    found = compare(scored, other, draws_of(scored, 0))
    row = found["macro"]["auroc"]
    assert (row["p"], row["not_tested"]) == (None, "fewer than two bootstrap replicates")
    assert np.isfinite(row["difference"])


def test_order_of_images_and_findings_does_not_matter(make_scored_images):
    scored, other = make_scored_images(), make_scored_images(seed=5).predictions.probabilities
    plain = scores_of(scored, other)
    order = np.random.default_rng(0).permutation(len(scored))
    mixed = Scores("x", scored.image_index[order], ("Edema", "Mass"), other[order][:, ::-1])
    one, two = (
        compare(scored, paired_with(scored, s, NAMES), draws_of(scored)) for s in (plain, mixed)
    )
    assert one == two


def test_pairing_tells_what_separate_intervals_cannot(make_scored_images):
    scored = make_scored_images()
    noise = np.random.default_rng(1).normal(0, 0.4, scored.predictions.probabilities.shape)
    logits = np.log(scored.predictions.probabilities / (1 - scored.predictions.probabilities))
    worse = paired_with(scored, scores_of(scored, 1 / (1 + np.exp(-logits - noise))), NAMES)
    draws = draws_of(scored)
    row = compare(scored, worse, draws)["macro"]["auroc"]
    assert row["verdict"] == "better"
    assert 0 < row["low"] < row["difference"] < row["high"]
    alone = [
        interval(resampled("auroc", c.predictions, draws).mean(axis=1), 200)
        for c in (scored, worse)
    ]
    assert alone[0].low < alone[1].high  # unpaired, they overlap


def test_p_values_are_corrected_over_the_findings(make_scored_images):
    scored = make_scored_images()
    other = paired_with(
        scored, scores_of(scored, make_scored_images(seed=3).predictions.probabilities), NAMES
    )
    found = compare(scored, other, draws_of(scored))["findings"]
    raw = sorted(entry["auroc"]["p"] for entry in found.values())
    corrected = sorted(entry["auroc"]["p_holm"] for entry in found.values())
    assert corrected == pytest.approx([min(1, 2 * raw[0]), max(min(1, 2 * raw[0]), raw[1])])
    assert found["Mass"]["auroc"]["not_tested"] is None


def test_a_finding_of_few_patients_is_not_tested(make_scored_images):
    scored = make_scored_images()
    scored.predictions.labels[:, 1] = 0
    scored.predictions.labels[:9, 1] = 1
    other = paired_with(
        scored, scores_of(scored, make_scored_images(seed=3).predictions.probabilities), NAMES
    )
    row = compare(scored, other, draws_of(scored))["findings"]["Edema"]["auroc"]
    assert (row["p"], row["p_holm"], row["verdict"]) == (None, None, "inconclusive")
    assert np.isfinite(row["difference"])
    assert "fewer than 10 patients with or without the finding (5 and 196)" in row["not_tested"]


@pytest.mark.parametrize("positives", [0, 1, 2, 398, 400])
def test_hardly_any_positives_or_negatives(make_scored_images, positives):
    scored = make_scored_images()
    scored.predictions.labels[:, 1] = np.arange(400) < positives
    other = paired_with(
        scored, scores_of(scored, make_scored_images(seed=3).predictions.probabilities), NAMES
    )
    with np.errstate(all="raise"):
        row = compare(scored, other, draws_of(scored))["findings"]["Edema"]["auroc"]
    assert row["p"] is None and row["not_tested"]
    assert np.isnan(row["low"]) or row["low"] < row["high"]


def test_other_images_and_other_findings_are_refused(make_scored_images):
    scored = make_scored_images()
    with pytest.raises(UsageError, match="on the same images: 398 are in both, 2 and 0 in one"):
        paired_with(scored, scores_of(make_scored_images(398)), NAMES)
    with pytest.raises(UsageError, match="no finding in common"):
        paired_with(scored, scores_of(scored, findings=("Rib", "Vertebra")), NAMES)
