import pytest

from deepchest_cli.training.cost import ratio


def test_a_ratio_turned_round_is_the_inverse():
    one, other = [1.0, 1.2, 1.1], [2.0, 2.1, 2.6]
    found, inverse = ratio(one, other), ratio(other, one)
    assert found.estimate == pytest.approx(1 / inverse.estimate)
    assert found.low == pytest.approx(1 / inverse.high)
    assert found.low < found.estimate < found.high


def test_the_ratio_to_itself_is_one():
    assert ratio([1.0, 3.0], [1.0, 3.0]).high == 1
