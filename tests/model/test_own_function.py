"""A backbone of one's own: built, tried, and refused with the reason."""

from itertools import chain

import pytest
import torch
from own_backbones import BROKEN_FORWARD, BROKEN_FUNCTION, FUNCTION, GOOD, RETURNED, write
from trunk_shapes import trunk_of

from deepchest_cli.errors import UsageError
from deepchest_cli.model.backbones.own_function import OwnFunctionSource, run_backbone, run_named
from deepchest_cli.model.backbones.registry import (
    describe_backbone,
    folder_name,
    resolve_backbone,
    source_of,
)
from deepchest_cli.model.classifier import Architecture, Classifier
from deepchest_cli.model.trunk import build_trunk

SIZE = 32


@pytest.fixture
def mine(tmp_path):
    """The name of a good backbone."""
    return f"{write(tmp_path / 'mine.py')}:build"


def changed(tmp_path, before, after, member="build"):
    """Return the name of a backbone that differs from the good one."""
    assert before in GOOD
    return f"{write(tmp_path / 'mine.py', GOOD.replace(before, after))}:{member}"


def test_it_is_described_by_its_hash_and_built_without_its_place(mine):
    spec = describe_backbone(mine, SIZE)
    assert (spec.name, spec.image_size, spec.channels) == ("mine.py:build", SIZE, 1)
    assert spec.config == {"sha256": run_backbone(mine)[1], "features": 12}
    trunk, features = build_trunk(spec)
    assert features == 12
    assert trunk(torch.rand(3, 1, SIZE, SIZE)).shape == (3, 12)
    assert trunk.training


def test_the_same_seed_gives_the_same_weights_however_often_it_was_tried(mine):
    states = []
    for tries in (1, 3):
        torch.manual_seed(5)
        for _ in range(tries):
            spec = describe_backbone(mine, SIZE)
        states.append(build_trunk(spec)[0].state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert all(states[0]["stages.1.running_mean"] == 0)  # the trial's noise was another network's


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("build()", "return Net(1)"),
        ("build(image_size)", "return Net(1, image_size)"),
        ("build(channels=3)", "return Net(channels)"),
        (
            "build(**settings)",
            "assert settings['image_size'] == 32; return Net(settings['channels'])",
        ),
        ("build(*, channels, width=4)", "return Net(channels, width)"),
        ("build(channels, drop_path)", "assert drop_path == 0; return Net(channels)"),
    ],
)
def test_a_function_may_take_fewer_keywords(tmp_path, head, body):
    source = GOOD.replace("build(channels, image_size)", head).replace(FUNCTION, body)
    name = f"{write(tmp_path / 'mine.py', source)}:build"
    trunk, _ = trunk_of(name, SIZE)
    assert trunk.stages[0].in_channels == 1


@pytest.mark.parametrize("head", ["build(channels, depth)", "build(channels, /)", "build(a, b=1)"])
def test_a_function_that_takes_something_else_is_told_what_it_should_take(tmp_path, head):
    name = changed(tmp_path, "build(channels, image_size)", head)
    with pytest.raises(UsageError, match=r"should take the keywords channels and image_size") as e:
        describe_backbone(name, SIZE)
    assert e.value.message.endswith(f"Found {head.removeprefix('build')}.")
    assert e.value.hint == "Write: def build(channels, image_size):"


def test_the_class_of_a_network_is_a_function_too(tmp_path, mine):
    spec = describe_backbone(mine.replace(":build", ":Net"), SIZE)
    assert spec.name == "mine.py:Net"
    assert build_trunk(spec)[1] == 12


@pytest.mark.parametrize(
    ("more", "member", "words"),
    [
        ("class Plain: pass", "Plain", r"The class Plain of .*mine.py is no torch.nn.Module"),
        ("net = Net(1)", "net", r"net of .*mine.py is a network, which all models would share"),
        ("size = 3", "size", r"Unknown function of .*mine.py: 'size'"),
        ("", "biuld", r"Unknown function of .*mine.py: 'biuld'. Did you mean 'build'"),
    ],
)
def test_what_is_no_function_is_refused(tmp_path, more, member, words):
    name = f"{write(tmp_path / 'mine.py', GOOD + more)}:{member}"
    for run in (
        run_backbone,
        lambda one: run_named([one]),
        lambda one: describe_backbone(one, SIZE),
    ):
        with pytest.raises(UsageError, match=words):
            run(name)


@pytest.mark.parametrize("words", BROKEN_FORWARD)
def test_a_network_that_gives_no_features_is_refused_with_what_was_found(tmp_path, words):
    name = changed(tmp_path, RETURNED, BROKEN_FORWARD[words])
    with pytest.raises(UsageError, match=words):
        describe_backbone(name, SIZE)


@pytest.mark.parametrize("words", BROKEN_FUNCTION)
def test_a_function_that_gives_no_usable_network_is_refused(tmp_path, words):
    name = changed(tmp_path, FUNCTION, BROKEN_FUNCTION[words])
    with pytest.raises(UsageError, match=words):
        build_trunk(describe_backbone(name, SIZE))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "There is no file .*mine.py"),
        (
            "import nowhere",
            "The file of the backbone mine.py:build cannot be run: .*line 1: Module",
        ),
        ("def (", "line 1: SyntaxError"),
        ("x = 1", "has no function 'build', and no other"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path, source, words):
    if source is not None:
        write(tmp_path / "mine.py", source)
    with pytest.raises(UsageError, match=words):
        describe_backbone(f"{tmp_path / 'mine.py'}:build", SIZE)


def test_what_file_and_function_print_is_no_result(tmp_path, capsys):
    name = changed(tmp_path, FUNCTION, "print('built'); return Net(channels)")
    write(tmp_path / "mine.py", (tmp_path / "mine.py").read_text() + "print('run')\n")
    trunk_of(name, SIZE)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.split() == ["run", "built", "built"]


def test_layers_that_learn_their_shape_from_the_first_input_have_it(tmp_path):
    name = changed(tmp_path, "nn.Conv2d(width, 12", "nn.LazyConv2d(12")
    trunk, features = trunk_of(name, SIZE)
    assert features == 12
    assert not any(map(torch.nn.parameter.is_lazy, chain(trunk.parameters(), trunk.buffers())))
    assert trunk.training


def test_drop_path_goes_to_a_function_that_takes_it(tmp_path, mine):
    with pytest.raises(UsageError, match="mine.py:build does not take the keyword drop_path"):
        OwnFunctionSource().build(describe_backbone(mine, SIZE), 0.1)
    taking = GOOD.replace("image_size)", "drop_path)").replace(FUNCTION, f"n = {FUNCTION[7:]}")
    taking += "    n.rate = drop_path\n    return n\n"
    name = f"{write(tmp_path / 'other.py', taking)}:build"
    assert build_trunk(describe_backbone(name, SIZE), None, 0.25)[0].rate == 0.25


def test_pooling_is_its_own_matter(mine):
    with pytest.raises(UsageError, match=r"mine.py:build does not pool by 'mean'"):
        describe_backbone(mine, SIZE, "mean")


def test_it_has_no_published_weights(mine):
    spec = describe_backbone(mine, SIZE)
    assert source_of(spec.name).published(spec) is None


def test_code_that_is_not_named_does_not_run(tmp_path):
    """A checkpoint says where code was: that is not enough, wherever the name leads."""
    source = "from pathlib import Path\nPath(__file__).with_name('it-ran').touch()\n" + GOOD
    path = write(tmp_path / "secret.py", source)
    for name in (f"{path}:build_it", "secret.py:build_it", "secret:build_it"):
        architecture = Architecture(
            name, "linear", ("Mass",), SIZE, SIZE, backbone_config={"sha256": "0"}
        )
        with pytest.raises(UsageError, match="which runs only where it is named") as error:
            Classifier(architecture)
        assert "--backbone" in error.value.hint
    assert not (tmp_path / "it-ran").exists()


def test_a_file_that_has_changed_is_refused_by_its_hash(tmp_path, mine):
    former = f"{GOOD}# content that no other test has run\n"
    write(tmp_path / "mine.py", former)
    spec = describe_backbone(mine, SIZE)
    changed(tmp_path, "width=8", "width=9")
    run_named([mine])
    with pytest.raises(
        UsageError, match=r"mine.py is not the file that the backbone mine.py:build"
    ):
        build_trunk(spec)
    write(tmp_path / "elsewhere" / "former.py", former)  # the same content by another name
    run_named([f"{tmp_path / 'elsewhere' / 'former.py'}:build"])
    assert build_trunk(spec)[1] == 12


@pytest.mark.parametrize("name", ["resnet18", "mine.py", "timm/hf-hub:owner/name"])
def test_only_code_is_named_for_a_model(name):
    with pytest.raises(UsageError, match=r"--backbone is for a model with code of your own"):
        run_named([name])


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("/x/y/mine.py:build", "mine.py_build"),
        (r"C:\x\mine.py:build", "mine.py_build"),
        (r"C:\x\a b:c.py:build", "a_b_c.py_build"),
        ("package.module:build", "package.module_build"),
        ("mine.py:build", "mine.py_build"),
    ],
)
def test_names_of_all_systems_are_names_of_folders(name, folder):
    assert resolve_backbone(name) == name
    assert isinstance(source_of(name), OwnFunctionSource)
    assert folder_name(name) == folder


@pytest.mark.parametrize("name", ["mine.py:", ":build", "mine.py:a-b", r"C:\x\mine.py"])
def test_a_name_without_a_function_is_refused(name):
    with pytest.raises(UsageError, match=r"names no function") as error:
        resolve_backbone(name)
    assert error.value.hint == "Write FILE.py:FUNCTION."


def test_a_file_without_its_function_says_what_is_missing():
    with pytest.raises(UsageError, match=r"Unknown backbone 'mine.py'") as error:
        resolve_backbone("mine.py")
    assert "mine.py:FUNCTION" in error.value.hint


def test_a_module_is_named_by_its_dots(tmp_path, monkeypatch):
    write(tmp_path / "ours_too" / "__init__.py", "")
    write(tmp_path / "ours_too" / "sizes.py", "WIDTH = 4\n")
    source = "from .sizes import WIDTH\n" + GOOD.replace("width=8", "width=WIDTH")
    write(tmp_path / "ours_too" / "nets.py", source)
    monkeypatch.syspath_prepend(tmp_path)
    spec = describe_backbone("ours_too.nets:build", SIZE)
    assert spec.name == "ours_too.nets:build"
    assert build_trunk(spec)[0].stages[0].out_channels == 4
