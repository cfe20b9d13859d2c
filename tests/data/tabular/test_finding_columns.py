import pytest

from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.reading.labels import read_labels
from deepchest_cli.evaluation.reading.scores import read_scores

ROW = {"a": "0.25", "b": "0.5", "c": "0.75"}


@pytest.fixture
def write(tmp_path):
    def write(*columns, name="scores.csv", cells="0.25", **others):
        """Write three images with a column for each name; `others` have cells of their own."""
        header = ["image", *columns, *others]
        rows = [[i, *[cells] * len(columns), *others.values()] for i in "abc"]
        path = tmp_path / name
        path.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
        return path

    return write


FOUND = {  # columns: findings, and what the note says
    ("prob_Effusion", "prob_Mass"): (("Effusion", "Mass"), "'prob_…'"),
    ("Effusion_prob", "Mass_prob"): (("Effusion", "Mass"), "'…_prob'"),
    ("pred:Effusion", "pred:Mass"): (("Effusion", "Mass"), "'pred:…'"),
    ("y_hat_Effusion", "Y_HAT_mass"): (("Effusion", "Mass"), "'y_hat_…'"),
    ("P(Effusion)", "P(Mass)"): (("Effusion", "Mass"), "'p(…' and '…)'"),
    ("predEffusion", "predPleuralThickening"): (("Effusion", "Pleural_Thickening"), "'pred…'"),
    ("prob_Pleural_Thickening", "prob_pleural effusion"): (
        ("Pleural_Thickening", "Effusion"), "'prob_…'",
    ),
    ("densenet121_run7_Effusion", "densenet121_run7_Mass"): (
        ("Effusion", "Mass"), "'densenet121_run7_…'",
    ),
    ("prob_Hernia",): (("Hernia",), "'prob_…'"),
    ("prob_Effusion", "prob_Fracture", "prob_Mass", "prob_No Finding"): (
        ("Effusion", "Fracture", "Mass"), "'prob_…'",
    ),
    ("Effusion", "Mass"): (("Effusion", "Mass"), ""),
    ("Large Effusion",): (("Large Effusion",), ""),
    ("Mass", "Lung Mass"): (("Mass", "Lung Mass"), ""),
    ("Fracture", "Lung Opacity"): (("Fracture", "Lung Opacity"), ""),
}  # fmt: skip


@pytest.mark.parametrize("columns", FOUND)
def test_what_all_columns_begin_or_end_with_is_taken_off_and_said(write, columns):
    findings, said = FOUND[columns]
    scores = read_scores(write(*columns))
    assert scores.findings == findings
    notes = " ".join(scores.notes)
    assert said in notes if said else not notes


def test_findings_that_labels_know_count(write):
    columns = ("prob_Lung Opacity", "prob_Fracture")
    assert read_scores(write(*columns)).findings == columns
    assert read_scores(write(*columns), labeled=("Fracture", "lung opacity")).findings == (
        "lung opacity",
        "Fracture",
    )


def test_other_columns_are_passed_over_and_named(write):
    columns = {"sha256": "ab12cd", "warnings": "", "date": "2020-01-01"}
    scores = read_scores(write("Effusion", "Mass", **columns))
    assert scores.findings == ("Effusion", "Mass")
    assert "not taken for findings: sha256, warnings, date." in scores.notes[0]
    scores = read_scores(write("prob_Effusion", "prob_Mass", epoch="7", **columns))
    assert scores.findings == ("Effusion", "Mass")
    assert "epoch, sha256" in scores.notes[1]


def test_labels_beside_scores_are_passed_over(write):
    path = write("pred_Mass", "pred_Edema", true_Mass="1", true_Edema="0")
    scores = read_scores(path)
    assert scores.findings == ("Mass", "Edema")
    assert "true_Mass, true_Edema" in scores.notes[1]
    labels = read_labels(path)  # one file may be both
    assert labels.findings == ("Mass", "Edema")
    assert labels.labels.tolist() == [[1, 0]] * 3
    assert "'true_…'" in labels.notes[0] and "pred_Mass, pred_Edema" in labels.notes[1]


@pytest.mark.parametrize(
    ("columns", "findings"),
    [
        (("label_Mass", "label_Edema"), ("Mass", "Edema")),
        (("Mass_gt", "Edema_gt"), ("Mass", "Edema")),
        (("Mass", "Edema"), ("Mass", "Edema")),
        (("Mass", "Mass_score"), ("Mass", "Mass_score")),
        (("Large Mass", "Large Edema"), ("Large Mass", "Large Edema")),
    ],
)
def test_labels_are_named_in_such_ways_too(write, columns, findings):
    labels = read_labels(write(*columns, cells="1"))
    assert labels.findings == findings
    assert len(labels.notes) == (not set(columns) & set(findings))


REFUSED = {
    ("Effusion", "Mass", "prob_Effusion", "prob_Mass"): "in two ways, as 'Effusion' and as 'prob_",
    ("prob_Effusion", "prob_Mass", "Effusion_logit"): "in two ways",
    ("prob_Effusion", "Prob_effusion"): "are both Effusion",
    ("label_Effusion", "label_Mass"): "'label_Effusion' are no scores",
    ("no_Effusion", "no_Mass"): "'no_Effusion' are no scores",
    ("true_Effusion", "gt_Mass"): "in two ways",
    ("logit_Effusion", "logit_Mass"): "holds logits by its column 'logit_Effusion'.*--logits",
}


@pytest.mark.parametrize("columns", REFUSED)
def test_what_is_not_clear_is_refused(write, columns):
    with pytest.raises(UsageError, match="scores.csv") as error:
        read_scores(write(*columns))
    error.match(REFUSED[columns].split(".*")[0])


def test_names_and_flag_may_not_contradict_each_other(write):
    path = write("logit_Effusion", "logit_Mass", cells="0.0")
    assert read_scores(path, logits=True).probabilities.tolist() == [[0.5, 0.5]] * 3
    with pytest.raises(UsageError, match="holds probabilities by its column 'prob_Mass'"):
        read_scores(write("prob_Mass", "prob_Edema"), logits=True)


def test_a_table_without_a_score_is_refused(write):
    with pytest.raises(UsageError, match="no column of scores beside 'image': note hold no"):
        read_scores(write(note="fine"))


NUMBERS = {"epoch": "7", "seconds": "0.5", "batch": "1", "loss": "nan", "Fracture": "0.5"}


@pytest.mark.parametrize("before", ["", "model_"])
def test_numbers_that_no_label_is_about_are_passed_over(write, before):
    others = {f"{before}{name}": cells for name, cells in NUMBERS.items()}
    path = write(f"{before}Effusion", f"{before}Mass", **others, age="300", note="good")
    scores = read_scores(path, labeled=("Mass", "Effusion", "Hernia"))
    assert scores.findings == ("Effusion", "Mass")
    assert "no labels for it: epoch, seconds, batch, loss, Fracture." in scores.notes[-1]
    assert "not taken for findings: note." in scores.notes[-2]
    path = write(**others, note="good")
    scores = read_scores(path, labeled=("fracture",))
    assert scores.findings == ("fracture",)


def test_no_finding_with_labels_is_refused(write):
    path = write(**NUMBERS, note="good")
    with pytest.raises(UsageError, match="numbers are epoch, .* labels are there for Mass, Edema"):
        read_scores(path, labeled=("Mass", "Edema"))


def test_masks_of_labels(write):
    columns = {"Mass_label": "1", "Edema_label": "0", "Mass_known": "1", "Edema_known": "0"}
    path = write("Mass", "Edema", "Rib", Rib_label="1", Rib_known="1", **columns)
    labels = read_labels(path)
    assert labels.findings == ("Rib", "Mass", "Edema")
    assert labels.labels.tolist() == [[1, 1, 0]] * 3
    assert labels.known.tolist() == [[1, 1, 0]] * 3
    assert read_scores(path, labeled=labels.findings).findings == ("Mass", "Edema", "Rib")
    plain = read_labels(write("Mass", "Edema", cells="1", Mass_known="0", Edema_mask="1"))
    assert plain.findings == ("Mass", "Edema")
    assert plain.known.tolist() == [[0, 1]] * 3
    assert "Mass_known, Edema_mask" in plain.notes[0]
