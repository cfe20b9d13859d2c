"""What is said of models that others trained on the source that is scored."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from deepchest_cli.evaluation.compatibility import UNPUBLISHED, differences, split_changes
from deepchest_cli.evaluation.overlap import (
    find_overlap,
    overlap_warning,
    refuse_overlap,
    union_of,
)
from deepchest_cli.model.backbones.base import PRETRAINED_ON

ORIGIN = {
    "published": "a model of others",
    "data_sets": [
        {
            "data": None,
            "sha256": None,
            "source": {
                "kind": "nih+padchest", "kinds": ["nih", "padchest"], "label_version": None,
                "synthetic": False, "sha256": {},
            },
            "settings": {"split_scheme": None},
        }
    ],
}  # fmt: skip
SETTINGS = {"split_scheme": "official", "validation_fraction": 0.1, "test_fraction": 0.2, "seed": 0}


def data_of(kind, synthetic=False):
    source = {"kind": kind, "label_version": "2020", "synthetic": synthetic, "sha256": {}}
    columns = {"view": np.array(["PA", "AP"])}
    manifest = {"source": source, "settings": SETTINGS}
    return SimpleNamespace(sha256="0", manifest=manifest, columns=columns, folder="data")


def model_of(origin, config):
    architecture = SimpleNamespace(backbone_config=config)
    classifier = SimpleNamespace(architecture=architecture)
    return SimpleNamespace(
        origin=origin,
        data_sets=origin["data_sets"],
        classifier=classifier,
        training_images=None,
        path=Path("xrv/x"),
    )


@pytest.mark.parametrize("kind", ["nih", "nih-parquet", "rsna", "chestmnist", "padchest"])
def test_the_source_that_it_was_trained_on_is_scored_with_a_warning(kind):
    model, data = model_of(ORIGIN, {}), data_of(kind)
    found = find_overlap(model, data, np.arange(2), "test")
    refuse_overlap(found, model, data)  # it can never be known: no error
    counts = union_of([found]).to_plain()
    assert counts["split_changes"] == [UNPUBLISHED]
    assert "no external validation" in overlap_warning(counts, 2, "test")
    assert not differences(model, data, np.arange(2), False)  # nor a guess at its labels


@pytest.mark.parametrize("data", [data_of("chexpert"), data_of("nih", synthetic=True)])
def test_another_source_is_none_of_its_own(data):
    assert split_changes(ORIGIN["data_sets"][0], data, "test") == []
    counts = find_overlap(model_of(ORIGIN, {}), data, np.arange(2), "test").to_plain()
    assert "could not be checked" in overlap_warning(counts, 2, "test")


@pytest.mark.parametrize(
    ("kind", "weights", "warned"),
    [
        ("nih", "pretrained", True),
        ("rsna", "weights.pt", True),
        ("nih", "none", False),
        ("chexpert", "pretrained", False),
    ],
)
def test_a_model_that_began_from_its_weights_is_warned_of(kind, weights, warned):
    source = {"kind": kind, "label_version": "2020", "synthetic": False, "sha256": {}}
    one = {"source": source, "settings": SETTINGS, "sha256": None}
    origin = {"data_sets": [one], "config": {"weights": weights}}
    model = model_of(origin, {PRETRAINED_ON: ["nih"]})
    texts = differences(model, data_of(kind), np.arange(2), False)
    assert [("pretrained weights" in text) for text in texts] == [True] * warned
