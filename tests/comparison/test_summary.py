import pytest

from deepchest_cli.comparison.analysis.summary import summarize


def results(estimate=0.01, verdict="inconclusive", low=-0.01, needed=None, analyses=1):
    row = {
        "estimate": estimate, "low": low, "high": 0.03, "p": None if low is None else 0.2,
        "verdict": verdict, "seeds_needed": needed,
    }  # fmt: skip
    entry = {"differences": {"macro_auroc": row}, "metrics": {"macro_auroc": {"mean": 0.8}}}
    return {
        "data": {"test_images": 400, "test_patients": 1, "synthetic": True},
        "design": {"seeds": [0, 1, 2], "interim_analyses": [{}] * analyses},
        "weighters": {"equal": {"differences": None}, "deepchest": entry},
        "claims": [{"verdict": v} for v in ("holds", "does not hold", *["not measured"] * 3)],
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "inconclusive, and more seeds alone would not make this difference significant."),
        ({"needed": 9}, "inconclusive; this difference would take 9 seeds to be significant."),
        ({"low": None, "needed": 3}, "not tested, because a test takes 3 or more seeds."),
        ({"low": None}, "equal weighting: not tested."),
        ({"verdict": "better"}, "it is better."),
        ({"estimate": float("nan"), "verdict": "not measured"}, "the AUROC is undefined"),
    ],
)
def test_the_primary_result_says_what_is_known(changes, words):
    sentence = summarize(results(**changes))[0]
    assert sentence.startswith("On 400 synthetic test radiographs of 1 patient, with 3 seeds, ")
    assert words in sentence


def test_verdicts_are_counted():
    assert summarize(results(verdict="better"))[1] == (
        "Of 1 tested weighter, deepchest is significantly better than equal weighting and none is "
        "significantly worse (after Holm correction). Of the paper's five claims, 1 holds, 1 does "
        "not hold, 3 were not measured."
    )


def test_interim_analyses_are_disclosed():
    assert len(summarize(results())) == 2
    assert "after an interim analysis, 2 times" in summarize(results(analyses=3))[2]
