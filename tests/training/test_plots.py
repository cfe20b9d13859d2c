"""The plots of a run; what can be checked without looking at them."""

import math
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.files import to_csv
from deepchest_cli.reporting.plots import COLORS, DPI, PAGE, POINTS
from deepchest_cli.training.plots import (
    draw_run,
    metrics_figure,
    read_columns,
    read_sources,
    sources_figure,
    weights_figure,
)

NAN = math.nan
WIDTH = round(PAGE / POINTS * DPI)  # pixels
MANY = tuple(f"Finding {i}" for i in range(60))


def metrics_of(epochs, findings=FINDINGS, best=1, auroc=lambda epoch, i: 0.6 + 0.01 * i):
    """Return rows as a run writes them."""
    rows = []
    for epoch in range(1, epochs + 1):
        scores = [auroc(epoch, i) for i in range(len(findings))]
        defined = [score for score in scores if not math.isnan(score)]
        rows.append(
            {
                "epoch": epoch,
                "step": epoch * 10,
                "best": int(epoch <= best),
                "training_loss": 0.3 / epoch,
                "validation_loss": 0.2 + 0.1 / epoch,
                "validation_auroc": np.mean(defined) if defined else NAN,
                **{f"validation_auroc/{f}": s for f, s in zip(findings, scores, strict=True)},
            }
        )
    return rows


def weights_of(epochs, findings=FINDINGS, weight=lambda epoch, i: 1.0):
    rows = [[weight(epoch, i) for i in range(len(findings))] for epoch in range(1, epochs + 1)]
    return [
        {"epoch": epoch, **dict(zip(findings, row, strict=True))}
        for epoch, row in enumerate(rows, start=1)
    ]


def columns_of(rows):
    return {name: np.array([row[name] for row in rows], dtype=float) for name in rows[0]}


def write(folder, metrics, weights=None):
    (folder / "metrics.csv").write_text(to_csv(list(metrics[0]), metrics))
    if weights:
        (folder / "weights.csv").write_text(to_csv(list(weights[0]), weights))
    return folder


def boxes_of(figure):
    """Return the labels of a figure and the pixels that they cover."""
    return {text.get_text(): text.get_window_extent() for text in figure.texts}


def size_and_ink_of(path):
    """Return an image's width and height and the share of its pixels that are not pale."""
    with Image.open(path) as image:
        return image.size, float((np.asarray(image.convert("L")) < 200).mean())


@pytest.mark.parametrize("epochs", [1, 2, 15, 100])
def test_both_plots_are_drawn_at_full_size(tmp_path, epochs):
    folder = write(tmp_path, metrics_of(epochs), weights_of(epochs))
    paths = draw_run(folder)
    assert paths == [folder / "metrics.png", folder / "weights.png"]
    for path in paths:
        size, ink = size_and_ink_of(path)
        assert size[0] == WIDTH
        assert 0.005 < ink < 0.2
    assert sorted(p.suffix for p in folder.iterdir()) == [".csv", ".csv", ".png", ".png"]


def test_a_run_as_it_is_written_can_be_drawn(trained, tmp_path):
    for name in ("metrics.csv", "weights.csv"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    assert len(draw_run(tmp_path)) == 2


def test_the_same_tables_give_the_same_plot_and_replace_the_old_one(tmp_path):
    draw_run(write(tmp_path, metrics_of(3)))
    first = (tmp_path / "metrics.png").read_bytes()
    draw_run(tmp_path)
    assert (tmp_path / "metrics.png").read_bytes() == first
    draw_run(write(tmp_path, metrics_of(4)))
    assert (tmp_path / "metrics.png").read_bytes() != first


def test_a_run_without_weights_has_one_plot(tmp_path):
    assert draw_run(write(tmp_path, metrics_of(2))) == [tmp_path / "metrics.png"]


def test_a_run_without_an_epoch_has_none(tmp_path):
    assert draw_run(tmp_path) == []


def test_empty_cells_are_undefined(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,a,b\n1,,0.5\n2,0.25,\n")
    columns = read_columns(tmp_path / "metrics.csv")
    assert columns["epoch"].tolist() == [1, 2]
    np.testing.assert_array_equal(columns["a"], [NAN, 0.25])
    np.testing.assert_array_equal(columns["b"], [0.5, NAN])


def sources_of(epochs, names=("a", "b"), best=1):
    """Return rows as a run on several data sets writes them; their AUROCs are 0.1 apart."""
    rows = []
    for row in metrics_of(epochs, best=best):
        rows.append({**row, "source": "all"})
        for number, name in enumerate(names):
            scores = {"validation_loss": 0.2 + number, "validation_auroc": 0.6 + 0.1 * number}
            rows.append({**dict.fromkeys(row), **scores, "epoch": row["epoch"], "source": name})
    return rows


def test_rows_are_told_apart_by_data_set(tmp_path):
    sources = read_sources(write(tmp_path, sources_of(2)) / "metrics.csv")
    assert list(sources) == ["all", "a", "b"]
    assert sources["b"]["validation_auroc"].tolist() == [0.7, 0.7]
    assert "source" not in sources["all"]
    together = read_columns(tmp_path / "metrics.csv")
    assert together["epoch"].tolist() == [1, 2]
    np.testing.assert_array_equal(together["training_loss"], [0.3, 0.15])


def test_several_data_sets_have_a_plot_of_their_own(tmp_path):
    folder = write(tmp_path, sources_of(3), weights_of(3))
    assert [path.name for path in draw_run(folder)] == ["metrics.png", "sources.png", "weights.png"]
    size, ink = size_and_ink_of(folder / "sources.png")
    assert size[0] == WIDTH
    assert 0.005 < ink < 0.2
    for several, ending in ((True, " of all images together"), (False, "")):
        figure = metrics_figure(read_columns(folder / "metrics.csv"), several)
        assert figure.axes[1].get_title(loc="left") == f"Validation AUROC{ending}"


def test_each_data_set_stands_beside_their_mean_and_all_images(tmp_path):
    rows = sources_of(3, best=2)
    rows[-1]["validation_auroc"] = None  # of the last data set in the last epoch
    figure = sources_figure(read_sources(write(tmp_path, rows) / "metrics.csv"))
    labels = [text.get_text() for text in figure.texts]
    assert labels[:4] == ["a 0.200", "b 1.20", "all images 0.233", "mean of data sets 0.700"]
    assert labels[4:] == ["a 0.600", "b 0.700", "all images 0.665", "mean of data sets 0.600"]
    for axes in figure.axes:
        assert [text.get_text() for text in axes.texts] == ["kept: epoch 2"]


@pytest.mark.parametrize("sites", [("a", "site-2"), tuple(f"site {i} (b)" for i in range(5))])
def test_tasks_of_each_data_set_have_a_chart_at_one_scale(sites):
    tasks = [f"{finding} ({site})" for finding in FINDINGS[:-1] for site in sites]
    rows = weights_of(4, [*tasks, f"Hernia ({sites[0]})"], lambda epoch, i: 0.2 + 0.1 * i)
    figure = weights_figure(columns_of(rows), sites)
    assert [len(axes.lines) - 1 for axes in figure.axes] == [14, *[13] * (len(sites) - 1)]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    for axes, site in zip(figure.axes, sites, strict=True):
        assert axes.get_title(loc="left") == f"Task weights of {site}"
    first, second = ([line.get_color() for line in axes.lines[1:]] for axes in figure.axes[:2])
    assert first[:13] == second  # a finding has one color
    boxes = [text.get_window_extent() for text in figure.texts]
    assert len(boxes) == len(tasks) + 1
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    assert all(box.x1 <= figure.bbox.width for box in boxes)


def test_findings_have_one_chart_whatever_the_number_of_data_sets():
    figure = weights_figure(columns_of(weights_of(3)), ("a", "b"))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Task weights"]


@pytest.mark.parametrize("findings", [FINDINGS[:1], FINDINGS, MANY])
def test_every_finding_and_the_mean_are_labeled_with_their_last_value(findings):
    figure = metrics_figure(columns_of(metrics_of(3, findings)))
    labels = set(boxes_of(figure))
    expected = {f"{finding} {0.6 + 0.01 * i:#.3g}" for i, finding in enumerate(findings)}
    assert expected < labels
    assert len(labels - expected) == 3
    assert any(label.startswith("mean ") for label in labels)


@pytest.mark.parametrize("findings", [FINDINGS, MANY])
@pytest.mark.parametrize("epochs", [1, 5])
def test_labels_never_overlap_and_stay_in_the_figure(findings, epochs):
    metrics = metrics_of(epochs, findings, auroc=lambda epoch, i: 0.7 + 0.0001 * i)
    figures = [metrics_figure(columns_of(metrics))]
    weights = weights_of(epochs, findings, lambda epoch, i: 1 + 0.05 * i)
    figures += [weights_figure(columns_of(weights))]
    for figure in figures:
        boxes = boxes_of(figure)
        assert len(boxes) >= len(findings)
        assert not [
            pair for pair in combinations(boxes, 2) if boxes[pair[0]].overlaps(boxes[pair[1]])
        ]
        assert all(box.x1 <= WIDTH for box in boxes.values())
        assert all(box.y0 >= 0 and box.y1 <= figure.bbox.height for box in boxes.values())


def test_before_each_label_stands_a_sample_of_its_line():
    figure = weights_figure(columns_of(weights_of(2, weight=lambda epoch, i: 1 + 0.1 * i)))
    samples = [line for line in figure.artists if line.get_marker() != "None"]
    drawn = [line for line in figure.axes[0].lines if line.get_marker() != "None"]
    assert len(samples) == len(drawn) == len(figure.texts) == 14
    for text, sample, line in zip(figure.texts, samples, drawn, strict=True):
        for name in ("color", "linestyle", "marker", "linewidth"):
            assert getattr(sample, f"get_{name}")() == getattr(line, f"get_{name}")()
        assert sample.get_window_extent().y1 > text.get_window_extent().y0
        assert sample.get_window_extent().x1 <= text.get_window_extent().x0 + 5
    assert len({(line.get_linestyle(), line.get_marker()) for line in drawn}) == 14


def test_long_names_are_shortened_and_signs_are_taken_as_they_are():
    names = ("cost in $ or $x_1$", "x" * 200)
    rows = weights_of(1, names, lambda epoch, i: 1.0 + i)
    labels = list(boxes_of(weights_figure(columns_of(rows))))
    assert labels[0] == "cost in $ or $x_1$ 1.00"
    assert len(labels[1]) <= 40
    assert "…" in labels[1]


def test_the_last_of_the_best_epochs_is_marked():
    figure = metrics_figure(columns_of(metrics_of(9, best=6)))
    for axes in figure.axes:
        assert [text.get_text() for text in axes.texts] == ["kept: epoch 6"]
        assert [6, 6] in [list(line.get_xdata()) for line in axes.lines]


def test_the_mean_is_black_and_twice_as_wide():
    figure = metrics_figure(columns_of(metrics_of(3)))
    widths = {line.get_color(): line.get_linewidth() for line in figure.axes[1].lines}
    assert widths["black"] == 2 * widths[COLORS[0]]


def test_a_finding_that_is_never_defined_is_said_to_be():
    rows = metrics_of(3, auroc=lambda epoch, i: NAN if i == 13 else 0.7)
    assert "Hernia –" in boxes_of(metrics_figure(columns_of(rows)))


def test_nothing_defined_at_all_is_still_a_plot(tmp_path):
    rows = metrics_of(2, auroc=lambda epoch, i: NAN)
    for row in rows:
        row |= {"best": 0, "training_loss": NAN, "validation_loss": NAN}
    paths = draw_run(write(tmp_path, rows, weights_of(2, weight=lambda epoch, i: NAN)))
    assert [size_and_ink_of(path)[0][0] for path in paths] == [WIDTH] * 2


def test_points_without_neighbors_are_drawn_as_points():
    rows = metrics_of(4, auroc=lambda epoch, i: 0.7 if i or epoch % 3 == 1 else NAN)
    lines = metrics_figure(columns_of(rows)).axes[1].lines
    assert {0, 3} <= set(lines[0].get_markevery()) and len(lines[0].get_markevery()) == 2
    assert lines[-2].get_markevery() == []  # the mean has neighbors and no marker


def test_one_epoch_is_drawn_as_points():
    for axes in metrics_figure(columns_of(metrics_of(1))).axes:
        assert all(line.get_markevery() == [0] for line in axes.lines if line.get_marker() == "o")
        assert [tick for tick in axes.get_xticks() if tick != round(tick)] == []


@pytest.mark.parametrize(
    ("low", "scale"), [(0.31, "linear"), (0.29, "log"), (0.0, "linear"), (-1.0, "linear")]
)
def test_the_scale_is_logarithmic_from_a_factor_of_five(low, scale):
    rows = weights_of(2, weight=lambda epoch, i: 1.5 if i else low)
    assert weights_figure(columns_of(rows)).axes[0].get_yscale() == scale


def test_one_is_marked_even_where_no_weight_is_near():
    axes = weights_figure(columns_of(weights_of(2, weight=lambda epoch, i: 5.0 + i))).axes[0]
    low, high = axes.get_ylim()
    assert low < 1 < high
    assert [1, 1] in [list(line.get_ydata()) for line in axes.lines]


def test_equal_weights_are_one_line_that_says_so():
    figure = weights_figure(columns_of(weights_of(3, weight=lambda epoch, i: 1.1**epoch)))
    assert len(figure.axes[0].lines) == 2  # and the level of one
    assert [text.get_text() for text in figure.texts] == ["all 14 findings 1.33"]


def test_some_equal_weights_are_named_together():
    rows = weights_of(3, weight=lambda epoch, i: 2.0 if i % 5 else 1.0)
    figure = weights_figure(columns_of(rows))
    texts = [text.get_text() for text in figure.texts]
    assert [text for text in texts if "findings" in text] == ["3 findings 1.00", "11 findings 2.00"]
    assert "  Atelectasis, Nodule, Emphysema" in texts


def test_lines_with_room_between_them_stand_at_their_values():
    rows = weights_of(3, weight=lambda epoch, i: 1 + 0.1 * i)
    axes = weights_figure(columns_of(rows)).axes[0]
    for i, line in enumerate(axes.lines[1:]):
        np.testing.assert_allclose(line.get_ydata(), 1 + 0.1 * i)


def test_weights_that_hardly_differ_are_not_drawn_as_if_they_did():
    rows = weights_of(3, weight=lambda epoch, i: 1 + 5e-5 * i)
    figure = weights_figure(columns_of(rows))
    assert [text.get_text() for text in figure.texts] == ["all 14 findings 1.00"]
