import pytest

from deepchest_cli.comparison.analysis.summary import summarize


def results(estimate=0.01, verdict="inconclusive", low=-0.01, needed=None, analyses=1, **others):
    """Return results; others: `margin`, `without` (row without outlying seeds), `outlying`."""
    row = {
        "estimate": estimate, "low": low, "high": 0.03, "p": None if low is None else 0.2,
        "verdict": verdict, "seeds_needed": needed,
        "seeds": 3,
        "untested": None if low is not None else "a test takes 3 or more seeds",
        "patients_factor_needed": None,
        "without_outlying_seeds": others.get("without"),
    }  # fmt: skip
    entry = {
        "differences": {"macro_auroc": row}, "metrics": {"macro_auroc": {"mean": 0.8}},
        "data_sets": {},
    }  # fmt: skip
    return {
        "data": {"test_images": 400, "test_patients": 1, "synthetic": True, "data_sets": [{}]},
        "design": {
            "seeds": [0, 1, 2],
            "interim_analyses": [{}] * analyses,
            "margin": others.get("margin", 0.005),
        },
        "outlying_runs": others.get("outlying", []),
        "weighters": {"equal": {"differences": None, "data_sets": {}}, "deepchest": entry},
        "claims": [{"verdict": v} for v in ("holds", "does not hold", *["not measured"] * 3)],
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "(simultaneous 95 % interval -0.0100 to +0.0300): inconclusive."),
        (
            {"verdict": "equivalent"},
            "at 5 % show the difference to be smaller than the margin of 0.005.",
        ),
        ({"low": None}, "equal weighting: not tested, because a test takes 3 or more seeds."),
        ({"verdict": "better"}, "it is better."),
        ({"estimate": float("nan"), "verdict": "not measured"}, "the AUROC is undefined"),
    ],
)
def test_the_primary_result_says_what_is_known(changes, words):
    sentence = summarize(results(**changes))[0]
    assert sentence.startswith("On 400 synthetic test radiographs of 1 patient, with 3 seeds, ")
    assert words in sentence


def test_the_verdicts_on_several_data_sets_are_listed():
    found = results()
    found["data"]["data_sets"] = [{}, {}]
    row = found["weighters"]["deepchest"]["differences"]["macro_auroc"]
    found["weighters"]["dwa"] = {**found["weighters"]["deepchest"]}
    for label, verdicts in (("deepchest", ("better", "equivalent")), ("dwa", ("better", "worse"))):
        found["weighters"][label]["data_sets"] = {
            name: {"differences": {"macro_auroc": {**row, "verdict": verdict}}}
            for name, verdict in zip("AB", verdicts, strict=True)
        }
    primary, _, _, by_data_set = summarize(found)
    assert "a macro AUROC of 0.800 in the mean over 2 data sets, +0.0100 relative" in primary
    assert by_data_set == (
        "In single data sets, of 4 differences (Holm correction over all): deepchest on A, dwa on "
        "A are better; dwa on B is worse; deepchest on B is equivalent."
    )
    untested = {**row, "p": None}
    for entry in (found["weighters"]["deepchest"], found["weighters"]["dwa"]):
        entry["data_sets"]["B"]["differences"]["macro_auroc"] = untested
    assert summarize(found)[3].endswith(": deepchest on A, dwa on A are better; 2 are not tested.")


def test_verdicts_are_counted():
    assert summarize(results(verdict="better"))[1] == (
        "Of 1 tested weighter, deepchest is better than equal weighting, none is worse, and none "
        "is equivalent (after Holm correction). Of the paper's five claims, 1 holds, 1 does not "
        "hold, 3 were not measured."
    )


def test_interim_analyses_are_disclosed():
    assert len(summarize(results())) == 3
    assert "after an interim analysis, 2 times" in summarize(results(analyses=3))[3]


def test_what_it_takes_to_know_more_follows_the_verdicts():
    assert "deepchest is inconclusive: detecting a difference" in summarize(results(needed=9))[2]
    assert summarize(results(verdict="better"))[2].startswith("No weighter is inconclusive")


def test_a_verdict_says_that_it_rests_on_an_outlying_run():
    run = {"weighter": "deepchest", "seed": 2, "macro_auroc": 0.5, "median": 0.8}
    without = {"verdict": "better", "p": 0.01}
    assert summarize(results(outlying=[run], without=without))[3] == (
        "Seed 2 of deepchest is outlying: its macro AUROC of 0.500 is 0.300 below the median of "
        "its seeds. Verdicts: deepchest is inconclusive with it, better without, and so rests on "
        "it."
    )
    of_equal = {**run, "weighter": "equal"}
    sentence = summarize(results(outlying=[of_equal], without={"verdict": "x", "p": None}))[3]
    assert "deepchest is inconclusive with it, not tested without" in sentence
