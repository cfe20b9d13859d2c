"""What `evaluate` shows in terminals of any width, and the command that it names next."""

import copy
import shutil

import pytest
from tests_support import next_step, too_wide

from deepchest_cli.commands.evaluate import evaluate as score
from deepchest_cli.commands.evaluate_display import MORE, render
from deepchest_cli.config import EvaluateConfig
from deepchest_cli.evaluation.output.statements import metric
from deepchest_cli.terminal import Terminal

CI = ("AUROC (95 % CI)", "AP (95 % CI)")
FAST = ("--bootstrap-replicates", "2", "--no-localization")


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    return shutil.copytree(trained, tmp_path_factory.mktemp("screens") / "run")


@pytest.fixture(scope="module")
def document(run, shards):
    """The results of a model that is compared with itself, as they are rendered."""
    found = []
    config = EvaluateConfig(
        model=(str(run),), data=(str(shards),), compare_to=run, bootstrap_replicates=20
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deepchest_cli.evaluation.calibration.MIN_POSITIVES", 3)
        patch.setattr("deepchest_cli.commands.evaluate.render", lambda one, *_: found.append(one))
        score(config, Terminal(quiet=True))
    return found[0]


@pytest.fixture
def screen(capsys, monkeypatch):
    def rendered(document, width, **presentation):
        monkeypatch.setenv("COLUMNS", str(width))
        render(document, "table", Terminal(**presentation))
        return capsys.readouterr()

    return rendered


def renamed(document, names):
    """Return results of so many findings, of these names, in all tables."""
    other, values = copy.deepcopy(document), list(document["findings"].values())
    differences = list(document["compared_to"]["findings"].values())
    other["findings"] = {n: values[i % len(values)] for i, n in enumerate(names)}
    other["compared_to"]["findings"] = {
        n: differences[i % len(differences)] for i, n in enumerate(names)
    }
    return other


LONG = [f"{number:02d}_{'finding_of_32_letters' * 2}"[:32] for number in range(40)]


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("names", [None, LONG[:1], LONG])
def test_every_cell_that_matters_is_whole_at_any_width(document, screen, width, names):
    shown = document if names is None else renamed(document, names)
    outcome = screen(shown, width)
    assert too_wide(outcome.out + outcome.err, width) == []
    for name, values in shown["findings"].items():
        assert name in outcome.out
        for key in ("auroc", "average_precision"):
            assert metric(values, key) in outcome.out
    assert outcome.out.count("inconclusive") + outcome.out.count("not measured") == 2 * (
        1 + len(shown["findings"])
    )


def test_eighty_columns_hold_the_table_of_nihs_findings(document, screen):
    table = screen(document, 80).out.partition("\n\n")[0].splitlines()
    assert len(table) == 2 + len(document["findings"])  # a heading and a mean
    assert all(heading in table[0] for heading in ("Finding", "positives", *CI))


@pytest.mark.parametrize("width", [80, 120])
def test_columns_without_room_are_named_and_verbose_shows_them(document, screen, width):
    outcome = screen(document, width)
    heading, said = outcome.out.splitlines()[0], " ".join(outcome.err.split())
    shown = [name for name in MORE if name in heading]
    assert shown == list(MORE)[: len(shown)]
    assert bool(shown) == (width == 120)
    assert f"in a wider window: {', '.join(list(MORE)[len(shown) :])}." in said
    verbose = screen(document, width, verbose=True)
    assert "wider window" not in verbose.err
    assert too_wide(verbose.out, width) == []
    for name in (*MORE, "AUROC p (Holm)", "AP p (Holm)"):
        assert name in verbose.out


def test_reasons_are_counted_and_verbose_names_the_findings(document, screen):
    brief = " ".join(screen(document, 80).out.split())
    verbose = " ".join(screen(document, 80, verbose=True).out.split())
    points = document["operating_points"]["findings"]
    missing = [name for name, entry in points.items() if "youden" in entry["unavailable"]]
    assert missing
    assert f"No operating point by Youden for {len(missing)} of 14 findings: fewer than" in brief
    assert "Not tested: 30 of 30 differences; " in brief
    for text in ("No operating point: ", "Not calibrated: ", "leave out that another"):
        assert text in verbose and text not in brief
    assert len(brief) < 0.6 * len(verbose)


def test_cautions_are_not_left_out(document, screen):
    other = {**document, "synthetic": True}
    other["overlap"] = {**document["overlap"], "training_images": 3}
    said = " ".join(screen(other, 80).out.split())
    assert "Synthetic radiographs: nothing here says anything about patients." in said
    assert "3 are training images" in said
    scarce = sum(0 < one["positive_patients"] < 10 for one in document["findings"].values())
    assert scarce > 5 and f"and {scarce - 5} more: intervals of these findings are" in said


def test_the_next_step_writes_a_report_and_after_it_the_metrics(
    deepchest, run, shards, tmp_path, monkeypatch, no_rendering
):
    monkeypatch.chdir(tmp_path)
    words = ("evaluate", "--model", run, "--data", shards, *FAST, "--out", tmp_path / "a.json")
    for expected in ({"--report", "reports/run"}, {"--format", "csv", ">", "metrics.csv"}):
        outcome = deepchest(*words)
        assert outcome.code == 0, outcome.err
        program, *words = next_step(outcome.err)
        assert program == "deepchest" and expected <= set(words)
    assert (tmp_path / "reports/run/report.html").is_file()
    assert deepchest(*words[:-2]).out.startswith("finding,")


def test_after_a_report_an_image_is_predicted_where_one_is_known(
    deepchest, run, shards, nih_folder, tmp_path, monkeypatch, no_rendering
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "nih").symlink_to(nih_folder)
    words = ("evaluate", "--model", run, "--data", shards, *FAST, "--report", "mine")
    _, *words = next_step(deepchest(*words).err)
    assert words == ["predict", "data/nih/images/00000004_000.png", "--model", str(run)]
    assert deepchest(*words).code == 0
