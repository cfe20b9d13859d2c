"""What a finding is a task of: of all data sets together, or of each that labels it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests_support import QUICK

from deepchest_cli.config import TrainConfig
from deepchest_cli.data.batches import batches
from deepchest_cli.data.merging import open_datasets
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.metrics import auroc
from deepchest_cli.evaluation.predictions import predict_rows
from deepchest_cli.training.components import build_components
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.run_directory import create_run
from deepchest_cli.training.step import TrainingStep
from deepchest_cli.training.tasks import choose_tasks
from deepchest_cli.training.validation import validate
from deepchest_cli.weighting.losses import cross_entropy

SHARED = ("Effusion", "Mass", "Nodule")  # labeled in both data sets
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def mixed(shards, site_shards):
    return open_datasets([str(shards), str(site_shards)])


@pytest.fixture
def config(shards, site_shards, tmp_path):
    small = {"backbone": "small_cnn", "image_size": 28, "augment": "none", "precision": "fp32"}
    data = (str(shards), str(site_shards))
    return TrainConfig(data=data, out=tmp_path / "run", **QUICK | small)


@pytest.fixture
def by_source(config):
    return replace(config, tasks="finding-by-source")


def test_a_task_has_the_labels_of_its_own_data_set(by_source, mixed):
    tasks = choose_tasks(by_source, mixed, CPU)
    assert len(tasks.names) == 18
    assert [n for n in tasks.names if n.startswith("Mass")] == ["Mass (shards)", "Mass (site)"]
    assert sum("Fracture" in name for name in tasks.names) == 1
    labels, known = tasks.labels(mixed)
    for number, name in enumerate(tasks.names):
        finding, _, source = name.removesuffix(")").rpartition(" (")
        own = mixed.member == ["shards", "site"].index(source)
        column = mixed.findings.index(finding)
        assert np.array_equal(known[own, number], mixed.known[own, column])
        assert not known[~own, number].any()
        some = known[:, number] > 0
        assert np.array_equal(labels[some, number], mixed.labels[some, column])


def test_values_of_findings_expand_to_tasks_and_pool_again(by_source, mixed):
    tasks = choose_tasks(by_source, mixed, CPU)
    values = torch.rand(2, 5, len(mixed.findings))
    expanded = tasks.expand(values)
    assert torch.equal(expanded, values[..., tasks.finding])
    tasks_of = torch.from_numpy(np.bincount(tasks.finding))
    assert torch.allclose(tasks.pooled(expanded), values * tasks_of)


def first_gradients(components):
    """Return the losses of a run's first step, the gradients that it leaves, and its batch."""
    step = TrainingStep(components)
    rows = components.sampling.order(0, 0)
    batch = next(batches(components.reader, rows, components.config.batch_size))
    result = step(batch, 0)
    named = components.classifier.named_parameters()
    return result, {name: p.grad.clone() for name, p in named}, rows[: components.config.batch_size]


@pytest.mark.parametrize("head", ["linear", "mlp", "cross-stitch"])
def test_where_one_source_labels_each_finding_both_give_the_same_gradients(
    config, by_source, mixed, head
):
    known = mixed.known.copy()
    for finding in SHARED:
        known[mixed.member == 1, mixed.findings.index(finding)] = 0
    data = replace(mixed, known=known)
    found = [
        first_gradients(build_components(replace(one, head=head, weighter="equal"), dataset=data))
        for one in (config, by_source)
    ]
    assert found[0][0].losses.values.sum() > 1
    for name, expected in found[0][1].items():
        assert torch.allclose(found[1][1][name], expected, rtol=1e-5, atol=1e-7), name


def test_else_a_finding_has_the_sum_of_its_means_over_sources(config, by_source):
    pooled, own = (build_components(replace(c, weighter="equal")) for c in (config, by_source))
    whole, _, rows = first_gradients(pooled)
    parts, found, same_rows = first_gradients(own)
    assert np.array_equal(rows, same_rows)
    dataset = own.dataset
    means = []
    for name in own.tasks.names:
        finding, _, source = name.removesuffix(")").rpartition(" (")
        column = dataset.findings.index(finding)
        there = dataset.known[rows, column] > 0
        there &= dataset.member[rows] == ["shards", "site"].index(source)
        labels = torch.from_numpy(dataset.labels[rows, column].astype(np.float32))
        each = cross_entropy(whole.logits[:, column], labels)[torch.from_numpy(there)]
        means.append(each.mean() if len(each) else torch.zeros(()))
    assert torch.allclose(parts.losses.values, torch.stack(means), atol=1e-6)
    # the head's bias has the gradient of the sum of a finding's means
    again = build_components(replace(by_source, weighter="equal"))
    logits = whole.logits.clone().requires_grad_()
    reader = again.reader
    labels, known = reader.labels[torch.from_numpy(rows)], reader.known[torch.from_numpy(rows)]
    each = cross_entropy(logits[:, own.tasks.finding], labels) * known
    (each.sum(0) / known.sum(0).clamp(min=1)).sum().backward()
    assert torch.allclose(found["head.bias"], logits.grad.sum(0), atol=1e-6)


def test_what_a_labels_loss_is_does_not_depend_on_tasks(config, by_source):
    rare = {"pos_weight_power": 0.5, "logit_adjustment": 1.0, "source_sampling": ("balanced",)}
    whole, parts = (build_components(replace(c, **rare)) for c in (config, by_source))
    columns = parts.tasks.finding
    for name in ("pos_weight", "log_odds"):
        expected = getattr(whole.label_loss, name)[columns]
        assert torch.equal(getattr(parts.label_loss, name), expected)
    assert len(set(whole.label_loss.pos_weight.tolist())) > 5


@pytest.mark.parametrize("sampling", [("natural",), ("balanced",), ("site=3",)])
def test_weighters_know_the_prevalence_of_a_task_in_an_epoch(by_source, sampling):
    config = replace(by_source, source_sampling=sampling, weighter="prevalence")
    components = build_components(config)
    dataset, rows = components.dataset, components.training_rows
    draws = components.sampling.expected_draws(rows)
    shares = []
    for column, member in zip(components.tasks.finding, components.tasks.member, strict=True):
        there = (dataset.known[rows, column] > 0) & (dataset.member[rows] == member)
        shares.append(draws[there & (dataset.labels[rows, column] > 0)].sum() / draws[there].sum())
    weights = components.weighter.weights
    found = torch.tensor(shares) > 0
    assert 14 < found.sum() < 18  # a rare finding of the site has no positive there
    products = weights[found] * torch.tensor(shares)[found]  # one over prevalence, scaled
    assert torch.allclose(products, products[0].expand(len(products)), rtol=1e-6)


def test_prevalence_of_a_finding_follows_the_sampling(config):
    found = []
    for sampling in (("natural",), ("site=3",)):
        built = build_components(replace(config, source_sampling=sampling, weighter="prevalence"))
        rows = built.training_rows
        draws = built.sampling.expected_draws(rows)
        column = built.dataset.findings.index("Mass")
        known = built.dataset.known[rows, column] > 0
        positive = known & (built.dataset.labels[rows, column] > 0)
        share = draws[positive].sum() / draws[known].sum()
        found.append((share, float(built.weighter.weights[column])))
    assert found[1][0] > 1.2 * found[0][0]  # more often seen where Mass is common


class Recorded:
    """A weighter's end of an epoch, with what it was given."""

    def __init__(self, weighter):
        self.end, self.given = weighter.end_epoch, []

    def __call__(self, performance):
        self.given.append(performance)
        return self.end(performance)


def test_signals_are_those_of_a_finding_in_a_source(by_source):
    config = replace(by_source, weighter="deepchest", max_steps=3, epochs=1)
    components = build_components(config)
    recorded = components.weighter.end_epoch = Recorded(components.weighter)
    logits, seen = [], []
    trainer = Trainer(components, create_run(components.config))
    inner = trainer.training_step

    def step(batch, number):
        result = inner(batch, number)
        logits.append(result.logits)
        return result

    trainer.training_step = step
    trainer.fit()
    (performance,) = recorded.given
    dataset = components.dataset
    rows = components.sampling.order(0, 0)[: 3 * config.batch_size]
    seen = torch.cat(logits).numpy()
    held_out = components.validation_rows
    predictions = predict_rows(components.classifier, components.reader, held_out, 16)
    tasks = enumerate(zip(components.tasks.finding, components.tasks.member, strict=True))
    for number, (column, member) in tasks:
        there = (dataset.known[rows, column] > 0) & (dataset.member[rows] == member)
        right = (seen[there, number] > 0) == (dataset.labels[rows, column][there] > 0)
        assert float(performance.training["accuracy"][number]) == pytest.approx(right.mean())
        there = (dataset.known[held_out, column] > 0) & (dataset.member[held_out] == member)
        labels = dataset.labels[held_out, column][there]
        patients = dataset.columns["patient_id"][held_out][there]
        counts = [len(set(patients[labels == kind])) for kind in (1, 0)]
        found = performance.patients["validation"]
        assert [found.positive[number], found.negative[number]] == counts
        assert found.known[number] == len(set(patients))
        if min(counts):
            expected = auroc(labels, predictions.probabilities[there, column])
            assert float(performance.validation["auroc"][number]) == pytest.approx(expected)


def test_the_score_is_the_mean_over_sources_and_pooled_metrics_are_of_all(config, mixed):
    components = build_components(config)
    rows = components.validation_rows
    predictions = predict_rows(components.classifier, components.reader, rows, 16)
    found = validate(mixed, components.tasks, predictions)
    assert list(found.sources) == ["shards", "site"]
    macros = []
    for number in (0, 1):
        own = mixed.member[rows] == number
        values = []
        for column in range(len(mixed.findings)):
            there = own & (mixed.known[rows, column] > 0)
            labels = mixed.labels[rows, column][there]
            if 0 < labels.sum() < len(labels):
                values.append(auroc(labels, predictions.probabilities[there, column]))
        macros.append(np.mean(values))
        name = mixed.members[number].name
        assert np.nanmean(found.sources[name]["auroc"]) == pytest.approx(macros[-1])
    assert found.score == pytest.approx(np.mean(macros))
    assert found.criterion == "validation AUROC, mean of 2 data sets"
    column = mixed.findings.index("Effusion")
    assert mixed.known[rows, column].all()
    expected = auroc(mixed.labels[rows, column], predictions.probabilities[:, column])
    assert float(found.pooled["auroc"][column]) == pytest.approx(expected)
    assert expected != pytest.approx(float(found.sources["site"]["auroc"][column]))


@pytest.mark.parametrize(("weighter", "level"), [
    ("deepchest", "features"), ("famo", "features"), ("deepchest+upgrad", "features"),
    ("gradnorm", "features"), ("pcgrad", "parameters"),
])  # fmt: skip
def test_a_run_by_source_has_a_weight_for_each_task(by_source, weighter, level, recorder):
    config = replace(by_source, weighter=weighter, gradient_level=level, max_steps=4)
    components = build_components(config)
    Trainer(components, create_run(components.config), recorder).fit()
    report = recorder.epochs[-1]
    assert len(report.weights) == len(components.tasks.names) == 18
    assert len(report.training["loss"]) == len(report.validation["auroc"]) == 15
    assert report.training["loss"].isfinite().all()
    assert list(report.sources) == ["shards", "site"]
    header = (config.out / "weights.csv").read_text().splitlines()[0]
    assert header.split(",") == ["epoch", *components.tasks.names]


def test_findings_by_source_that_are_the_findings_are_refused(by_source, shards, mixed):
    with pytest.raises(UsageError, match="would be the same as --tasks finding: there is one data"):
        build_components(replace(by_source, data=(str(shards),)))
    own = {name: name for name in mixed.findings if name not in SHARED}
    with pytest.raises(UsageError, match="no finding is labeled in two of them"):
        build_components(by_source, dataset=mixed.of_findings(own))
