from hashlib import sha256

import numpy as np
import pytest

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.predictions import Predictions, ScoredImages
from deepchest_cli.evaluation.references import (
    CHEXNET_TEST,
    OFFICIAL_TEST,
    REFERENCES,
    SPLITS,
    recognize,
    references_for,
)


def cases_named(names, labels=None):
    labels = np.zeros((len(names), 14), np.uint8) if labels is None else labels
    table = Predictions(FINDINGS, labels * 0.5, labels, np.ones_like(labels), np.arange(len(names)))
    empty = np.full(len(names), "")
    return ScoredImages(table, np.array(names), np.full(len(names), np.nan), empty, empty)


def test_every_reference_has_a_source_and_its_mean():
    for reference in REFERENCES.values():
        assert reference.source
        assert reference.split in SPLITS
        assert 0.5 < reference.macro_auroc < 1
        if reference.aurocs:
            assert len(reference.aurocs) == 14
            assert np.mean(reference.aurocs) == pytest.approx(
                reference.macro_auroc, abs=2e-3
            )  # means as published


def test_results_on_the_same_images_are_offered():
    rows = references_for("official")
    assert {row["split"] for row in rows} == {"official"}
    assert rows[0]["macro_auroc"] == 0.8106
    assert references_for(None) == []
    chexnet = references_for("chexnet", ("zoogzog",))
    assert chexnet[0]["findings"]["Hernia"] == 0.9416


@pytest.mark.parametrize(
    ("split", "name"),
    [
        ("official", "zoogzog"),
        ("official", "chexnet"),
        (None, "yzaza-swin-t"),
        ("chexnet", "medmnist-plus-densenet121-224"),
        ("chestmnist", "zoogzog"),
    ],
)
def test_results_on_other_images_are_refused_with_the_reason(split, name):
    with pytest.raises(UsageError, match=f"{name}.*do not compare") as error:
        references_for(split, (name,))
    assert "9.2 images a patient" in error.value.message
    assert "Known for these images:" in error.value.hint


def test_an_unknown_name_is_suggested():
    with pytest.raises(UsageError, match="Did you mean 'zoogzog'"):
        references_for("chexnet", ("zoogzo",))


def test_the_reproductions_part_is_known_by_its_counts():
    images, positives = CHEXNET_TEST
    labels = np.zeros((images, 14), np.uint8)
    for column, count in enumerate(positives):
        labels[:count, column] = 1
    names = [str(i) for i in range(images)]
    assert recognize(cases_named(names, labels)) == "chexnet"
    assert recognize(cases_named(names, labels), medmnist=True) == "chestmnist"
    labels[0, 3] = 0
    assert recognize(cases_named(names, labels)) is None


def test_the_official_list_is_known_by_its_names(real_data):
    names = (real_data / "nih-224" / "test_list.txt").read_text().split()
    stems = sorted(name.removesuffix(".png") for name in names)
    assert (len(stems), sha256("\n".join(stems).encode()).hexdigest()) == OFFICIAL_TEST
    assert recognize(cases_named(stems[::-1])) == "official"
    assert recognize(cases_named(stems[:-1])) is None
