from dataclasses import replace

import numpy as np
import pytest
from merging_material import made

from deepchest_cli.data.merging import folder_names, merge_datasets
from deepchest_cli.errors import UsageError


def test_one_data_set_stays_what_it_is():
    only = made("a")
    assert merge_datasets([only]) is only


def test_findings_are_the_union_by_all_their_spellings_and_absent_ones_are_unknown():
    one = made("a", ("Effusion", "Mass"))
    other = made("b", ("hernia", "Pleural Effusion", "Device"))
    merged = merge_datasets([one, other])
    assert merged.findings == ("Effusion", "Mass", "hernia", "Device")
    assert [member.findings for member in merged.members] == [
        ("Effusion", "Mass"),
        ("hernia", "Effusion", "Device"),
    ]
    assert np.array_equal(merged.labels[:4, :2], one.labels)
    assert np.array_equal(merged.labels[4:, [2, 0, 3]], other.labels)
    assert merged.known.tolist() == [[1, 1, 0, 0]] * 4 + [[1, 0, 1, 1]] * 4
    assert not merged.labels[merged.known == 0].any()


def test_two_names_of_one_finding_in_one_data_set_are_refused():
    with pytest.raises(UsageError, match="/data/b: 'Effusion' and 'Pleural Effusion' are the same"):
        merge_datasets([made("a"), made("b", ("Effusion", "Pleural Effusion"))])


def test_soft_labels_of_one_data_set_are_missing_in_the_others():
    one, other = made("a", ("Mass",)), made("b", ("Edema", "Mass"))
    other = replace(other, soft=np.full((4, 2), [0.25, 0.75], dtype=np.float32))
    merged = merge_datasets([one, other])
    assert merged.soft is not None
    assert np.isnan(merged.soft[:4]).all()
    assert np.isnan(merge_datasets([other, one]).soft[4:]).all()
    assert merged.soft[4:].tolist() == [[0.75, 0.25]] * 4
    assert merge_datasets([one, made("c")]).soft is None


def test_boxes_are_scaled_to_the_size_that_is_read_and_renamed():
    merged = merge_datasets([made("a", ("Effusion",)), made("b", ("Pleural Effusion",), size=16)])
    assert merged.size == 8
    assert merged.boxes.row.tolist() == [1, 5]
    assert merged.boxes.finding.tolist() == ["Effusion", "Effusion"]
    assert merged.boxes.box.tolist() == [[2, 2, 4, 6], [1, 1, 2, 3]]


def test_patients_of_two_sources_are_two_patients_whatever_their_numbers():
    other = made("b", patients=(2, 7, 7, 9), splits=("train", "train", "train", "test"))
    merged = merge_datasets([made("a", patients=(7, 7, 9, 2)), other])
    found = merged.columns["patient_id"]
    assert len(set(found.tolist())) == 6
    assert found[0] == found[1] and found[5] == found[6]
    assert merged.source_patients.tolist() == [7, 7, 9, 2, 2, 7, 7, 9]
    assert merged.member.tolist() == [0] * 4 + [1] * 4


def halves(splits=("train", "train", "validation", "test")):
    """Two tables of one source, by one list of splits, with patients 3 and 4 in both."""
    shared = {"sha256": {"splits.csv": "the same"}}
    one = made("a", patients=(1, 2, 3, 4), source=shared)
    return one, made("b", patients=(5, 6, 3, 4), splits=splits, source=shared)


def test_two_halves_of_a_source_number_their_patients_alike():
    merged = merge_datasets(halves())
    assert len(set(merged.columns["patient_id"].tolist())) == 6
    assert merged.columns["patient_id"][2] == merged.columns["patient_id"][6]


def test_a_patient_in_two_splits_of_two_halves_is_refused():
    with pytest.raises(UsageError) as error:
        merge_datasets(halves(("train", "train", "test", "train")))
    assert error.value.message == (
        "2 patients are in different splits of data sets that share patients; the first, 3, is in "
        "validation of /data/a and in test of /data/b."
    )


def test_folds_keep_patients_together_that_two_data_sets_share():
    merged = merge_datasets(halves())
    for seed in range(8):
        splits = merged.folded(0, 2, seed).columns["split"]
        assert splits[2] == splits[6] and splits[3] == splits[7]


def test_folds_of_unrelated_data_sets_are_those_that_each_has_alone():
    one, other = (
        made(name, findings, patients=tuple(range(40)))
        for name, findings in (("a", ("Mass", "Edema")), ("b", ("Device", "Mass", "Hernia")))
    )
    merged = merge_datasets([one, other]).folded(1, 4, seed=3)
    alone = [dataset.folded(1, 4, seed=3) for dataset in (one, other)]
    expected = np.concatenate([dataset.columns["split"] for dataset in alone])
    assert np.array_equal(merged.columns["split"], expected)
    schemes = {member.manifest["settings"]["split_scheme"] for member in merged.members}
    assert schemes == {"fold 2 of 4, seed 3"}


def with_equal_pixels(one, other, pairs):
    """Give images of the second data set the pixels of images of the first."""
    hashes = other.pixel_hash.copy()
    for ours, theirs in pairs:
        hashes[theirs] = one.pixel_hash[ours]
    return [one, replace(other, pixel_hash=hashes)]


def test_equal_pixels_in_different_splits_are_refused_with_names():
    with pytest.raises(UsageError) as error:
        merge_datasets(with_equal_pixels(made("a"), made("b"), [(0, 2), (1, 0), (3, 1)]))
    assert error.value.message == (
        "2 images are (by pixel hash) in different splits of /data/a and /data/b; the first is "
        "a-0.png in train and b-2.png in validation."
    )
    assert "Take these images out" in error.value.hint


def test_an_image_in_several_splits_of_one_data_set_is_found_in_the_other():
    one = made("a", patients=(1, 1, 1, 1))
    one.pixel_hash[3] = one.pixel_hash[0]  # in train and in test
    with pytest.raises(UsageError, match=r"a-3.png in test and b-1.png in train"):
        merge_datasets(with_equal_pixels(one, made("b"), [(0, 1)]))


def test_equal_pixels_in_the_same_split_are_warned_of_and_of_one_patient():
    sets = with_equal_pixels(made("a"), made("b", patients=(10, 11, 12, 13)), [(0, 1), (2, 2)])
    merged = merge_datasets(sets)
    assert merged.warnings == (
        "2 images are (by pixel hash) in both /data/a and /data/b, in the same splits: they count "
        "twice.",
    )
    patients = merged.columns["patient_id"]
    assert patients[0] == patients[5] and patients[2] == patients[6]
    assert len(set(patients.tolist())) == 6


def test_folds_keep_the_same_radiograph_of_two_data_sets_together():
    one, other = (made(name, patients=patients) for name, patients in
                  (("a", tuple(range(12))), ("b", tuple(range(20, 32)))))  # fmt: skip
    merged = merge_datasets(with_equal_pixels(one, other, [(0, 4), (2, 6), (3, 3)]))
    for seed in range(8):
        splits = merged.folded(0, 3, seed).columns["split"]
        assert splits[[0, 2, 3]].tolist() == splits[[16, 18, 15]].tolist()


SAME = ("train", "train", "validation", "test")


def test_tables_whose_shared_radiographs_have_the_same_patients_number_them_alike():
    one, other = made("a"), made("b", patients=(1, 2, 3, 9), splits=SAME)
    assert merge_datasets(with_equal_pixels(one, other, [(0, 0)])).warnings
    with pytest.raises(UsageError, match="the first, 2, is in train of /data/a and in test of"):
        changed = made("b", patients=(1, 2, 3, 9), splits=("train", "test", "validation", "test"))
        merge_datasets(with_equal_pixels(one, changed, [(0, 0)]))


def test_equal_names_of_what_may_be_the_same_radiographs_are_warned_of():
    names = np.array(["a-0.png", "folder/a-1.png", "c.png", "d.png"])
    (warning,) = merge_datasets([made("a", kind="nih"), made("b", image_index=names)]).warnings
    assert warning == (
        "2 images have the same name in both /data/a and /data/b, and other pixels (0 in "
        "different splits): they may be the same radiographs, prepared otherwise."
    )
    assert merge_datasets([made("a", kind="nih"), made("b")]).warnings == ()
    padchest = made("b", kind="padchest", image_index=names)
    assert merge_datasets([made("a", kind="nih"), padchest]).warnings == ()


def test_names_have_the_folders_that_tell_them_apart():
    """As those of CheXpert and of its small copy."""
    names = np.array([f"train/patient{n}/study1/view1.jpg" for n in range(4)])
    other = np.array([f"CheXpert-small/{name}" for name in names[::-1].tolist()])
    sets = [
        made(name, kind="chexpert", image_index=index)
        for name, index in (("a", names), ("b", other))
    ]
    (warning,) = merge_datasets(sets).warnings
    assert warning.startswith("4 images have the same name")
    assert "(4 in different splits)" in warning


def test_the_same_folder_twice_is_refused():
    one = made("a")
    for other in (one, replace(one, members=(replace(one.only, folder=one.folder / "../a"),))):
        with pytest.raises(UsageError, match=r"/data/a and .*a are the same data\."):
            merge_datasets([one, other])


def test_the_same_radiographs_at_two_sizes_are_refused():
    source = {"rows_sha256": "the same", "sha256": {"table.csv": "the same"}}
    with pytest.raises(UsageError, match=r"the same labels \(8 and 16 px\)"):
        merge_datasets([made("a", source=source), made("b", size=16, source=source)])


DERIVED = {
    "ChestMNIST": ("chestmnist", {"patients": False}),
    "Parquet without patients": ("nih-parquet", {"patients": False}),
    "RSNA": ("rsna", {"patients": False}),
    "SIIM-ACR": ("siim", {"patients": False}),
}


@pytest.mark.parametrize("name", DERIVED)
def test_nih_and_a_set_that_is_made_from_it_are_refused_by_name(name):
    kind, source = DERIVED[name]
    pair = [made("a", kind="nih"), made("b", kind=kind, source=source)]
    for several in (pair, pair[::-1], [made("c"), *pair]):
        with pytest.raises(UsageError, match="made from the same radiographs") as error:
            merge_datasets(several)
        assert "NIH ChestX-ray14" in error.value.message and kind in error.value.message
        assert "nothing tells which patient" in error.value.message


def test_two_distributions_of_a_set_that_names_no_patients_are_refused():
    sets = [made(name, kind="vindr", source={"patients": False}) for name in ("a", "b")]
    with pytest.raises(UsageError, match=r"those of VinDr-CXR \(vindr and vindr\)"):
        merge_datasets(sets)


def test_two_preparations_of_a_table_without_patients_are_refused_by_the_file_they_share():
    source = {"patients": False, "sha256": {"labels.csv": "the same"}}
    with pytest.raises(UsageError, match="share labels.csv, and nothing tells which patient"):
        merge_datasets([made("a", source=source), made("b", source=source)])


def test_nihs_own_copy_in_parquet_has_its_patients():
    one, other = (
        made("a", kind="nih"),
        made("b", kind="nih-parquet", patients=(3, 4), splits=SAME[2:]),
    )
    merged = merge_datasets([one, other])
    assert (
        merged.columns["patient_id"][2:].tolist() == merged.columns["patient_id"][2:4].tolist() * 2
    )


def test_two_demos_are_two_hospitals():
    synthetic = {"synthetic": True}
    merged = merge_datasets(
        [made("a", kind="nih", source=synthetic), made("b", kind="nih", source=synthetic)]
    )
    assert len(set(merged.columns["patient_id"].tolist())) == 8
    assert merged.warnings == ()


def test_three_data_sets_one_after_the_other():
    merged = merge_datasets([made("a"), made("b", patients=(1, 2), size=16), made("c", ("Edema",))])
    assert merged.member.tolist() == [0] * 4 + [1] * 2 + [2] * 4
    assert merged.starts.tolist() == [0, 4, 6]
    assert len(merged.shards) == 3
    assert merged.findings == ("Effusion", "Mass", "Edema")
    assert not merged.is_of_one_size
    assert merged.sha256 != merge_datasets([made("a"), made("c", ("Edema",))]).sha256


UNLIKE = {
    "pad": (
        {"settings": {"aspect": "pad"}},
        "The shape of images differs: /data/a: squashed to a square, /data/b: padded to a square.",
    ),
    "views": (
        {"settings": {"views": "all"}},
        "Views differ: /data/a: frontal, /data/b: all.",
    ),
    "uncertain labels": (
        {"source": {"label_policies": {"uncertain": "one", "blank": "ignore"}}},
        "Labels were read differently (uncertain): /data/a: ignore, /data/b: one.",
    ),
    "synthetic": (
        {"kind": "nih", "source": {"synthetic": True}},
        "Some radiographs are synthetic: /data/a: real, /data/b: synthetic.",
    ),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_what_was_prepared_differently_is_warned_of(name):
    changes, expected = UNLIKE[name]
    own = {"label_policies": {"uncertain": "ignore", "blank": "ignore"}}
    one = made("a", kind="chexpert", source=own, settings={"aspect": "squash", "views": "frontal"})
    assert merge_datasets([one, made("b", **changes)]).warnings == (expected,)
    assert merge_datasets([one, made("b", kind="padchest", source=own)]).warnings == ()


def test_folders_of_one_name_are_told_apart_by_those_above():
    assert folder_names(["/x/a", "/x/b/"]) == ["a", "b"]
    assert folder_names(["/x/one/224", "/x/two/224"]) == ["one/224", "two/224"]
    assert folder_names(["/x/p/q", "/y/p/q", "/y/z"]) == ["x/p/q", "y/p/q", "/y/z"]
    assert folder_names(["/x/all", "/x/b"]) == ["x/all", "x/b"]
