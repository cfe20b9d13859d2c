import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests_support import QUICK, untimed

from deepchest_cli.config import RECIPES, TrainConfig, find_recipe, read_toml, to_toml
from deepchest_cli.errors import UsageError
from deepchest_cli.training.resume import saved_config

RUN = ("--backbone", "small_cnn", "--batch-size", "16", "--max-steps", "1", "--json")


def as_config(name: str) -> TrainConfig:
    values = read_toml(find_recipe(name), TrainConfig)
    return replace(
        TrainConfig(), **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    )


def test_the_default_recipe_is_what_train_does_by_itself():
    assert as_config("default") == TrainConfig()


def test_the_papers_recipe_is_the_authors_setting():
    paper = as_config("paper")
    assert (paper.backbone, paper.head, paper.weighter) == ("resnet50", "mlp", "deepchest")
    assert (paper.image_size, paper.batch_size, paper.epochs) == (128, 128, 15)
    assert (paper.optimizer, paper.learning_rate, paper.schedule) == ("rmsprop", 1e-3, "constant")
    assert (paper.augment, paper.weight_decay, paper.warmup_steps) == ("paper", 0, 0)


def test_the_probes_recipe_has_dinov2s_rates_and_an_l2_penalty(deepchest, tmp_path, shards):
    recipe = as_config("probe")
    assert (recipe.linear_probe, recipe.head, recipe.augment) == (True, "linear", "none")
    assert (recipe.optimizer, recipe.learning_rate, recipe.schedule) == ("sgd", 1e-3, "cosine")
    assert (recipe.warmup_steps, recipe.patience, recipe.weighter) == (0, 0, "equal")
    arguments = ["--recipe", "probe", "--epochs", "1", "--image-size", 32, *RUN]
    outcome = deepchest("train", "--data", shards, "--out", tmp_path / "run", *arguments)
    assert outcome.code == 0, outcome.err
    assert saved_config(tmp_path / "run", TrainConfig).linear_probe


def test_a_recipe_of_a_probe_is_for_train_alone(deepchest, shards):
    outcome = deepchest("compare-weighters", "--data", shards, "--recipe", "probe")
    assert outcome.code == 2
    assert "of a linear probe, which train alone has" in outcome.err


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_of_ours_is_a_file_of_known_keys(name):
    assert read_toml(find_recipe(name), TrainConfig)


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(UsageError, match="Unknown recipe 'papr'. Did you mean 'paper'"):
        find_recipe("papr")


def test_precedence_is_command_line_over_file_over_recipe_over_default(deepchest, tmp_path, shards):
    recipe, file = tmp_path / "mine.toml", tmp_path / "file.toml"
    recipe.write_text('epochs = 3\nseed = 7\nwarmup-steps = 1\noptimizer = "sgd"\n')
    file.write_text("epochs = 4\nseed = 8\n")
    flags = [["--recipe", recipe], ["--config", file]]
    for number, order in enumerate((flags, flags[::-1])):
        out = tmp_path / f"run{number}"
        arguments = [part for pair in order for part in pair]
        outcome = deepchest("train", "--data", shards, "--out", out, *RUN, *arguments, "--seed", 9)
        assert outcome.code == 0, outcome.err
        saved = saved_config(out, TrainConfig)
        assert (saved.seed, saved.epochs, saved.warmup_steps) == (9, 4, 1)
        assert (saved.optimizer, saved.schedule) == ("sgd", "cosine")


def test_a_file_may_name_its_recipe(deepchest, tmp_path, shards):
    file = tmp_path / "file.toml"
    file.write_text('recipe = "paper"\nimage-size = 32\nepochs = 1\n')
    out = tmp_path / "run"
    outcome = deepchest("train", "--data", shards, "--out", out, *RUN, "--config", file)
    assert outcome.code == 0, outcome.err
    saved = saved_config(out, TrainConfig)
    assert (saved.optimizer, saved.head, saved.image_size) == ("rmsprop", "mlp", 32)
    assert saved.recipe is None  # its values are written out, so that it may change or go


def test_a_recipe_with_an_unknown_key_is_refused(deepchest, tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("epocs = 3\n")
    outcome = deepchest("train", "--recipe", recipe)
    assert outcome.code == 2
    assert "Did you mean 'epochs'" in outcome.err


def test_a_configuration_written_out_can_be_read_as_a_recipe(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(to_toml(TrainConfig(epochs=2)))
    assert read_toml(find_recipe(str(path)), TrainConfig)["epochs"] == 2


def test_a_recipe_suits_every_weighter(deepchest, tmp_path, shards):
    out = tmp_path / "run"
    arguments = ["--recipe", "paper", "--image-size", 32, "--weighter", "equal", *RUN]
    assert deepchest("train", "--data", shards, "--out", out, *arguments).code == 0


def test_a_recipe_is_refused_where_a_run_goes_on(deepchest, trained):
    outcome = deepchest("train", "--resume", trained, "--recipe", "paper")
    assert outcome.code == 2
    assert "--recipe is for new runs" in outcome.err


def test_a_runs_configuration_given_back_repeats_the_run_elsewhere(
    deepchest, tmp_path, shards, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert deepchest("train", "--data", shards, "--out", "first", *RUN).code == 0
    outcome = deepchest("train", "--config", "first/config.toml", "--json")
    assert outcome.code == 0, outcome.err
    again = Path(json.loads(outcome.out)["run"])
    assert again.parent.name == "runs"
    assert untimed(again / "metrics.csv") == untimed(Path("first") / "metrics.csv")


def test_a_run_goes_on_without_the_weights_that_it_began_with(deepchest, tmp_path, shards, trained):
    weights, run = tmp_path / "w.pt", tmp_path / "run"
    weights.write_bytes((trained / "best.pt").read_bytes())
    begun = ["--backbone", QUICK["backbone"], "--weights", weights, "--max-steps", 1]
    assert deepchest("train", "--data", shards, "--out", run, *begun).code == 0
    weights.unlink()
    assert deepchest("train", "--resume", run).code == 0


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize("flag", ["--clip-grad-norm", "--learning-rate"])
def test_what_is_no_number_is_refused(deepchest, flag, value):
    outcome = deepchest("train", flag, value)
    assert outcome.code == 2
    assert flag in outcome.err
