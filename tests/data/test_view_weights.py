import numpy as np
import pytest

from deepchest_cli.data.view_weights import read_view_weights
from deepchest_cli.errors import UsageError


def test_views_are_known_in_any_spelling_and_others_weigh_1():
    weights = read_view_weights(["lateral=0.5", "Portable AP=0", "unknown=2", "LORDOTIC=1.5"])
    views = np.array(["L", "PA", "", "AP", "LORDOTIC", "L"])
    assert weights.of(views).tolist() == [0.5, 1, 2, 0, 1.5, 0.5]
    assert weights.to_plain() == {"L": 0.5, "AP": 0, "unknown": 2, "LORDOTIC": 1.5}
    assert read_view_weights(()).of(views).tolist() == [1] * 6


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["lateral"], "takes VIEW=WEIGHT, such as lateral=0.5. Found 'lateral'"),
        (["=0.5"], "takes VIEW=WEIGHT"),
        (["PA=-1"], "PA: the weight should be a number from 0. Found '-1'"),
        (["PA=nan"], "Found 'nan'"),
        (["PA=inf"], "Found 'inf'"),
        (["PA=half"], "Found 'half'"),
        (["frontal=1"], "'frontal' is no single view"),
        (["L=1", "lateral=0.5"], "names the view L twice"),
    ],
)
def test_what_is_no_weight_is_refused(texts, message):
    with pytest.raises(UsageError, match=message):
        read_view_weights(texts)


def test_a_view_that_no_image_has_is_refused_with_those_that_some_have():
    weights = read_view_weights(["oblique=1", "PA=1"])
    with pytest.raises(UsageError, match="view of --view-weight: 'OBLIQUE'") as refusal:
        weights.refuse_absent(np.array(["PA", "", "AP"]).tolist())
    assert refusal.value.hint == "Known: AP, PA, unknown."
    weights.refuse_absent(["PA", "OBLIQUE"])
