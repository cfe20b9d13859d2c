import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests_support import QUICK

from deepchest_cli.config import CompareConfig, PrepareConfig, TrainConfig, to_toml
from deepchest_cli.data.preparation import plan_preparation, run_preparation
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.model.checkpoint import read_checkpoint
from deepchest_cli.model.checkpoint_format import LAST
from deepchest_cli.training.components import build_components
from deepchest_cli.training.loop import Trainer
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
        load_state(build_components(TrainConfig(data=(str(data),), **QUICK)), trained)
    assert said in error.value.message


def test_another_source_is_named(nih_folder, trained, tmp_path):
    table = nih_folder / "Data_Entry_2017_v2020.csv"
    table.write_text(table.read_text().replace("|Effusion", ""))
    data = prepared(nih_folder, tmp_path / "shards")
    with pytest.raises(UsageError, match="another sha256"):
        load_state(build_components(TrainConfig(data=(str(data),), **QUICK)), trained)


def test_other_findings_are_named(trained, shards):
    components = build_components(TrainConfig(data=(str(shards),), **QUICK))
    fewer = replace(components.dataset, findings=components.dataset.findings[:-1])
    with pytest.raises(UsageError, match="findings are others than those of"):
        load_state(replace(components, dataset=fewer), trained)


def test_the_same_data_split_otherwise_are_refused(trained, shards):
    components = build_components(TrainConfig(data=(str(shards),), **QUICK))
    fold = replace(components, dataset=components.dataset.folded(0, 3, seed=1))
    with pytest.raises(UsageError, match="split_scheme 'fold 1 of 3, seed 1', not 'official'"):
        load_state(fold, trained)


def test_the_same_data_elsewhere_are_the_same_data(trained, shards, tmp_path):
    copy = shutil.copytree(shards, tmp_path / "copy")
    assert (
        load_state(build_components(TrainConfig(data=(str(copy),), **QUICK)), trained) is not None
    )


def test_the_saved_configuration_is_the_one_that_the_run_began_with(trained, shards):
    expected = TrainConfig(data=(str(shards),), precision="fp32", **QUICK)
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


OLD = Path(__file__).parents[1] / "files" / "version-0.1" / "run"  # written by deepchest 0.1.0
REFUSED = "was started by deepchest 0.1.0, whose settings and state have other names than those of"


def test_a_run_of_version_0_1_is_refused_with_the_way_out(deepchest, tmp_path):
    run = shutil.copytree(OLD, tmp_path / "run")
    for line in (("--resume", run), ("--resume", "auto", "--out", run)):
        outcome = deepchest("train", *line)
        assert outcome.code == 2
        assert f"{run} {REFUSED}" in outcome.err
        assert "Resume it with deepchest 0.1, or start a new one in another folder" in outcome.err
        assert "its models (best.pt) still predict and evaluate" in outcome.err
    assert {path.name for path in run.iterdir()} == {"config.toml", "environment.json"}


def test_a_comparison_of_version_0_1_is_refused_with_the_way_out(deepchest, tmp_path):
    folder = tmp_path / "comparison"
    folder.mkdir()
    shutil.copy(OLD / "environment.json", folder)
    (folder / "config.toml").write_text(to_toml(CompareConfig()))
    outcome = deepchest("compare-weighters", "--resume", folder)
    assert outcome.code == 2
    assert f"{folder} {REFUSED}" in outcome.err
    with pytest.raises(UsageError, match=REFUSED) as error:
        saved_config(folder, CompareConfig)
    assert "start a new one in another folder" in error.value.hint


def test_without_its_environment_an_old_configuration_names_the_new_key(tmp_path):
    run = shutil.copytree(OLD, tmp_path / "run")
    (run / "environment.json").unlink()
    with pytest.raises(UsageError, match="since version 0.2"):
        saved_config(run, TrainConfig)


def edited_state(trained, tmp_path, edit):
    """Copy a run, and edit its last checkpoint."""
    run = shutil.copytree(trained, tmp_path / "run")
    content = read_checkpoint(run / LAST)
    edit(content)
    torch.save(content, run / LAST)
    return run


def test_a_state_of_version_0_1_is_refused(trained, shards, tmp_path):
    def edit(content):
        content["origin"]["deepchest"] = "0.1.0"

    run = edited_state(trained, tmp_path, edit)
    with pytest.raises(UsageError, match=REFUSED):
        load_state(build_components(TrainConfig(data=(str(shards),), **QUICK)), run)


def test_a_state_that_lacks_a_key_is_said_to_be_damaged(trained, shards, tmp_path):
    run = edited_state(trained, tmp_path, lambda content: content["training"].pop("optimizer"))
    trainer = Trainer(build_components(TrainConfig(data=(str(shards),), **QUICK)), run)
    with pytest.raises(DeepChestError, match="last.pt is damaged: KeyError"):
        trainer.resume()


def test_a_state_of_another_version_is_described_in_a_line(trained, shards, tmp_path):
    def edit(content):
        content["training"]["weighter"] = {"unknown": torch.zeros(2)}

    run = edited_state(trained, tmp_path, edit)
    trainer = Trainer(build_components(TrainConfig(data=(str(shards),), **QUICK)), run)
    with pytest.raises(DeepChestError, match='Unexpected key.*"unknown"') as info:
        trainer.resume()
    assert "\n" not in info.value.message and "\\" not in info.value.message
    assert "version of deepchest that began this one" in info.value.hint


def test_a_state_that_is_cut_short_is_said_to_be_damaged(trained, shards, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / LAST).write_bytes((run / LAST).read_bytes()[:1000])
    with pytest.raises(DeepChestError, match="damaged or cut short"):
        load_state(build_components(TrainConfig(data=(str(shards),), **QUICK)), run)


def test_an_environment_that_is_damaged_refuses_nothing(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    for content in ("", "{}", "[]", json.dumps({"deepchest": None})):
        (run / "environment.json").write_text(content)
        assert saved_config(run, TrainConfig) == saved_config(trained, TrainConfig)
