"""How results are drawn, and shown in a notebook."""

import io
import pickle
import re
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageChops
from site_data import prepare_site, write_site

import deepchest_cli
from deepchest_cli.errors import UsageError
from deepchest_cli.library.notebook import recorder, table_text, titled_table
from deepchest_cli.library.prediction import Predictions
from deepchest_cli.prediction.image_prediction import ImagePrediction

QUICK = {"bootstrap_replicates": 20, "store": False}  # the run is shared by all tests
SHORT = {"backbone": "small_cnn", "epochs": 1, "batch_size": 16, "precision": "fp32"}


def is_figure(figure):
    """Whether a figure has axes, and is the same picture where Jupyter would crop it."""
    whole, cropped = Image.open(io.BytesIO(figure._repr_png_())), io.BytesIO()
    figure.savefig(cropped, format="png", bbox_inches="tight")
    return bool(figure.axes) and ImageChops.difference(whole, Image.open(cropped)).getbbox() is None


def test_a_run(trained):
    run = deepchest_cli.load_run(trained)
    for chart in ("metrics", "weights"):
        figure = run.plot(chart)
        assert is_figure(figure)
    html = run._repr_html_()
    assert f"best epoch {run.best_epoch}, AUROC {run.auroc:.4f}" in html
    assert "validation_auroc" in html
    assert str(run) == str(trained)
    assert deepchest_cli.load_run(run).folder == run.folder  # wherever a folder can be named
    with pytest.raises(UsageError, match="Unknown plot 'metric'. Did you mean 'metrics'"):
        run.plot("metric")
    with pytest.raises(UsageError, match="has no plot of sources"):
        run.plot("sources")


def test_an_evaluation(trained, shards, tmp_path):
    found = deepchest_cli.load_run(trained).evaluate(data=shards, **QUICK)
    for chart in ("roc", "precision-recall", "reliability"):
        assert is_figure(found.plot(chart))
    with pytest.raises(UsageError, match="Unknown table 'subgroup'. Did you mean 'subgroups'"):
        found.table("subgroup")
    assert found.table("calibration")["finding"].iloc[0] == "Atelectasis"
    assert "Evaluation on the test split" in found._repr_html_()
    assert "20 radiographs were scored" in repr(found)
    assert "Atelectasis" in repr(found)
    assert "sha256" not in repr(found)  # of the document, which is long
    site = prepare_site(write_site(tmp_path / "hospital"), tmp_path / "site", size=32)
    both = deepchest_cli.evaluate(trained, [shards, site], **QUICK)
    assert [len(one.findings) for one in both.data_sets] == [14, 3]
    assert both.macro.index.get_level_values("finding").tolist() == ["macro", "macro"]
    assert both.findings.index.names == ["data_set", "finding"]
    assert "Evaluation on 2 data sets<" in both._repr_html_()
    with pytest.raises(UsageError, match="Several data sets were evaluated"):
        both.plot()


def test_a_comparison(shards, tmp_path):
    found = deepchest_cli.compare(
        "equal,dwa", shards, out=tmp_path / "c", seeds=3, max_steps=2, cost_rounds=2,
        bootstrap_replicates=100, **SHORT,
    )  # fmt: skip
    for chart in ("differences", "findings", "cost"):
        assert is_figure(found.plot(chart))
    assert f"Comparison {found.folder}" in found._repr_html_()
    assert repr(found).startswith(f"Comparison {found.folder}\nOn ")
    assert deepchest_cli.load_comparison(found).folder == found.folder
    assert found.table("costs")["weighter"].tolist() == ["equal", "dwa"]
    with pytest.raises(UsageError, match="Unknown table 'cost'"):
        found.table("cost")


def test_predictions(trained, nih_folder):
    """Without operating points, flags are missing: no finding was found to be absent."""
    image = next((nih_folder / "images").glob("*.png"))
    found = deepchest_cli.predict([image], trained)
    assert found.thresholds.isna().all(axis=None)
    assert found.flagged.isna().all(axis=None)
    assert any("never flagged" in text or "nothing is flagged" in text for text in found.warnings)
    assert not any("--verbose" in text for text in found.warnings)
    assert repr(found).startswith("Predictions of 1 radiograph; for research")


def test_a_data_set(shards):
    found = deepchest_cli.load_dataset(shards)
    assert "80 radiographs of 32 px" in found._repr_html_()
    assert found.counts.loc["Effusion"].sum() == (found.table["Effusion"] == 1).sum()
    assert deepchest_cli.load_dataset(found).folder == shards


def test_names_are_no_markup():
    html = titled_table("<b>", pd.DataFrame({"<i>": [1.0]}), ["<script>"])
    assert "<b>" not in html
    assert "<i>" not in html
    assert "<script>" not in html


def test_a_bar_in_a_notebook_moves_and_goes(monkeypatch):
    shown = []
    handle = SimpleNamespace(update=lambda html: shown.append(html._repr_html_()))

    def display(html, display_id):
        shown.append(html._repr_html_())
        return handle

    kernel = SimpleNamespace(kernel=object())
    ipython = SimpleNamespace(get_ipython=lambda: kernel, display=SimpleNamespace(display=display))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    with recorder(True).progress("Training <a>") as move:
        move(3, 12)
    assert shown[0] == "Training &lt;a&gt;"
    assert '<progress value="3" max="12">' in shown[1]
    assert shown[-1] == ""


def test_whole_numbers_have_no_digits_behind_the_point():
    table = pd.DataFrame({"positives": [12.0, float("nan")], "auroc": [0.5, 1.0]})
    cells = re.findall("<td>(.*?)</td>", titled_table("", table))
    assert cells == ["12", "0.5000", "–", "1.0000"]
    nothing = pd.DataFrame({"estimate": [0.0, float("nan")]})
    assert re.findall("<td>(.*?)</td>", titled_table("", nothing)) == ["0.0000", "–"]


def test_a_run_is_read_as_it_is_now_and_by_data_set(tmp_path):
    (tmp_path / "config.toml").write_text("epochs = 2\n")
    run = deepchest_cli.load_run(tmp_path)
    assert (len(run.history), len(run.sources), run.best_epoch) == (0, 0, None)
    (tmp_path / "metrics.csv").write_text(
        "epoch,source,step,best,validation_auroc\n"
        "1,all,4,1,0.1\n1,north,4,1,0.3\n1,south,4,1,\n"
        "2,all,8,0,0.7\n2,north,8,0,0.5\n2,south,8,0,0.9\n"
    )
    assert run.history["validation_auroc"].tolist() == [0.1, 0.7]
    assert (run.best_epoch, run.auroc) == (1, 0.1)
    assert run.sources.index.names == ["source", "epoch"]
    assert run.sources.loc["north", "validation_auroc"].tolist() == [0.3, 0.5]
    assert run.sources.loc["south", "validation_auroc"].isna().tolist() == [True, False]
    assert run.sources.loc[("all", 2), "step"] == 8


def test_in_a_console_many_predictions_are_a_few_lines():
    answers = (ImagePrediction(path="image.png"),) * 1000
    assert len(repr(Predictions(answers, ("Mass",), {}))) < 5000


def test_a_table_as_text_has_all_columns():
    table = pd.DataFrame({f"column {number}": [number + 0.12341] for number in range(30)})
    text = table_text(table.assign(positives=12.0))
    assert all(f"column {number}" in text for number in range(30))
    assert "29.1234" in text
    assert text.split()[-1] == "12"


def test_results_go_to_another_process(trained, shards, tmp_path, monkeypatch):
    found = deepchest_cli.load_run(trained).evaluate(data=shards, **QUICK)
    dataset = deepchest_cli.load_dataset(shards)
    sent = pickle.dumps((found, dataset))
    monkeypatch.chdir(tmp_path)
    other, data = pickle.loads(sent)
    assert other.findings.equals(found.findings)
    assert other.predictions.equals(found.predictions)
    assert np.array_equal(data.images([3, 1]), dataset.images([3, 1]))


def test_images_are_chosen_by_number_or_by_a_condition(shards):
    dataset = deepchest_cli.load_dataset(shards)
    condition = dataset.table["split"] == "validation"
    rows = np.flatnonzero(condition)
    assert 1 < len(rows) < len(dataset)
    assert np.array_equal(dataset.images(condition), dataset.images(iter(rows)))
    assert dataset.images([]).shape == (0, dataset.opened.size, dataset.opened.size)
    for wrong in ([len(dataset)], [-len(dataset) - 1], [0.5], ["0"], [True], [[1]]):
        with pytest.raises(UsageError, match="80 rows, and rows should be their numbers"):
            dataset.images(wrong)
