import numpy as np
import pytest

from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.bootstrap import interval, resample_patients, resampled
from deepchest_cli.evaluation.paired_comparison import compare, paired_with
from deepchest_cli.evaluation.reading.scores import Scores

NAMES = ("one.csv", "other.csv")


def scores_of(cases, probabilities=None, findings=None):
    table = cases.predictions
    values = table.probabilities if probabilities is None else probabilities
    return Scores("other.csv", cases.image_index, findings or table.findings, values)


def draws_of(cases, replicates=300):
    return resample_patients(cases.predictions.patient_id, replicates, seed=0)


def test_a_model_is_no_better_than_itself(make_cases):
    cases = make_cases()
    found = compare(cases, paired_with(cases, scores_of(cases), NAMES), draws_of(cases))
    for row in (found["macro"]["auroc"], found["findings"]["Mass"]["average_precision"]):
        assert (row["difference"], row["low"], row["high"]) == (0, 0, 0)
        assert (row["p_holm"], row["verdict"]) == (1, "inconclusive")


def test_order_of_images_and_findings_does_not_matter(make_cases):
    cases, other = make_cases(), make_cases(seed=5).predictions.probabilities
    plain = scores_of(cases, other)
    order = np.random.default_rng(0).permutation(len(cases))
    mixed = Scores("x", cases.image_index[order], ("Edema", "Mass"), other[order][:, ::-1])
    one, two = (
        compare(cases, paired_with(cases, s, NAMES), draws_of(cases)) for s in (plain, mixed)
    )
    assert one == two


def test_pairing_tells_what_separate_intervals_cannot(make_cases):
    cases = make_cases()
    noise = np.random.default_rng(1).normal(0, 0.4, cases.predictions.probabilities.shape)
    logits = np.log(cases.predictions.probabilities / (1 - cases.predictions.probabilities))
    worse = paired_with(cases, scores_of(cases, 1 / (1 + np.exp(-logits - noise))), NAMES)
    draws = draws_of(cases)
    row = compare(cases, worse, draws)["macro"]["auroc"]
    assert row["verdict"] == "better"
    assert 0 < row["low"] < row["difference"] < row["high"]
    alone = [
        interval(resampled("auroc", c.predictions, draws).mean(axis=1), 200) for c in (cases, worse)
    ]
    assert alone[0].low < alone[1].high  # unpaired, they overlap


def test_p_values_are_corrected_over_the_findings(make_cases):
    cases = make_cases()
    other = paired_with(
        cases, scores_of(cases, make_cases(seed=3).predictions.probabilities), NAMES
    )
    found = compare(cases, other, draws_of(cases))["findings"]
    raw = sorted(entry["auroc"]["p"] for entry in found.values())
    corrected = sorted(entry["auroc"]["p_holm"] for entry in found.values())
    assert corrected == pytest.approx([min(1, 2 * raw[0]), max(min(1, 2 * raw[0]), raw[1])])
    assert raw[0] >= 2 / 301


def test_a_finding_of_few_patients_is_not_tested(make_cases):
    cases = make_cases()
    cases.predictions.labels[:, 1] = 0
    cases.predictions.labels[:9, 1] = 1
    other = paired_with(
        cases, scores_of(cases, make_cases(seed=3).predictions.probabilities), NAMES
    )
    row = compare(cases, other, draws_of(cases))["findings"]["Edema"]["auroc"]
    assert (row["p"], row["p_holm"], row["verdict"]) == (None, None, "inconclusive")
    assert np.isfinite(row["difference"])


def test_other_images_and_other_findings_are_refused(make_cases):
    cases = make_cases()
    with pytest.raises(UsageError, match="on the same images: 398 are in both, 2 and 0 in one"):
        paired_with(cases, scores_of(make_cases(398)), NAMES)
    with pytest.raises(UsageError, match="no finding in common"):
        paired_with(cases, scores_of(cases, findings=("Rib", "Vertebra")), NAMES)
