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
from deepchest_cli.library.notebook import recorder, titled_table

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
    with pytest.raises(UsageError, match="Unknown chart 'metric'. Did you mean 'metrics'"):
        run.plot("metric")
    with pytest.raises(UsageError, match="has no chart of sources"):
        run.plot("sources")


def test_an_evaluation(trained, shards, tmp_path):
    found = deepchest_cli.load_run(trained).evaluate(data=shards, **QUICK)
    for chart in ("roc", "precision-recall", "reliability"):
        assert is_figure(found.plot(chart))
    with pytest.raises(UsageError, match="Unknown table 'subgroup'. Did you mean 'subgroups'"):
        found.table("subgroup")
    assert found.table("calibration")["finding"].iloc[0] == "Atelectasis"
    assert "Evaluation on the test split" in found._repr_html_()
    site = prepare_site(write_site(tmp_path / "hospital"), tmp_path / "site", size=32)
    both = deepchest_cli.evaluate(trained, [shards, site], **QUICK)
    assert [len(one.findings) for one in both.data_sets] == [14, 3]
    assert both.macro.index.get_level_values("finding").tolist() == ["macro", "macro"]
    assert both.findings.index.names == ["data_set", "finding"]
    assert both._repr_html_()
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
    assert deepchest_cli.load_comparison(found).folder == found.folder
    assert found.table("costs")["weighter"].tolist() == ["equal", "dwa"]
    with pytest.raises(UsageError, match="Unknown table 'cost'"):
        found.table("cost")


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
