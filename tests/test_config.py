import re
from pathlib import Path

import pytest

from deepchest_cli.config import (
    CompareConfig,
    EvaluateConfig,
    TrainConfig,
    find_data,
    parse_assignment,
    parse_assignments,
    read_toml,
    to_toml,
)
from deepchest_cli.errors import UsageError


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def test_a_run_configuration_comes_back_from_its_file(tmp_path):
    config = TrainConfig(
        data=('odd "name"', "other"), weighter_option=("cap=2",), learning_rate=1e-5, image_size=96
    )
    values = read_toml(written(tmp_path, to_toml(config)), TrainConfig)
    assert values["data"] == ['odd "name"', "other"]
    assert values["weighter_option"] == ["cap=2"]
    assert values["learning_rate"] == 1e-5
    assert "max_steps" not in values


def test_keys_may_be_spelled_as_flags_and_options_as_a_table(tmp_path):
    path = written(tmp_path, "batch-size = 8\n[weighter-option]\ncap = 2\n")
    assert read_toml(path, TrainConfig) == {"batch_size": 8, "weighter_option": ["cap=2"]}


def test_an_unknown_key_suggests_the_nearest(tmp_path):
    with pytest.raises(UsageError, match="batch_sise.*Did you mean 'batch_size'"):
        read_toml(written(tmp_path, "batch_sise = 8"), TrainConfig)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("lr = 0.1", "learning_rate"),
        ("arch = 'resnet18'", "backbone"),
        ("num_epochs = 3", "epochs"),
        ("gpu = true", 'device = "cuda"'),
    ],
)
def test_a_key_of_other_programs_is_answered_with_ours(tmp_path, text, meant):
    with pytest.raises(UsageError, match=re.escape(f"Did you mean {meant!r}?")):
        read_toml(written(tmp_path, text), TrainConfig)


@pytest.mark.parametrize(
    ("config", "text", "new"),
    [
        (TrainConfig, "accumulate = 2", "grad_accum_steps"),
        (TrainConfig, "clip-norm = 1.0", "clip_grad_norm"),
        (TrainConfig, "positive_weight = 0.5", "pos_weight_power"),
        (CompareConfig, "not_worse = ['deepchest=0.01']", "fail_if_inferior"),
        (CompareConfig, "replicates = 200", "bootstrap_replicates"),
        (EvaluateConfig, "against = 'runs/a'", "compare_to"),
        (EvaluateConfig, "localisation = false", "localization"),
        (EvaluateConfig, "relabels = 'labels.csv'", "expert_labels"),
    ],
)
def test_a_key_of_version_0_1_is_answered_with_the_new_one(tmp_path, config, text, new):
    old = text.split()[0].replace("-", "_")
    with pytest.raises(UsageError, match=f"key '{old}' is called '{new}' since version 0.2"):
        read_toml(written(tmp_path, text), config)


def test_a_key_in_two_spellings_is_refused(tmp_path):
    with pytest.raises(UsageError, match="key 'batch_size' is given twice"):
        read_toml(written(tmp_path, "batch-size = 8\nbatch_size = 16"), TrainConfig)


def test_an_unknown_choice_in_a_file_names_the_key_and_what_is_meant(tmp_path):
    with pytest.raises(UsageError, match="key 'optimizer': Unknown value 'adam'.*mean 'adamw'"):
        read_toml(written(tmp_path, "optimizer = 'adam'"), TrainConfig)


@pytest.mark.parametrize(
    "text", ["epochs = [1]", "flip = 1", "epochs = true", "weighter_option = 3"]
)
def test_a_wrong_type_names_the_key(tmp_path, text):
    with pytest.raises(UsageError, match=text.split()[0]):
        read_toml(written(tmp_path, text), TrainConfig)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_may_begin_with_a_byte_order_mark(tmp_path, encoding):
    path = tmp_path / "notepad.toml"
    path.write_text("epochs = 1\r\n", encoding=encoding)
    assert read_toml(path, TrainConfig) == {"epochs": 1}


def test_a_broken_file_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="not valid TOML"):
        read_toml(written(tmp_path, "epochs ="), TrainConfig)
    with pytest.raises(UsageError, match="no configuration file"):
        read_toml(tmp_path / "none.toml", TrainConfig)


def test_precedence_is_command_line_over_file_over_default(deepchest, tmp_path, shards, trained):
    path = written(tmp_path, f'data = "{shards}"\nmodel = "{trained}"\nsplit = "validation"\n')
    from_file = deepchest("evaluate", "--config", path, "--format", "csv")
    assert from_file.code == 0, from_file.err
    over_file = deepchest("evaluate", "--split", "test", "--config", path, "--format", "csv")
    default = deepchest("evaluate", "--data", shards, "--model", trained, "--format", "csv")
    assert over_file.out == default.out != from_file.out


def test_an_unknown_key_of_config_exits_2(deepchest, tmp_path):
    outcome = deepchest("evaluate", "--config", written(tmp_path, "modell = 3"))
    assert outcome.code == 2
    assert "Did you mean 'model'" in " ".join(outcome.err.split())


def test_what_is_no_flag_is_no_key_either(deepchest, tmp_path):
    outcome = deepchest("train", "--config", written(tmp_path, "FIRST = 1"))
    assert outcome.code == 2
    assert "FIRST" in outcome.err.partition("\n")[0]
    assert "FIRST" not in outcome.err.partition("\n")[2]


def test_a_file_that_is_nested_too_deeply_is_refused(deepchest, tmp_path):
    outcome = deepchest("train", "--config", written(tmp_path, "a = " + "[" * 5000))
    assert outcome.code == 2
    assert outcome.err.endswith("is nested too deeply.\n")


def test_the_demo_stands_in_for_missing_default_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    default = TrainConfig().data
    assert find_data(default) == (default, "")
    Path("data/demo-shards").mkdir(parents=True)
    folder, note = find_data(default)
    assert folder == ("data/demo-shards",)
    assert "synthetic" in note
    for given in (("elsewhere",), (*default, "elsewhere")):
        assert find_data(given) == (given, "")


@pytest.mark.parametrize("text", ["cap", "=2", "cap="])
def test_assignments_need_key_and_value(text):
    with pytest.raises(UsageError, match="KEY=VALUE"):
        parse_assignment(text, "--weighter-option")


def test_an_option_given_twice_with_two_values_is_refused():
    assert parse_assignments(["a=1", "b-c=2", "a=1"], "--x") == {"a": "1", "b_c": "2"}
    with pytest.raises(UsageError, match="--x b_c is given twice: '2' and '3'"):
        parse_assignments(["b-c=2", "b_c=3"], "--x")
