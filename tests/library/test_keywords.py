"""Keywords are the flags of the commands, with their checks."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import deepchest_cli
from deepchest_cli.config import (
    CompareConfig,
    EvaluateConfig,
    PredictConfig,
    PrepareConfig,
    TrainConfig,
    flags_of,
)
from deepchest_cli.errors import UsageError
from deepchest_cli.library.keywords import COMMAND_ONLY, _in_keywords, configuration

CONFIGS = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "compare": CompareConfig,
    "predict": PredictConfig,
    "prepare": PrepareConfig,
}


@pytest.mark.parametrize("name", CONFIGS)
def test_signatures_name_every_flag_but_those_of_the_command_alone(name):
    keywords = set(inspect.signature(getattr(deepchest_cli, name)).parameters)
    flags = {field.name for field, _, _ in flags_of(CONFIGS[name])}
    assert keywords - {"progress", "observers"} == flags - set(COMMAND_ONLY[name]) | {"config"}
    assert set(COMMAND_ONLY[name]) <= flags


def given(**keywords):
    return configuration(TrainConfig, "train", keywords)


def test_values_in_the_forms_of_python():
    made = given(
        data=Path("a"),
        weights=Path("runs/b"),
        epochs=np.int64(3),
        learning_rate=1,
        weighter_option={"cap": 2, "signal": "auroc"},
        freeze=2,
        out="here",
        image_size=None,
    )
    assert made.data == ("a",)
    assert made.weights == str(Path("runs/b"))
    assert (made.epochs, type(made.epochs)) == (3, int)
    assert (made.learning_rate, type(made.learning_rate)) == (1.0, float)
    assert made.weighter_option == ("cap=2", "signal=auroc")
    assert (made.freeze, made.out, made.image_size) == ("2", Path("here"), None)
    assert given(data=["a", Path("b")]).data == ("a", "b")
    assert given() == TrainConfig()
    sizes = configuration(PrepareConfig, "prepare", {"size": (128, 224), "findings": ["Mass"]})
    assert (sizes.size, sizes.findings) == ("128,224", "Mass")


@pytest.mark.parametrize(
    ("keywords", "message", "hint"),
    [
        ({"epoch": 3}, "Unknown keyword of train 'epoch'. Did you mean 'epochs'?", "Known: data"),
        ({"lr": 0.1}, "Unknown keyword of train 'lr'. Did you mean 'learning_rate'?", "Known"),
        ({"half": True}, "Did you mean 'precision = \"fp16\"'?", "Known"),
        (
            {"clip_norm": 1},
            "Keyword of train 'clip_norm' is called 'clip_grad_norm'",
            "Write",
        ),
        ({"wieghter": "dwa"}, "Did you mean 'weighter'?", "The nearest of"),
        ({"epochs": "3"}, "train: epochs should be of type int. Found '3'.", ""),
        ({"epochs": 2.5}, "train: epochs should be of type int. Found 2.5.", ""),
        ({"epochs": True}, "train: epochs should be of type int. Found True.", ""),
        ({"epochs": None}, "train: epochs should be of type int. Found None.", ""),
        ({"flip": 1}, "train: flip should be of type bool. Found 1.", ""),
        ({"epochs": 0}, "--epochs should be at least 1. Found 0.", ""),
        ({"learning_rate": float("nan")}, "--learning-rate should be a finite number.", ""),
        ({"precision": "fp8"}, "train: precision: Unknown value 'fp8'.", "Known: auto"),
        ({"data": 3}, "train: data should be text or a list of texts. Found 3.", ""),
        ({"recipe": "quik"}, "Unknown recipe 'quik'. Did you mean 'quick'?", "Known"),
        ({"config": "no.toml"}, "no.toml", ""),
    ],
)
def test_a_wrong_keyword_is_answered(keywords, message, hint):
    with pytest.raises(UsageError) as raised:
        given(**keywords)
    assert message in raised.value.message
    assert hint in raised.value.hint
    assert not hint or raised.value.__notes__ == [raised.value.hint]


@pytest.mark.parametrize(
    ("function", "keyword"), [(name, one) for name in COMMAND_ONLY for one in COMMAND_ONLY[name]]
)
def test_what_is_of_the_command_alone_is_said(function, keyword):
    with pytest.raises(UsageError, match=f"{keyword} is of the command alone") as raised:
        configuration(CONFIGS[function], function, {keyword: True})
    assert f"--{keyword.replace('_', '-')}" in raised.value.hint


def test_a_recipe_and_a_file_give_defaults(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text('epochs = 7\nbatch-size = 8\nweighter_option = ["cap=2"]\nout = "there"\n')
    made = given(config=file, recipe="quick", batch_size=4)
    assert (made.epochs, made.batch_size, made.out) == (7, 4, Path("there"))
    assert made.weighter_option == ("cap=2",)
    assert made.backbone == given(recipe="quick").backbone != TrainConfig().backbone


def test_a_run_that_is_resumed_gives_defaults(trained):
    assert given(resume=trained).epochs == 2
    assert given(resume="auto", out=trained).batch_size == 16


def test_the_help_of_a_function_describes_each_keyword():
    for function in (deepchest_cli.train, deepchest_cli.prepare, deepchest_cli.evaluate,
                     deepchest_cli.compare, deepchest_cli.predict):  # fmt: skip
        text = inspect.getdoc(function)
        described = set(re.findall(r"^    (\w+): ", text.partition("\nOptions:\n")[2], re.M))
        named = set(inspect.signature(function).parameters)
        assert described <= named
        assert len(named - described) <= 4  # data, progress and the like, which the text describes
    words = " ".join(inspect.getdoc(deepchest_cli.train).split())
    assert "the run in out, or begin it there" in words
    assert "weighter; or a list." in words


def test_errors_name_keywords_and_keep_commands():
    with pytest.raises(UsageError, match="^folds should be at least 2. Found 1"):
        deepchest_cli.train(folds=1)
    with pytest.raises(UsageError) as raised:
        deepchest_cli.predict("image.png", model="nowhere")
    assert raised.value.hint == (
        "Train one (deepchest train), or name a run folder or checkpoint with model."
    )
    assert raised.value.__notes__ == [raised.value.hint]
    switches = {"force"}
    for text, said in (
        ("Add --force, or --out FOLDER.", "Add force=True, or out FOLDER."),
        ("Run: deepchest train --force", "Run: deepchest train --force"),
        ("Use a/b.c,d with deepchest train --out a,b.c. Or --out.", None),
        ("--another stays", "--another stays"),
    ):
        found = _in_keywords(text, {"force", "out"}, switches)
        assert found == (said or "Use a/b.c,d with deepchest train --out a,b.c. Or out.")


def test_a_device_of_torch_is_one():
    assert given(device=torch.device("cuda", 1)).device == "cuda:1"


def test_texts_of_numpy_become_those_of_python():
    class Named(str):
        def __str__(self):
            return "another"

    made = given(backbone=np.str_("small_cnn"), data=[np.str_("a")], augment=Named("none"))
    assert [type(made.backbone), type(made.data[0]), type(made.augment)] == [str, str, str]
    assert made.augment == "none"
    assert given(deterministic=np.bool_(True)).deterministic is True


@pytest.mark.parametrize(
    "keyword", ["epochs", "learning_rate", "augment", "backbone", "data", "config", "out"]
)
@pytest.mark.parametrize(
    "value",
    [b"x", np.bool_(True), np.array([1, 2.5]), [None], object()],
    ids=["bytes", "bool", "array", "list", "object"],
)
def test_values_of_other_types_are_told(keyword, value):
    if keyword == "backbone" and isinstance(value, np.ndarray):
        return  # several numbers are text there
    with pytest.raises(UsageError, match=keyword):
        given(**{keyword: value})


@pytest.mark.parametrize("function", ["evaluate", "train"])
def test_a_search_that_found_nothing_is_no_default(function):
    with pytest.raises(UsageError, match=f"{function}: data is empty"):
        configuration(CONFIGS[function], function, {"data": (one for one in [])})


def test_predict_without_images_and_compare_with_other_types_tell_what_is_missing():
    with pytest.raises(UsageError, match="There is no image to predict"):
        deepchest_cli.predict(None)
    with pytest.raises(UsageError, match="compare: weighters should be"):
        deepchest_cli.compare([None])


def test_progress_is_a_callback_or_whether():
    with pytest.raises(UsageError, match="progress should be True, False or"):
        deepchest_cli.train(progress="yes")
