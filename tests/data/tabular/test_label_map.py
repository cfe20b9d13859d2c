"""Label maps: what they say, how votes are counted, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepchest_cli.data.findings import FINDINGS, finding_key, plain_name
from deepchest_cli.data.tabular.cells import ABSENT, BLANK, PRESENT, UNCERTAIN
from deepchest_cli.data.tabular.label_map import LabelMap, load_label_map
from deepchest_cli.data.tabular.label_map_file import SHIPPED, MapFile, read_map_file
from deepchest_cli.data.tabular.labels import Policy, read_policy
from deepchest_cli.errors import UsageError

TABLE = Path("table.csv")
MEANT = {PRESENT: 1, UNCERTAIN: None, ABSENT: 0, BLANK: None}  # the strongest first


def written(tmp_path, text, findings=None):
    path = tmp_path / "map.toml"
    path.write_text(f"{text}\n")
    return load_label_map("csv", path, findings)


def cells(label_map, names, *rows, policy=None, lists_terms=False):
    """Return what is known of each image by finding: 1, 0 or None."""
    states = np.array(rows, dtype=np.int8).reshape(len(rows), len(names))
    read = label_map.apply(names, states, policy or Policy(), TABLE, lists_terms)
    assert not read.labels[read.known == 0].any()
    return [
        {
            finding: int(read.labels[row, column]) if read.known[row, column] else None
            for column, finding in enumerate(read.findings)
        }
        for row in range(len(rows))
    ]


def test_without_a_map_each_label_stands_for_the_finding_of_its_name():
    assert cells(LabelMap(), ["Pleural Effusion", "ILD"], (1, 0), (UNCERTAIN, BLANK)) == [
        {"Effusion": 1, "ILD": 0},
        {"Effusion": None, "ILD": None},
    ]


@pytest.mark.parametrize(
    ("state", "expected"), [(PRESENT, None), (UNCERTAIN, None), (ABSENT, 0), (BLANK, None)]
)
def test_a_label_that_does_not_say_which_of_two_it_is(tmp_path, state, expected):
    label_map = written(
        tmp_path, '[labels]\n"Nodule/Mass" = { unknown = ["Nodule", "Mass"] }', "Nodule,Mass"
    )
    assert cells(label_map, ["Nodule/Mass"], (state,)) == [{"Nodule": expected, "Mass": expected}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"Mass" = "Nodule"\n"Nodule" = "Mass"', {"Mass": 0, "Nodule": 1}),
        ('"Mass" = "Edema"\n"Edema" = "Effusion"', {"Edema": 1, "Effusion": 0, "Nodule": 0}),
        ('"Mass" = ["Mass", "Nodule"]', {"Mass": 1, "Nodule": 1, "Edema": 0}),
    ],
)
def test_a_label_that_is_renamed_does_not_count_as_what_another_one_is_called(
    tmp_path, text, expected
):
    label_map = written(tmp_path, f"[labels]\n{text}")
    (found,) = cells(label_map, ["Mass", "Nodule", "Edema"], (PRESENT, ABSENT, ABSENT))
    assert expected.items() <= found.items()


def test_a_label_stands_for_several_findings_and_rules_another_out(tmp_path):
    label_map = written(
        tmp_path,
        '[labels]\nhydro = ["Effusion", "Pneumothorax"]\n'
        'false = { negative = "Nodule" }\nNodule = "Nodule"',
    )
    names = ["hydro", "false", "Nodule"]
    assert cells(label_map, names, (1, 1, BLANK), (0, 0, BLANK), (BLANK, 1, 1)) == [
        {"Effusion": 1, "Pneumothorax": 1, "Nodule": 0},
        {"Effusion": 0, "Pneumothorax": 0, "Nodule": None},  # no false one says nothing of true
        {"Effusion": None, "Pneumothorax": None, "Nodule": 1},  # what is present wins
    ]


@given(st.lists(st.sampled_from(list(MEANT)), min_size=1, max_size=5))
def test_positive_wins_then_uncertain_then_negative_and_a_blank_says_nothing(states):
    names = [f"label {number}" for number in range(len(states))]
    file = MapFile(labels={plain_name(name): {"Mass": PRESENT} for name in names})
    strongest = next(state for state in MEANT if state in states)
    assert cells(LabelMap(file), names, states) == [{"Mass": MEANT[strongest]}]


TREE = """
[children]
infiltrates = ["alveolar pattern"]
"alveolar pattern" = ["consolidation", "bronchogram"]
consolidation = ["bronchogram"]
"""


def test_a_term_counts_as_each_term_above_it(tmp_path):
    label_map = written(tmp_path, TREE)
    names = ["infiltrates", "alveolar pattern", "consolidation", "bronchogram"]
    (row,) = cells(label_map, names, (0, 0, 0, 1))
    assert row == {"Infiltration": 1, "alveolar pattern": 1, "Consolidation": 1, "bronchogram": 1}
    (row,) = cells(label_map, names, (0, 1, 0, 0))
    assert row == {"Infiltration": 1, "alveolar pattern": 1, "Consolidation": 0, "bronchogram": 0}


def test_what_is_said_of_a_term_goes_before_what_is_said_of_terms_above(tmp_path):
    text = '[labels]\n"breast mass" = { negative = "Mass" }\n[children]\nmass = ["breast mass"]'
    label_map = written(tmp_path, text, "Mass,breast mass")
    assert cells(label_map, ["mass", "breast mass"], (0, 1), (1, 1), (0, 0)) == [
        {"Mass": 0, "breast mass": 1},
        {"Mass": 1, "breast mass": 1},
        {"Mass": 0, "breast mass": 0},
    ]


def test_healthy_and_incomplete_images(tmp_path):
    text = 'healthy = ["sano"]\nincomplete = ["sin cambios"]\n[labels]\nmasa = "Mass"'
    names = ["sano", "sin cambios", "masa", "Nodule"]
    label_map = written(tmp_path, text)
    assert cells(label_map, names, (1, 0, BLANK, BLANK), (0, 1, 1, 0), (1, 1, 0, 0)) == [
        {"Mass": 0, "Nodule": 0},
        {"Mass": 1, "Nodule": None},  # not named beside an incomplete reading
        {"Mass": 0, "Nodule": 0},
    ]


def test_a_term_that_no_list_has_is_absent_where_something_is_listed(tmp_path):
    label_map = written(tmp_path, 'findings = ["Mass", "Hernia"]\n[labels]\nhernia = "Hernia"')
    rows = [(1,), (BLANK,)]
    assert cells(label_map, ["mass"], *rows, lists_terms=True) == [
        {"Mass": 1, "Hernia": 0},
        {"Mass": None, "Hernia": None},
    ]
    with pytest.raises(UsageError, match="Unknown finding 'Hernia'"):
        cells(LabelMap(wanted=("Hernia",)), ["mass"], *rows)


def test_a_finding_that_no_label_makes_present_is_taken_only_where_it_is_asked_for():
    names = ["Lung Lesion", "Edema"]
    assert list(cells(load_label_map("chexpert", None, None), names, (1, 0))[0]) == names
    asked = load_label_map("chexpert", None, "Edema,Nodule")
    assert cells(asked, names, (1, 0), (0, 0)) == [
        {"Edema": 0, "Nodule": None},
        {"Edema": 0, "Nodule": 0},
    ]


def test_a_shipped_map_is_extended(tmp_path):
    label_map = written(
        tmp_path, 'extends = "padchest"\nfindings = ["Nodule"]\n[labels]\npseudonodule = "Nodule"'
    )
    names = ["multiple nodules", "nipple shadow", "scoliosis"]
    assert cells(label_map, names, (1, 0, 0), (0, 1, 0), (0, 0, 1)) == [
        {"Nodule": 1}, {"Nodule": 1}, {"Nodule": 0},
    ]  # fmt: skip
    base = read_map_file(SHIPPED / "padchest.toml")
    assert label_map.file.sha256 != base.sha256
    (tmp_path / "same.toml").write_text('extends = "padchest" # as it is')
    assert read_map_file(tmp_path / "same.toml").sha256 == base.sha256


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_map_can_be_read_and_names_findings_that_exist(path):
    file = read_map_file(path)
    assert file.labels or file.parents
    said = {finding_key(name) for says in file.labels.values() for name in says}
    assert said & set(map(finding_key, FINDINGS))


def test_padchests_map_has_all_of_nihs_findings():
    assert read_map_file(SHIPPED / "padchest.toml").findings == FINDINGS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('findings = ["Effusion", "Pleural Effusion"]', "findings: .* are the same finding"),
        ("[label]", r"map\.toml: Unknown key 'label'. Did you mean 'labels'"),
        ("labels = 1", "'labels' should be a section"),
        ("[labels]\na = 1", r"\[labels\] 'a', positive, should be a name or a list.*Found 1"),
        ('[labels]\na = ["", "b"]', "should be a name or a list of names"),
        ('[labels]\na = { maybe = "Mass" }', r"\[labels\] 'a': Unknown value 'maybe'"),
        (
            '[labels]\na = { positive = "Effusion", negative = "Pleural Effusion" }',
            r"\[labels\] 'a' makes 'Effusion' both positive and negative",
        ),
        ('[labels]\n"a b" = "Mass"\nA_B = "Mass"', "'a b' and 'A_B' are the same label"),
        ('[labels]\na = "Efusion"', "unknown finding 'Efusion'. Did you mean 'Effusion'"),
        ('[children]\na = ["b"]\nb = ["c"]\nc = ["a"]', "in a circle: '.' -> '.' -> '.' -> '.'"),
        ('[children]\na = ["a"]', "in a circle: 'a' -> 'a'"),
        ('extends = "padchst"', "extends: Unknown label map 'padchst'. Did you mean 'padchest'"),
        ('[labels]\na = "Mass', "not valid TOML: .*line 2"),
        ('[labels]\na = "Mass"\na = "Edema"', "not valid TOML: .*line 3"),
    ],
)
def test_a_wrong_map_is_refused_with_file_and_key(tmp_path, text, message):
    with pytest.raises(UsageError, match=message) as error:
        written(tmp_path, text)
    assert "map.toml" in error.value.message


def test_a_map_that_is_not_there(tmp_path):
    with pytest.raises(
        UsageError, match=r"no label map \(those of the package are in .*label_maps"
    ):
        load_label_map("csv", tmp_path / "none.toml", None)


def test_a_finding_that_is_no_slip_of_the_pen_is_one_of_its_own(tmp_path):
    text = 'findings = ["Efusion"]\n[labels]\na = "Efusion"\nb = "Lung Opacity"'
    assert cells(written(tmp_path, text), ["a", "b"], (1, 0)) == [{"Efusion": 1}]


@pytest.mark.parametrize("names", [("Pleural Effusion", "Effusion"), ("Mass", "mass")])
def test_an_alias_that_meets_two_labels_is_refused_unless_the_map_names_both(tmp_path, names):
    with pytest.raises(UsageError, match="are all about"):
        cells(LabelMap(), names, (1, 0))
    text = '[labels]\n"Pleural Effusion" = "Effusion"\n"Effusion" = "Effusion"\nMass = "Mass"'
    if names[0] != "Mass":  # in one spelling they would be one label
        assert cells(written(tmp_path, text), names, (1, 0)) == [{"Effusion": 1}]


def test_a_label_that_the_table_lacks_is_said(tmp_path):
    label_map = written(tmp_path, '[labels]\nHerz = "Cardiomegaly"\nLunge = "Nodule"')
    read = label_map.apply(["Herz"], np.ones((1, 1), dtype=np.int8), Policy(), TABLE)
    assert read.findings == ("Cardiomegaly",)
    assert read.notes == (f"{tmp_path / 'map.toml'}: labels that no image has: 'Lunge'.",)


def test_findings_are_spelled_as_they_are_asked_for():
    label_map = load_label_map("csv", None, " pleural effusion, ild")
    assert list(cells(label_map, ["ILD", "Effusion"], (1, 0))[0].items()) == [
        ("Effusion", 0),
        ("ild", 1),
    ]
    with pytest.raises(UsageError, match="--findings names nothing"):
        load_label_map("csv", None, " , ")


def test_a_finding_that_nothing_makes_present_is_suggested_too():
    with pytest.raises(UsageError, match="Unknown finding 'Nodul'. Did you mean 'Nodule'"):
        cells(load_label_map("chexpert", None, "Nodul"), ["Lung Lesion"], (1,))


def test_uncertain_labels_are_read_by_finding():
    policy = read_policy("Consolidation=zero,Atelectasis=one,ignore", "ignore")
    names = ["Consolidation", "Atelectasis", "Edema"]
    assert cells(LabelMap(), names, (UNCERTAIN,) * 3, policy=policy) == [
        {"Consolidation": 0, "Atelectasis": 1, "Edema": None}
    ]
    assert policy.describe(names)["uncertain"] == "Consolidation=zero,Atelectasis=one,ignore"


def test_the_mix_of_chexperts_paper_and_what_goes_before_it():
    names = ["Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Fracture"]
    rows = (UNCERTAIN,) * 6
    (row,) = cells(LabelMap(), names, rows, policy=read_policy("chexpert-paper", "zero"))
    assert list(row.values()) == [1, 0, 0, 1, 1, None]
    policy = read_policy("chexpert-paper,pleural effusion=zero,one", "zero")
    (row,) = cells(LabelMap(), names, rows, policy=policy)
    assert list(row.values()) == [1, 0, 0, 1, 0, 1]


def test_a_policy_is_not_applied_to_what_a_present_label_leaves_unknown(tmp_path):
    label_map = load_label_map("chexpert", None, "Nodule")
    assert cells(label_map, ["Lung Lesion"], (UNCERTAIN,), (1,), policy=Policy("one")) == [
        {"Nodule": None},
        {"Nodule": None},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("U-Ones", "--uncertain: Unknown policy 'U-Ones'. Did you mean 'one'"),
        ("Edema=maybe", "--uncertain: Unknown policy 'maybe'"),
        ("Edema=one,edema=zero", "names 'edema' twice"),
        ("one,zero", "two policies for all findings: one and zero"),
        ("chexpert", "Unknown policy 'chexpert'. Did you mean 'chexpert-paper'"),
    ],
)
def test_a_wrong_policy_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        read_policy(text, "ignore")


def test_a_policy_for_a_finding_that_is_not_there_is_refused():
    policy = read_policy("Consolidaton=zero", "ignore")
    message = "--uncertain: Unknown finding 'Consolidaton'. Did you mean 'Consolidation'"
    with pytest.raises(UsageError, match=message):
        cells(LabelMap(), ["Consolidation"], (1,), policy=policy)
