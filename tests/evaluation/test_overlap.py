from dataclasses import replace

import numpy as np
import pytest
import torch

from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.overlap import (
    MASKS,
    find_overlap,
    no_overlap_note,
    overlap_warning,
    refuse_overlap,
    union_of,
)
from deepchest_cli.model.checkpoint import load_model


@pytest.fixture(scope="module")
def model(trained):
    return load_model(trained, torch.device("cpu"))


@pytest.fixture(scope="module")
def own(shards):
    return open_dataset(shards)


def changed(dataset, kind="nih", pixels=False, names=False, patients=False, **source):
    """Return the same images as if prepared from elsewhere; what is True is another one."""
    count, columns = len(dataset.pixel_hash), dict(dataset.columns)
    manifest = {
        **dataset.manifest,
        "source": {
            **dataset.manifest["source"], "kind": kind, "sha256": {"t.csv": "other"}, **source,
        },
    }  # fmt: skip
    if names:
        columns["image_index"] = np.array([f"x{i}.png" for i in range(count)])
    if patients:
        columns["patient_id"] = np.arange(count) + 1000
    hashes = np.array([f"{i:032x}".encode() for i in range(count)])
    return replace(
        renamed(dataset, manifest),
        columns=columns,
        pixel_hash=hashes if pixels else dataset.pixel_hash,
    )


def renamed(dataset, manifest, sha256="0" * 64):
    """Return the same images with another manifest."""
    return replace(dataset, members=(replace(dataset.only, manifest=manifest, sha256=sha256),))


def with_images(model, **arrays):
    """Return the model with other hashes of the images that it was made with."""
    return replace(model, training_images=[{**model.training_images[0], **arrays}])


def found(model, dataset, split="test", rows=None):
    rows = np.arange(len(dataset.pixel_hash)) if rows is None else rows
    return find_overlap(model, dataset, rows, split)


def counts(overlap):
    plain = overlap.to_plain()
    return tuple(plain[name] for name in MASKS)


def test_the_models_own_test_split_has_nothing_in_common_with_it(model, own):
    overlap = found(model, own, rows=own.rows("test"))
    assert counts(overlap) == (0, 0, 0, 0, 0)
    assert overlap_warning(overlap.to_plain(), 20, "test") == ""
    assert no_overlap_note(overlap.to_plain()) == ""
    refuse_overlap(overlap, model, own)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_models_own_images_are_said_and_not_refused(model, own, split):
    rows = own.rows(split)
    overlap = found(model, own, split, rows)
    assert overlap.to_plain()["training_images" if split == "train" else f"{split}_images"] == len(
        rows
    )
    refuse_overlap(overlap, model, own)
    assert overlap_warning(overlap.to_plain(), len(rows), split)


def test_equal_pixels_across_the_splits_of_the_own_data_are_said(model, own):
    """They are published with --allow-duplicates only."""
    digest = own.pixel_hash.copy()
    test = own.rows("test")
    digest[test[:3]] = digest[own.rows("train")[:3]]
    overlap = found(model, replace(own, pixel_hash=digest), rows=test)
    refuse_overlap(overlap, model, own)
    assert "of 20 images, 3 are training images" in overlap_warning(overlap.to_plain(), 20, "test")


def sizes(own):
    return tuple(len(own.rows(split)) for split in ("train", "validation"))


ELSEWHERE = {  # what is other: and which masks find the training and validation images
    "a table of the same files": ({"kind": "csv"}, ("training_images", "validation_images")),
    "names and patients, too": (
        {"kind": "csv", "names": True, "patients": True},
        ("training_images", "validation_images"),
    ),
    "the same set of NIH's": ({}, ("training_images", "validation_images")),
    "resized files": (
        {"kind": "csv", "pixels": True},
        ("same_name_and_patient", "shared_patients"),
    ),
    "resized files of NIH's": ({"pixels": True}, ("same_name_and_patient", "shared_patients")),
    "resized files under other names": (
        {"pixels": True, "names": True},
        ("shared_patients", "shared_patients"),
    ),
    "resized files, patients unknown": (
        {"kind": "csv", "pixels": True, "patients": True},
        ("same_name_only", None),
    ),
    "other images, numbered alike": ({"kind": "csv", "pixels": True, "names": True}, (None, None)),
    "another public set, named alike": ({"kind": "padchest", "pixels": True}, (None, None)),
    "synthetic ones, named alike": ({"pixels": True, "synthetic": True}, (None, None)),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_images_from_elsewhere(model, own, name):
    changes, (of_training, of_validation) = ELSEWHERE[name]
    dataset = changed(own, **changes)
    overlap = found(model, dataset)
    expected = dict.fromkeys(MASKS, 0)
    for mask, size in zip((of_training, of_validation), sizes(own), strict=True):
        if mask:
            expected[mask] += size
    assert counts(overlap) == tuple(expected.values())
    if {of_training, of_validation} <= {None, "same_name_only"}:
        refuse_overlap(overlap, model, dataset)
    else:
        with pytest.raises(UsageError, match="Of 80 images to score, ") as error:
            refuse_overlap(overlap, model, dataset)
        assert "--allow-overlap" in error.value.hint
        said = overlap_warning(overlap.to_plain(), 80, "test")
        assert "of 80 images" in said and "optimistic" in said


def test_what_was_compared_is_said_where_nothing_is_found(model, own):
    rows = own.rows("test")
    texts = {
        "none shows a patient": {},
        "whether they share patients is not known": {"kind": "csv"},
        "they are of another source": {"kind": "padchest"},
    }
    for text, changes in texts.items():
        plain = found(model, changed(own, pixels=True, names=True, **changes), rows=rows).to_plain()
        assert overlap_warning(plain, 20, "test") == ""
        assert text in no_overlap_note(plain)


def test_patients_are_compared_where_trained_images_have_the_same(model, own):
    """Some scored images are new ones of trained patients; others in the data tell who they are."""
    dataset = changed(own, kind="csv", names=True)
    digest = dataset.pixel_hash.copy()
    new = own.rows("train")[::7]
    digest[new] = [f"{i:032x}".encode() for i in range(len(new))]
    overlap = found(model, replace(dataset, pixel_hash=digest), rows=new)
    assert counts(overlap) == (0, 0, 0, len(new), 0)


def test_names_that_many_images_share_tell_nothing(model, own):
    """CheXpert's are view1_frontal.jpg in every study."""
    alike = with_images(model, names=model.training_images[0]["names"][:1])
    assert counts(found(alike, changed(own, pixels=True, kind="csv"))) == (0, 0, 0, 0, 0)


def without_hashes(model, data="gone"):
    origin = {**model.origin, "data_sets": [{**model.data_sets[0], "data": data}]}
    return replace(model, training_images=None, origin=origin)


def test_without_hashes_the_models_own_data_are_asked(model, own):
    """So a run that was interrupted, and its last checkpoint, are known as well."""
    dataset = changed(own, kind="csv")
    bare = without_hashes(model, str(own.folder))
    assert counts(found(bare, dataset)) == counts(found(model, dataset))
    one = bare.data_sets[0]
    fold = {"data_sets": [{**one, "settings": {**one["settings"], "split_scheme": "fold 1 of 3"}}]}
    assert not found(
        replace(bare, origin={**bare.origin, **fold}), dataset
    ).pixel_hashes_compared  # other images of the same data


def test_without_hashes_the_split_decides(model, own):
    bare = without_hashes(model)
    other = renamed(own, own.manifest)
    overlap = found(bare, other, rows=own.rows("test"))
    refuse_overlap(overlap, bare, other)
    assert "could not be checked" in overlap_warning(overlap.to_plain(), 20, "test")
    settings = {**own.manifest["settings"], "seed": 9}
    other = renamed(own, {**own.manifest, "settings": settings})
    overlap = found(bare, other, "validation")
    with pytest.raises(UsageError, match=r"\(seed\): it may hold trained patients"):
        refuse_overlap(overlap, bare, other)
    assert "trained patients may be among them" in overlap_warning(
        overlap.to_plain(), 9, "validation"
    )


def test_another_split_of_the_same_patients_is_fit_where_none_was_trained_on(model, own):
    settings = {**own.manifest["settings"], "split_scheme": "random"}
    other = renamed(own, {**own.manifest, "settings": settings})
    fit = found(model, other, rows=own.rows("test"))
    refuse_overlap(fit, model, other)
    assert counts(fit) == (0, 0, 0, 0, 0)
    kept = {k: v for k, v in model.training_images[0].items() if k != "patients"}
    old = replace(without_hashes(model), training_images=[kept])
    with pytest.raises(UsageError, match="does not tell which they are"):  # of an earlier version
        refuse_overlap(found(old, other, rows=own.rows("test")), old, other)


def test_several_models_count_together(model, own):
    dataset = changed(own, kind="csv")
    none = np.array([], dtype=np.int64)
    halves = [
        with_images(model, training=part, validation=none)
        for part in np.array_split(model.training_images[0]["training"], 2)
    ]
    both = union_of([found(one, dataset) for one in halves])
    assert counts(both)[:2] == (sizes(own)[0], 0)
    assert both.pixel_hashes_compared and not both.is_training_data_set
