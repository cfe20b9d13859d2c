import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests_support import QUICK

from deepchest_cli.config import PrepareConfig, TrainConfig, to_toml
from deepchest_cli.data.preparation import plan_preparation, run_preparation
from deepchest_cli.errors import UsageError
from deepchest_cli.training.components import build_components
from deepchest_cli.training.resume import load_state, refuse_changes, saved_config


def prepared(source, folder, **changes):
    config = PrepareConfig(size="32", workers=1, validation_fraction=0.2, force=True)
    config = replace(config, **changes)
    run_preparation(plan_preparation(config, source), config, folder, lambda *_: None)
    return folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"validation_fraction": 0.3}, "validation_fraction 0.3, not 0.2"),
        ({"seed": 3}, "seed 3, not 0"),
        ({"size": 40}, "size 40, not 32"),
    ],
)
def test_data_prepared_otherwise_say_which_setting_changed(
    nih_folder, trained, tmp_path, change, said
):
    data = prepared(nih_folder, tmp_path / "shards", **change)
    with pytest.raises(UsageError, match="have changed since the run") as error:
        load_state(build_components(TrainConfig(data=data, **QUICK)), trained)
    assert said in error.value.message


def test_another_source_is_named(nih_folder, trained, tmp_path):
    table = nih_folder / "Data_Entry_2017_v2020.csv"
    table.write_text(table.read_text().replace("|Effusion", ""))
    data = prepared(nih_folder, tmp_path / "shards")
    with pytest.raises(UsageError, match="another sha256"):
        load_state(build_components(TrainConfig(data=data, **QUICK)), trained)


def test_other_findings_are_named(trained, shards):
    setup = build_components(TrainConfig(data=shards, **QUICK))
    fewer = replace(setup.dataset, findings=setup.dataset.findings[:-1], sha256="another")
    with pytest.raises(UsageError, match="began: other findings"):
        load_state(replace(setup, dataset=fewer), trained)


def test_the_same_data_elsewhere_are_the_same_data(trained, shards, tmp_path):
    copy = shutil.copytree(shards, tmp_path / "copy")
    assert load_state(build_components(TrainConfig(data=copy, **QUICK)), trained) is not None


def test_the_saved_configuration_is_the_one_that_the_run_began_with(trained, shards):
    expected = TrainConfig(data=shards, precision="fp32", **QUICK)
    assert replace(saved_config(trained, TrainConfig), precision="fp32") == expected


def test_what_was_resolved_when_a_run_began_may_be_given_as_it_was(trained, shards, tmp_path):
    free = frozenset({"data"})
    saved = saved_config(trained, TrainConfig)
    given = replace(saved, precision="auto", data=tmp_path)
    assert refuse_changes(given, trained, free) == replace(saved, data=tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    weights = tmp_path / "best.pt"
    began = replace(saved, backbone="resnet", weights=str(weights))
    (run / "config.toml").write_text(to_toml(began))
    for name in (weights, tmp_path / "run" / ".." / "best.pt", Path("runs/latest/best.pt")):
        found = refuse_changes(replace(began, backbone="resnet50", weights=str(name)), run, free)
        assert found == began
    for change in ({"weights": "none"}, {"backbone": "resnet18"}, {"precision": "fp16"}):
        with pytest.raises(UsageError, match=f"--{next(iter(change))} is"):
            refuse_changes(replace(began, **change), run, free)
