import pytest

from deepchest_cli.comparison.analysis.power_analysis import evidence_needed, evidence_sentences

MARGIN, PATIENTS = 0.005, 200
DETECT = "detecting a difference as large as the margin of 0.005 with a power of 80 % takes"


def row(verdict="inconclusive", seeds=None, factor=None, untested=None):
    return {
        "verdict": verdict, "p": None if untested else 0.5, "untested": untested, "seeds": 3,
        "seeds_needed": seeds, "patients_factor_needed": factor,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("found", "cell"),
    [
        (None, "–"),
        (row("better", 9), "–"),
        (row("equivalent"), "–"),
        (row(seeds=9), "9 seeds"),
        (row(factor=2.5), "2.5 × the patients"),
        (row(seeds=1000, factor=2.0), "1,000 seeds or 2 × the patients"),
        (row(), "more seeds and more patients"),
        (row(seeds=3, factor=1.0), "3 seeds are enough"),
        (row(untested="too few"), "not tested: too few"),
    ],
)
def test_a_cell_says_what_one_weighter_takes(found, cell):
    assert evidence_needed(found, MARGIN) == cell


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ({}, ""),
        ({"a": row("not measured")}, ""),
        (
            {"a": row("better"), "b": row("equivalent")},
            "No weighter is inconclusive: this margin needs no more runs.",
        ),
        (
            {"a": row(seeds=9, factor=2.5), "b": row("worse")},
            f"a is inconclusive: {DETECT} 9 seeds instead of 3 or about 500 test patients instead "
            "of 200.",
        ),
        (
            {"a": row(seeds=9, factor=2.5), "b": row(seeds=40)},
            f"a, b are inconclusive: {DETECT} 9 to 40 seeds instead of 3 or about 500 test "
            "patients instead of 200 (for 1 of 2).",
        ),
        (
            {"a": row(factor=2.5)},
            f"a is inconclusive: {DETECT} about 500 test patients instead of 200; up to 1,000 "
            "seeds alone would not do.",
        ),
        (
            {"a": row(seeds=9)},
            f"a is inconclusive: {DETECT} 9 seeds instead of 3; up to 100 times the test patients "
            "alone would not do.",
        ),
        (
            {"a": row()},
            f"a is inconclusive: {DETECT} more seeds and more test patients; up to 1,000 seeds "
            "alone would not do; up to 100 times the test patients alone would not do.",
        ),
        (
            {"a": row(seeds=3, factor=1.0)},
            "a is inconclusive although 3 seeds would detect a difference of 0.005 with a power of "
            "80 %: a smaller one takes more seeds or test patients.",
        ),
        (
            {"a": row(untested="x"), "b": row(untested="y"), "c": row(untested="x")},
            "Not tested: a, c (x). Not tested: b (y).",
        ),
    ],
)
def test_sentences_say_what_all_weighters_take(rows, text):
    assert evidence_sentences(list(rows.items()), MARGIN, PATIENTS) == text


def test_without_a_margin_nothing_is_needed():
    rows = [("a", row(seeds=None))]
    assert evidence_sentences(rows, 0.0, PATIENTS) == (
        "Without a margin, the number of seeds or test patients needed is undefined."
    )
    assert evidence_needed(rows[0][1], 0.0) == "–"
