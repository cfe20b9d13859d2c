from dataclasses import replace

import pytest

from deepchest_cli.model.site import Site, splits_of

SITE = Site("B", 1, 1, "shards", "0" * 64, "validation", ("Mass",))


@pytest.mark.parametrize(
    ("named", "splits"),
    [
        ("validation", ("validation",)),
        ("train+validation", ("train", "validation")),
        ("all", ("train", "validation", "test")),
    ],
)
def test_a_name_stands_for_its_splits(named, splits):
    assert splits_of(named) == splits


def test_images_are_named_with_the_findings_they_did_not_choose():
    assert SITE.images_named(["Mass"]) == "1 validation image of B"
    everything = replace(SITE, split="all", images=2000)
    assert everything.images_named(["Mass"]) == "2,000 images of B"
    others = "(carried over from the model before: Edema, Hernia)"
    assert SITE.images_named(["Mass", "Edema", "Hernia"]).endswith(others)


def test_plain_values_and_back():
    assert Site.from_plain(SITE.to_plain()) == SITE
    with pytest.raises(TypeError):
        Site.from_plain({"name": "B", "findings": []})
