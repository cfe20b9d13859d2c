import shutil
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from killing import KilledError, assert_equal_runs, killed_at
from sklearn.linear_model import LogisticRegression
from tests_support import rows_of, untimed

from deepchest_cli.config import PrepareConfig, TrainConfig
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.data.preparation import plan_preparation, run_preparation
from deepchest_cli.data.reader import ImageReader
from deepchest_cli.errors import DivergedError, InterruptedRunError, UsageError
from deepchest_cli.evaluation.metrics import auroc, macro, per_finding
from deepchest_cli.evaluation.predictions import predict_rows
from deepchest_cli.model.checkpoint import BEST, LAST, load_model
from deepchest_cli.model.heads import HEADS, build_head
from deepchest_cli.training import feature_cache, probe
from deepchest_cli.training.atypicality import reference_statistics
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.probe import ProbeTrainer, build_probe
from deepchest_cli.training.probe_heads import RATE_FACTORS, ProbeHeads
from deepchest_cli.training.progress import Observer
from deepchest_cli.training.run_directory import create_run

SMALL = {
    "backbone": "small_cnn",
    "weights": "none",
    "image_size": 28,
    "linear_probe": True,
    "optimizer": "sgd",
    "learning_rate": 1e-2,
    "batch_size": 16,
    "epochs": 3,
    "warmup_steps": 0,
    "patience": 0,
    "weighter": "equal",
}


@pytest.fixture
def config(shards, tmp_path):
    return TrainConfig(data=(str(shards),), out=tmp_path / "run", **SMALL)


@pytest.fixture
def features(tmp_path):
    """The folder that keeps features."""
    return tmp_path / "features"


def trainer_of(config, features, *observers):
    components = build_probe(config)
    return ProbeTrainer(components, create_run(components.config), features, *observers)


def fit(config, features, *observers):
    return trainer_of(config, features, *observers).fit()


def resume(config, features, *observers):
    """Go on as the command does."""
    components = build_probe(config, resumed=(config.out / LAST).is_file())
    trainer = ProbeTrainer(components, config.out, features, *observers)
    trainer.resume()
    return trainer.fit()


class Listener(Observer):
    """An observer that remembers, and that may send a signal."""

    def __init__(self, stop_at=None):
        self.stop_at, self.notes, self.epochs, self.computed = stop_at, [], [], []

    def on_features(self, done, total):
        self.computed.append((done, total))
        if done == self.stop_at:
            signal.raise_signal(signal.SIGTERM)

    def on_epoch(self, report):
        self.epochs.append(report)

    def on_note(self, text):
        self.notes.append(text)

    def on_warning(self, text):
        self.notes.append(text)


def test_a_probe_leaves_an_ordinary_run_whose_model_scores_as_its_table_says(config, features):
    summary = fit(config, features)
    assert {path.name for path in config.out.iterdir()} == {
        "config.toml",
        "environment.json",
        "metrics.csv",
        "weights.csv",
        "learning_rates.csv",
        BEST,
        LAST,
    }
    rows = rows_of(config.out / "metrics.csv")
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    best = rows[summary.best_epoch - 1]
    assert float(best["peak_learning_rate"]) == summary.learning_rate
    assert float(best["validation_auroc"]) == summary.best_score
    model, dataset = load_model(config.out, torch.device("cpu")), open_dataset(Path(config.data[0]))
    reader = ImageReader(dataset, torch.device("cpu"))
    predictions = predict_rows(model.classifier, reader, dataset.rows("validation"), 16)
    for metric in ("auroc", "loss", "f1"):
        found = macro(per_finding(metric, predictions))
        assert found == pytest.approx(float(best[f"validation_{metric}"]), abs=1e-5)
    assert model.origin["run"]["learning_rate"] == summary.learning_rate


def test_the_rates_are_those_of_dinov2_around_the_one_given(config, features):
    fit(replace(config, learning_rate=1e-3), features)
    rows = rows_of(config.out / "learning_rates.csv")
    assert len(rows) == 3 * len(RATE_FACTORS)
    found = [float(row["learning_rate"]) for row in rows[:13]]
    steps = [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1]
    assert found == pytest.approx(steps)
    best = max(float(row["validation_auroc"]) for row in rows)
    table = rows_of(config.out / "metrics.csv")
    assert max(float(row["validation_auroc"]) for row in table) == best


@pytest.mark.parametrize("weighter", ["deepchest", "deepchest+uncertainty", "famo", "rlw"])
def test_heads_at_other_rates_do_not_change_a_head(config, features, monkeypatch, weighter):
    config = replace(config, weighter=weighter)
    several = trainer_of(config, features)
    several.fit()
    monkeypatch.setattr(probe, "RATE_FACTORS", (2.0,))
    alone = trainer_of(replace(config, out=config.out.with_name("alone")), features)
    alone.fit()
    number = RATE_FACTORS.index(2.0)
    ours, theirs = several.heads.heads[number], alone.heads.heads[0]
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)
    assert not torch.allclose(ours.weight, several.heads.heads[0].weight, atol=1e-5)
    pairs = zip(
        several.components.weighter.copies[number].state_dict().values(),
        alone.components.weighter.copies[0].state_dict().values(),
        strict=True,
    )
    for one, other in pairs:
        if isinstance(one, torch.Tensor):
            assert torch.allclose(one, other, atol=1e-3)  # famo's Adam enlarges rounding


@pytest.mark.parametrize("name", HEADS)
def test_a_head_for_features_as_they_are_is_the_head_for_centered_ones(name):
    torch.manual_seed(0)
    heads = ProbeHeads(build_head(name, 6, 3), (0.1, 1.0))
    heads.mean.copy_(torch.arange(6.0))
    with torch.no_grad():
        for parameter in heads.heads[1].parameters():
            parameter.add_(torch.randn_like(parameter))
        x = torch.randn(5, 6)
        assert torch.allclose(heads.head(1)(x), heads(x)[1][:, 1], rtol=1e-4, atol=1e-4)
        assert heads(x)[1].shape == (5, 2, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"loss": "focal"},
        {"loss": "asymmetric", "pos_weight_power": 0.5},
        {"logit_adjustment": 1.0, "sampling": "balanced"},
        {"optimizer": "adamw", "head": "mlp", "schedule": "constant"},
        {"optimizer": "rmsprop", "head": "cross-stitch", "max_steps": 5},
        {"weighter": "deepchest", "weighter_option": ("signal=auroc", "split=validation")},
        {"weighter": "deepchest", "weighter_option": ("every=2", "signal=loss")},
        {"weighter": "dwa"},
        {"precision": "bf16"},
        {"cache": "device"},
    ],
)
def test_losses_weighters_heads_and_optimizers_are_those_of_any_run(config, features, change):
    listener = Listener()
    summary = fit(replace(config, **change), features, listener)
    assert summary.steps == change.get("max_steps", 9)
    assert all(np.isfinite(report.macro("validation", "auroc")) for report in listener.epochs)
    load_model(config.out, torch.device("cpu"))


def test_training_statistics_are_those_of_the_images(config, features):
    for head in ("linear", "mlp"):
        run = replace(config, out=config.out.with_name(head), head=head)
        trainer = trainer_of(run, features)
        trainer.fit()
        model = load_model(run.out, torch.device("cpu"))
        images = ImageReader(trainer.components.dataset, torch.device("cpu"))
        usual = replace(trainer.components, heads=None, reader=images)
        expected = reference_statistics(usual, model.classifier).to_plain()
        assert model.reference.keys() == expected.keys()
        for name, value in expected.items():
            if isinstance(value, np.ndarray | float):
                found = np.abs(np.asarray(model.reference[name]))  # directions have no sign
                assert np.allclose(found, np.abs(value), rtol=1e-3, atol=1e-3), name


def test_features_are_computed_once_whatever_is_trained_on_them(config, features):
    first, second = Listener(), Listener()
    fit(config, features, first)
    assert first.computed[-1] == (60, 60)  # training and validation; the test split never
    assert "computed once, without augmentation, and kept in" in first.notes[0]
    again = replace(config, out=config.out.with_name("again"), head="mlp", loss="focal")
    fit(again, features, second)
    assert not second.computed
    assert second.notes == [
        f"Features of 60 radiographs: taken from {next(features.iterdir())} (123 KB)."
    ]


def test_an_interrupted_computation_goes_on_after_what_is_complete(config, features, monkeypatch):
    monkeypatch.setattr(feature_cache, "BLOCK", 16)
    listener = Listener(stop_at=32)
    with pytest.raises(InterruptedRunError, match="what is complete is kept") as error:
        fit(config, features, listener)
    assert error.value.exit_code == 128 + signal.SIGTERM
    assert f"deepchest train --resume {config.out}" in error.value.hint
    assert len(list(features.rglob("*.npz"))) == 2
    listener = Listener()
    resume(config, features, listener)
    assert listener.computed == [(16, 28), (28, 28)]
    assert "; 32 are there already." in listener.notes[0]
    whole = replace(config, out=config.out.with_name("whole"))
    fit(whole, features.with_name("others"))
    assert_equal_runs(config.out, whole.out)


def test_a_probe_killed_at_any_write_resumes_to_the_same_bytes(config, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "BLOCK", 32)
    config = replace(config, weighter="deepchest", epochs=2)
    whole = replace(config, out=tmp_path / "whole")
    fit(whole, tmp_path / "features-of-whole")
    write, killed = 3, True  # after the folder's own two
    while killed:
        features = tmp_path / f"features-{write}"
        shutil.rmtree(config.out, ignore_errors=True)
        trainer = trainer_of(config, features)
        with killed_at(write - 2):
            try:
                trainer.fit()
                killed = False
            except KilledError:
                pass
        resume(config, features)
        assert_equal_runs(config.out, whole.out)
        table = config.out / "learning_rates.csv"
        assert table.read_bytes() == (whole.out / "learning_rates.csv").read_bytes()
        assert not list(features.rglob("*.tmp"))
        write += 1
    assert write > 10


def test_a_signal_between_two_steps_loses_nothing(config, features):
    class Stop(Observer):
        def on_step(self, report):
            if (report.epoch, report.step) == (2, 2):
                signal.raise_signal(signal.SIGINT)

    config = replace(config, weighter="deepchest")
    with pytest.raises(InterruptedRunError):
        fit(config, features, Stop())
    resume(config, features)
    whole = replace(config, out=config.out.with_name("whole"))
    fit(whole, features)
    assert_equal_runs(config.out, whole.out)


def test_a_head_that_diverges_does_not_disturb_the_others(config, features):
    summary = fit(replace(config, learning_rate=1.0, weight_decay=1.0, epochs=12), features)
    last = rows_of(config.out / "learning_rates.csv")[-len(RATE_FACTORS) :]
    assert last[-1]["validation_loss"] == ""
    assert last[0]["validation_loss"] != ""
    assert summary.learning_rate < 5


def test_when_all_heads_diverge_the_run_ends(config, features):
    with pytest.raises(DivergedError, match="not finite"):
        fit(replace(config, learning_rate=1e6, weight_decay=1.0, epochs=12), features)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"augment": "standard"}, "--augment standard makes no sense with --linear-probe"),
        ({"flip": True}, "--flip makes no sense"),
        ({"grad_accum_steps": 2}, "--grad-accum-steps makes no sense"),
        ({"compile": True}, "--compile makes no sense"),
        ({"ema": 0.9}, "--ema makes no sense"),
        ({"clip_grad_norm": 1.0}, "--clip-grad-norm makes no sense"),
        ({"sync_batchnorm": True}, "--sync-batchnorm makes no sense"),
        ({"gradient_level": "parameters", "weighter": "mgda"}, "--gradient-level parameters"),
        ({"weighter": "mgda"}, "'mgda' combines gradients of parameters that findings share"),
    ],
)
def test_what_a_probe_has_no_use_for_is_refused_with_the_reason(config, change, message):
    with pytest.raises(UsageError, match=message):
        build_probe(replace(config, **change))
    assert not config.out.exists()


def test_several_processes_and_a_missing_validation_split_are_refused(config):
    with pytest.raises(UsageError, match="trains in one process"):
        build_probe(config, SimpleNamespace(world_size=2))
    dataset = open_dataset(Path(config.data[0]))
    splits = np.where(dataset.columns["split"] == "validation", "train", dataset.columns["split"])
    without = replace(dataset, columns={**dataset.columns, "split": splits})
    with pytest.raises(UsageError, match="no labeled validation split"):
        build_probe(config, dataset=without)


def test_the_augmentation_is_none_by_default_and_recorded(config):
    assert build_probe(config).config.augment == "none"
    assert build_probe(replace(config, augment="none")).config.augment == "none"


def test_a_probe_repeats_to_the_last_digit(config, features):
    fit(config, features)
    again = replace(config, out=config.out.with_name("again"))
    fit(again, features.with_name("others"))
    assert untimed(again.out / "metrics.csv") == untimed(config.out / "metrics.csv")


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Six hundred small radiographs, whose pixels do not matter here."""
    from conftest import write_nih_folder

    root = tmp_path_factory.mktemp("many")
    source = write_nih_folder(root / "nih", patients=300, size=28)
    config = PrepareConfig(size="28", workers=1, validation_fraction=0.3)
    run_preparation(plan_preparation(config, source), config, root / "shards", lambda *_: None)
    return root / "shards"


def test_at_convergence_it_is_scikit_learns_logistic_regression(many, tmp_path, monkeypatch):
    """L2 in the loss: weight decay d is scikit-learn's C = 1 / (n d), n the training images."""
    dataset, chance = open_dataset(many), np.random.default_rng(0)
    directions = chance.normal(0, 0.07, (14, 512))
    # as a network's features are: far from zero on average
    table = 2 + dataset.labels @ directions + chance.normal(0, 0.5, (len(dataset.labels), 512))
    table = table.astype(np.float32)
    monkeypatch.setattr(
        feature_cache.FeatureCache, "load", lambda self, note, progress: table[self.rows]
    )
    settings = {**SMALL, "learning_rate": 1e-2, "weight_decay": 0.3, "batch_size": 32, "epochs": 40}
    config = TrainConfig(data=(str(many),), out=tmp_path / "run", **settings)
    trainer = trainer_of(config, tmp_path)
    trainer.fit()
    rows = {split: dataset.rows(split) for split in ("train", "validation")}
    number, penalty = RATE_FACTORS.index(2.0), 1 / (len(rows["train"]) * 0.3)
    head, differences = trainer.heads.head(number), []
    with torch.no_grad():
        ours = head(torch.from_numpy(table[rows["validation"]])).numpy().astype(np.float64)
    scores = np.empty_like(ours)
    for task in range(14):
        labels = dataset.labels[rows["train"], task]
        theirs = LogisticRegression(C=penalty, max_iter=1000).fit(table[rows["train"]], labels)
        scores[:, task] = theirs.decision_function(table[rows["validation"]])
        weights = head.weight.detach().numpy()[task]
        differences.append(np.linalg.norm(weights - theirs.coef_[0]) / np.linalg.norm(theirs.coef_))
    labels = dataset.labels[rows["validation"]]
    both = [
        np.mean([auroc(labels[:, t], each[:, t]) for t in range(14)]) for each in (ours, scores)
    ]
    assert 0.7 < both[1] < 0.95  # where a wrong penalty would show
    assert both[0] == pytest.approx(both[1], abs=0.005)
    assert np.median(differences) < 0.1


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "the lowest of those tried. Try others: --learning-rate 0.001"),
        (6, None),
        (12, "the highest of those tried. Try others: --learning-rate 0.1"),
    ],
)
def test_a_best_rate_at_the_end_of_those_tried_is_said(config, features, monkeypatch, number, said):
    trainer = trainer_of(config, features, listener := Listener())
    best = SimpleNamespace(learning_rate=trainer.heads.rates[number])
    monkeypatch.setattr(Trainer, "_fit", lambda self: best)
    trainer.fit()
    warned = [note for note in listener.notes if "best learning rate" in note]
    assert len(warned) == (said is not None)
    assert all(said in note for note in warned)
