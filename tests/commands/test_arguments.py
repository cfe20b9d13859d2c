"""Command lines that are refused before anything is done."""

import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from deepchest_cli.commands.arguments import check_arguments
from deepchest_cli.commands.registry import COMMANDS
from deepchest_cli.config import renamed
from deepchest_cli.engines.child import CONTEXT
from deepchest_cli.errors import UsageError


def check(line):
    check_arguments(line.split(), COMMANDS)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train --weights A --weights B", "--weights is given twice: 'A' and 'B'"),
        ("train --weights=A --weights B", "--weights is given twice: 'A' and 'B'"),
        ("train --weights A --epochs 3 --weights=B", "--weights is given twice: 'A' and 'B'"),
        ("train --epochs 1 --epochs 1 --epochs 2", "--epochs is given twice: '1' and '2'"),
        ("train --seed 1 --seed 01", "--seed is given twice: '1' and '01'"),
        ("train --config a.toml --config b.toml", "--config is given twice"),
        ("train --recipe paper --recipe default", "--recipe is given twice"),
        ("train --resume a --resume b", "--resume is given twice"),
        ("train --optimizer sgd --optimizer adamw", "--optimizer is given twice"),
        ("predict --device cpu x.png --device cuda", "--device is given twice"),
        ("prepare --size 64 --size 128", "--size is given twice"),
        ("export --out=--force --out b", "--out is given twice: '--force' and 'b'"),
        ("train --out --quiet", "--out has no value: --quiet follows it"),
        ("evaluate --store --no-store", "--store and --no-store are both given"),
        ("evaluate --no-localization --localization", "--no-localization and --localization are"),
        ("evaluate --json --format csv", "--json and --format csv are both given"),
        ("predict --format jsonl x.png --json", "--json and --format jsonl are both given"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(line, message):
    with pytest.raises(UsageError, match=message):
        check(line)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--version",
        "train --weights A --weights A",
        "train --data A --data B",
        "train --compile --compile --quiet --quiet",
        "train --weighter-option a=1 --weighter-option b=2 --loss-option gamma=1 --loss-option x=2",
        "evaluate --model a --model b --fail-under auroc=0.7 --fail-under f1=0.2",
        "predict a.png b.png a.png --finding Mass --finding Hernia",
        "predict --model a -- --model b --nonsense",
        "predict -",
        "evaluate --json --format json",
        "export --json --format onnx",
        "train --data",
        "train --out=--quiet",
        "predict --threshold -1 x.png",
        "train --help -h",
    ],
)
def test_what_may_stand_together_is_let_through(line):
    check(line)


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("train --lr 1", "--learning-rate"),
        ("train -lr 1", "--learning-rate"),
        ("train --lr=1", "--learning-rate"),
        ("train --lr-rate 1", "--learning-rate"),
        ("train --bs 8", "--batch-size"),
        ("train -b 8", "--batch-size"),
        ("train --batch_size 8", "--batch-size"),
        ("train --per_device_train_batch_size 8", "--batch-size"),
        ("train --wd 0", "--weight-decay"),
        ("train --epoch 3", "--epochs"),
        ("train --max_epochs 3", "--epochs"),
        ("train --model resnet18", "--backbone"),
        ("train --arch resnet18", "--backbone"),
        ("train --pretrained", "--weights imagenet"),
        ("train --checkpoint best.pt", "--weights"),
        ("train --gpu", "--device cuda"),
        ("train --no-cuda", "--device cpu"),
        ("train --img-size 64", "--image-size"),
        ("train --size 64", "--image-size"),
        ("train --output-dir x", "--out"),
        ("train --amp", "--precision auto"),
        ("train --fp16", "--precision fp16"),
        ("train --gradient_accumulation_steps 2", "--grad-accum-steps"),
        ("train --bacbone x", "--backbone"),
        ("compare-weighters --seed 3", "--seeds"),
        ("compare-weighters --weighter upgrad", "--weighters"),
        ("predict --weights best.pt x.png", "--model"),
        ("predict --input x.png", "IMAGE (no flag)"),
        ("predict --output a.csv x.png", "--format csv > FILE"),
        ("predict --num-workers 2 x.png", "--workers"),
        ("prepare --output-dir x", "--data"),
        ("prepare --val-split 0.1", "--validation-fraction"),
        ("prepare --img-size 64", "--size"),
        ("evaluate --checkpoint a", "--model"),
        ("evaluate --bootstrap 100", "--bootstrap-replicates"),
    ],
)
def test_a_flag_of_other_programs_is_answered_with_ours(line, meant):
    with pytest.raises(UsageError, match="Unknown flag") as error:
        check(line)
    assert error.value.message.endswith(f" Did you mean {meant!r}?")
    assert error.value.hint == f"deepchest {line.split()[0]} --help lists its flags."


COMMANDS_WITH = {
    "--accumulate": ("train", "compare-weighters"),
    "--against": ("evaluate",),
    "--clip-norm": ("train", "compare-weighters"),
    "--localisation": ("evaluate",),
    "--no-localisation": ("evaluate",),
    "--not-worse": ("compare-weighters",),
    "--positive-weight": ("train", "compare-weighters"),
    "--relabels": ("evaluate",),
    "--replicates": ("evaluate", "recalibrate", "compare-weighters"),
    "--tensorboard": ("train", "compare-weighters"),
}


@pytest.mark.parametrize("old", renamed.FLAGS)
def test_a_flag_of_version_0_1_is_answered_with_the_new_one(old):
    new = renamed.FLAGS[old]
    for command in COMMANDS:
        with pytest.raises(UsageError) as error:
            check(f"{command} {old} 1")
        is_renamed = error.value.message == f"{old} is called {new} since version 0.2."
        assert is_renamed == (command in COMMANDS_WITH[old])


def test_the_answer_to_not_worse_says_where_its_margin_went():
    with pytest.raises(UsageError, match="--not-worse is called --fail-if-inferior") as error:
        check("compare-weighters --not-worse deepchest=0.01")
    assert error.value.hint == "It takes the weighter alone; --margin sets the margin."


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("evaluate --epochs 3", "--epochs is a flag of train and compare-weighters."),
        ("evaluate --lr 3", "--learning-rate is a flag of train and compare-weighters."),
        ("train --num-workers 3", "--workers is a flag of prepare and predict."),
        ("train --xyzzy", "Unknown flag '--xyzzy' of train."),
    ],
)
def test_a_flag_of_another_command_is_told_from_none(line, said):
    with pytest.raises(UsageError) as error:
        check(line)
    assert error.value.message.endswith(said)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train --optimizer adam", "value of --optimizer: 'adam'. Did you mean 'adamw'"),
        ("train --loss BCE", "value of --loss: 'BCE'. Did you mean 'bce'"),
        ("train --precision=bfloat16", "value of --precision: 'bfloat16'. Did you mean 'bf16'"),
        ("evaluate --split val", "value of --split: 'val'. Did you mean 'validation'"),
        ("prepare --layout nih14", "value of --layout: 'nih14'. Did you mean 'nih'"),
        ("prepare --blank nan", "value of --blank: 'nan'. Did you mean 'ignore'"),
        ("export --format torchscript", "value of --format: 'torchscript'. Did you mean 'torch'"),
    ],
)
def test_an_unknown_choice_is_answered_with_ours(line, message):
    with pytest.raises(UsageError, match=message):
        check(line)


@pytest.mark.parametrize(
    ("line", "meant"),
    [("tran", "train"), ("compare", "compare-weighters"), ("eval", "evaluate"), ("fit", "train")],
)
def test_an_unknown_command_is_answered_with_ours(line, meant):
    with pytest.raises(UsageError, match=f"Did you mean '{meant}'"):
        check(line)


def test_a_flag_before_the_command_is_told_its_place():
    with pytest.raises(UsageError, match="--quiet stands before the command"):
        check("--quiet train")


def test_the_program_refuses_before_it_begins(deepchest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = deepchest("train", "--weights", "A", "--weights", "B")
    assert (outcome.code, outcome.out) == (2, "")
    assert "--weights is given twice: 'A' and 'B'" in outcome.err
    assert list(tmp_path.iterdir()) == []


CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@pytest.fixture
def without_cublas(monkeypatch):
    monkeypatch.setenv(CUBLAS, "")  # so that what a command sets is taken back
    monkeypatch.delenv(CUBLAS)


@pytest.mark.parametrize(
    "command", [("train", "--weighter", "x"), ("compare-weighters", "--weighters", "x")]
)
def test_deterministic_is_told_to_cublas_before_anything_starts(
    deepchest, without_cublas, command, tmp_path
):
    assert deepchest(*command).code == 2  # x is no weighter: nothing is begun
    assert CUBLAS not in os.environ
    assert deepchest(*command, "--deterministic").code == 2
    assert os.environ[CUBLAS] == ":4096:8"
    with ProcessPoolExecutor(1, CONTEXT) as pool:  # as the runs of several devices
        assert pool.submit(os.getenv, CUBLAS).result() == ":4096:8"


def test_a_deterministic_run_stays_so_when_it_is_resumed(deepchest, without_cublas, tmp_path):
    (tmp_path / "config.toml").write_text('deterministic = true\nweighter = "equal"\n')
    assert deepchest("train", "--resume", tmp_path, "--quiet").code != 0  # nothing else is there
    assert os.environ[CUBLAS] == ":4096:8"


def test_the_value_of_the_user_for_cublas_stays(deepchest, monkeypatch):
    monkeypatch.setenv(CUBLAS, ":16:8")
    assert deepchest("train", "--weighter", "x", "--deterministic").code == 2
    assert os.environ[CUBLAS] == ":16:8"
