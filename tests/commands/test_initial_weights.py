"""What `--weights` begins from, in a run and in a comparison."""

import pytest
import torch
import torchvision
from tests_support import rows_of, untimed

from deepchest_cli.config import CompareConfig, TrainConfig
from deepchest_cli.model.backbones.registry import describe_backbone, source_of
from deepchest_cli.training.resume import saved_config

NAME = "shufflenet_v2_x0_5"  # small, and without ImageNet's layer of it smaller still
SHORT = ("--backbone", NAME, "--batch-size", 16, "--max-steps", 2)


@pytest.fixture
def cached(monkeypatch, tmp_path):
    """Put weights where torchvision keeps what it has fetched; return the file."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    url = source_of(NAME).published(describe_backbone(NAME, 32)).url
    file = tmp_path / "torch" / "hub" / "checkpoints" / url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    torch.manual_seed(5)
    torch.save(torchvision.models.get_model(NAME, weights=None).state_dict(), file)
    return file


def test_without_a_network_a_run_begins_with_one_warning(deepchest, shards, tmp_path):
    outcome = deepchest("train", "--data", shards, "--out", tmp_path / "run", *SHORT)
    assert outcome.code == 0, outcome.err
    warnings = [line for line in outcome.err.splitlines() if line.startswith("Warning")]
    assert len(warnings) == 1
    assert f"{NAME} begins from random weights" in warnings[0]
    saved = saved_config(tmp_path / "run", TrainConfig)
    assert (saved.weights, saved.weights_sha256) == ("none", None)


def test_without_a_network_imagenet_is_an_error_and_leaves_nothing(deepchest, shards, tmp_path):
    flags = ("--weights", "imagenet", *SHORT)
    outcome = deepchest("train", "--data", shards, "--out", tmp_path / "run", *flags)
    assert outcome.code == 1
    assert "could not be fetched" in outcome.err
    assert not (tmp_path / "run").exists()


def test_cached_weights_are_taken_and_recorded(deepchest, shards, tmp_path, cached, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for word, out in (("auto", "a"), ("imagenet", "b")):
        flags = ("--weights", word, *SHORT)
        outcome = deepchest("train", "--data", shards, "--out", out, *flags)
        assert outcome.code == 0, outcome.err
        assert "Warning" not in outcome.err
    saved = saved_config(tmp_path / "a", TrainConfig)
    assert saved.weights == "imagenet"
    assert len(saved.weights_sha256) == 64
    assert (tmp_path / "a/config.toml").read_text() == (tmp_path / "b/config.toml").read_text()
    assert untimed(tmp_path / "a/metrics.csv") == untimed(tmp_path / "b/metrics.csv")
    origin = torch.load(tmp_path / "a/best.pt")["origin"]["config"]
    assert origin["weights_sha256"] == saved.weights_sha256
    cached.unlink()  # a run that goes on needs them no more
    assert deepchest("train", "--resume", "a").code == 0


def test_a_comparison_makes_one_choice_for_all_its_runs(deepchest, shards, tmp_path, cached):
    flags = ("--weighters", "equal,deepchest", "--bootstrap-replicates", 100, "--cost-rounds", 2)
    where = ("--data", shards, "--out", tmp_path / "c")
    outcome = deepchest("compare-weighters", *where, *SHORT, *flags, "--seeds", 1)
    assert outcome.code == 0, outcome.err
    common = saved_config(tmp_path / "c", CompareConfig)
    runs = [saved_config(path.parent, TrainConfig) for path in tmp_path.glob("c/*/**/config.toml")]
    assert len(runs) == 2
    assert {(run.weights, run.weights_sha256) for run in (common, *runs)} == {
        ("imagenet", common.weights_sha256)
    }
    torch.save({k: v + 1 for k, v in torch.load(cached).items()}, cached)
    outcome = deepchest("compare-weighters", "--resume", tmp_path / "c", "--seeds", 2)
    assert outcome.code == 2
    assert "not hold the weights that this run or comparison began with" in outcome.err


def test_a_comparison_without_a_network_warns_once(deepchest, shards, tmp_path):
    flags = ("--weighters", "equal,deepchest", "--bootstrap-replicates", 100, "--cost-rounds", 2)
    where = ("--data", shards, "--out", tmp_path / "c")
    outcome = deepchest("compare-weighters", *where, *SHORT, *flags, "--seeds", 1)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("begins from random weights") == 1
    assert saved_config(tmp_path / "c", CompareConfig).weights == "none"


def test_the_head_of_a_run_is_taken_over_by_name(deepchest, shards, tmp_path):
    flags = ("--backbone", "small_cnn", "--batch-size", 16, "--epochs", 2, "--learning-rate", 1e-3)
    assert deepchest("train", "--data", shards, "--out", tmp_path / "a", *flags).code == 0
    flags = (*flags[:-3], 1, "--learning-rate", 0, "--weights", tmp_path / "a")
    outcome = deepchest("train", "--data", shards, "--out", tmp_path / "b", *flags)
    assert outcome.code == 0, outcome.err
    assert "with the head's for all of 14 findings" in outcome.err
    best = max(rows_of(tmp_path / "a/metrics.csv"), key=lambda row: float(row["validation_auroc"]))
    (begun,) = rows_of(tmp_path / "b/metrics.csv")
    assert float(begun["validation_auroc"]) == pytest.approx(
        float(best["validation_auroc"]), abs=1e-6
    )
    saved = saved_config(tmp_path / "b", TrainConfig)
    assert saved.weights == str(tmp_path / "a" / "best.pt")
