"""All commands with a backbone of one's own, which runs only where it is named."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from own_backbones import FUNCTION, GOOD, RETURNED, write
from tests_support import untimed, valid

from deepchest_cli import load_model
from deepchest_cli.comparison.output import writing
from deepchest_cli.config import CompareConfig, TrainConfig
from deepchest_cli.model.checkpoint import read_checkpoint
from deepchest_cli.training.resume import saved_config

BRIEF = ("--batch-size", 16, "--epochs", 2, "--schedule", "constant", "--warmup-steps", 0)
MINE = ("--backbone", "mine.py:build")
UNNAMED = "mine.py:build is code of your own, which runs only where it is named"
FINDING = "Effusion"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with a mine.py of its own content, in which the commands run."""
    write(tmp_path / "mine.py", source_of(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def source_of(folder: Path, body: str = GOOD) -> str:
    # what a process has run once it knows by its hash: no two tests have the same
    return f"{body}\n# {folder}\n"


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    monkeypatch.setattr(writing, "_draw", lambda _, figures: dict.fromkeys(figures, b"<svg/>"))


@pytest.fixture
def run(deepchest, shards):
    """A finished run of two epochs."""
    outcome = deepchest("train", "--data", shards, *BRIEF, *MINE, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert "run: mine.py:build with deepchest on" in outcome.err
    return Path("run")


@pytest.fixture
def forgotten(monkeypatch):
    """Let this process know nothing of what it has run, as a new one would."""
    from deepchest_cli import own_code

    return lambda: monkeypatch.setattr(own_code, "_loaded", {})


@pytest.fixture
def image(shards):
    return sorted((shards.parent / "nih" / "images").iterdir())[0]


def command_in(error):
    """Return the words of the command that an error tells to type."""
    (line,) = [x for x in error.splitlines() if "deepchest " in x and "with: " in x]
    return shlex.split(line.partition("with: ")[2])[1:]


def test_a_run_records_the_file_and_resumes_only_when_it_is_named(deepchest, run, here, forgotten):
    config = saved_config(run, TrainConfig)
    assert config.backbone == f"{here / 'mine.py'}:build"
    content = read_checkpoint(run / "best.pt")
    assert content["architecture"]["backbone"] == "mine.py:build"
    assert content["architecture"]["backbone_config"] == {
        "sha256": config.backbone_sha256,
        "features": 12,
    }
    assert content["origin"]["config"]["backbone_sha256"] == config.backbone_sha256
    forgotten()
    refused = deepchest("train", "--resume", run)
    assert refused.code == 2
    assert "code of your own, which runs only where it is named" in refused.err
    resumed = deepchest(*command_in(refused.err))
    assert resumed.code == 0, resumed.err
    other = deepchest("train", "--resume", run, "--backbone", "mine.py:Net")
    assert f"--backbone is mine.py:Net, but run began with {here / 'mine.py'}:build" in other.err
    other = deepchest("train", "--resume", run, "--backbone", "resnet18")
    assert other.code == 2


def test_a_stopped_run_ends_as_one_that_was_not_stopped(deepchest, run, shards, here, forgotten):
    first = deepchest("train", "--data", shards, *BRIEF, *MINE, "--max-steps", 3, "--out", "half")
    assert first.code == 0, first.err
    text = (here / "half/config.toml").read_text()
    (here / "half/config.toml").write_text(text.replace("max_steps = 3\n", ""))
    (here / "elsewhere").mkdir()
    shutil.move("mine.py", "elsewhere/network.py")
    forgotten()
    moved = ("--backbone", "elsewhere/network.py:build")
    resumed = deepchest("train", "--resume", "half", *moved)
    assert resumed.code == 0, resumed.err
    assert untimed(here / "half/metrics.csv") == untimed(run / "metrics.csv")
    both = [read_checkpoint(Path(folder) / "last.pt")["tensors"] for folder in ("run", "half")]
    assert all(torch.equal(both[0][key], both[1][key]) for key in both[0])


def test_a_changed_file_is_refused_everywhere(deepchest, run, here, shards, image, forgotten):
    write(here / "mine.py", GOOD.replace("width=8", "width=9"))
    forgotten()
    resumed = deepchest("train", "--resume", run, *MINE)
    assert resumed.code == 2
    assert "is not the file that this run or comparison began with: its SHA-256" in resumed.err
    again = deepchest("train", "--config", run / "config.toml", "--out", "again")
    assert again.code == 2
    assert "leave the SHA-256 out of a configuration file" in again.err
    assert not Path("again").exists()
    for words in (("predict", image), ("evaluate", "--data", shards), ("export",)):
        refused = deepchest(*words, "--model", run, *MINE)
        assert refused.code == 2
        assert "run/best.pt: " in refused.err
        assert "is not the file that the backbone mine.py:build was trained with" in refused.err
        assert "Restore the file" in refused.err


def test_a_configuration_that_the_user_names_repeats_the_run(deepchest, run, here):
    again = deepchest("train", "--config", run / "config.toml", "--out", "again")
    assert again.code == 0, again.err
    assert untimed(here / "again/metrics.csv") == untimed(run / "metrics.csv")
    flags = ("--config", run / "config.toml", "--out", "other", "--backbone", "small_cnn")
    other = deepchest("train", *flags)  # the hash is that of the file that is not used
    assert other.code == 0, other.err
    assert saved_config(Path("other"), TrainConfig).backbone_sha256 is None


def test_no_code_runs_on_the_word_of_a_folder(deepchest, run, here, image, shards, forgotten):
    write(here / "mine.py", "from pathlib import Path\nPath('it-ran').touch()\n" + GOOD)
    forgotten()
    commands = (
        ("train", "--resume", run),
        ("train", "--resume", "auto", "--out", run),
        ("train", "--weights", run, "--backbone", "small_cnn", "--data", shards, *BRIEF),
        ("predict", image, "--model", run),
        ("evaluate", "--model", run, "--data", shards),
        ("export", "--model", run),
        ("recalibrate", "--model", run, "--data", shards, "--out", "copy"),
        ("doctor", "--model", run, "--data", shards),
    )
    for words in commands:
        outcome = deepchest(*words)
        if words[0] != "doctor":
            assert outcome.code == 2, words
        if words[0] in ("predict", "evaluate", "export", "recalibrate"):
            assert UNNAMED in outcome.err
            assert "Name it: --backbone FOLDER/mine.py:build" in outcome.err
    assert not Path("it-ran").exists()


def test_every_command_takes_the_model_with_its_code(
    deepchest, run, here, shards, image, forgotten
):
    (here / "elsewhere").mkdir()
    shutil.move("mine.py", "elsewhere/network.py")
    named = ("--model", run, "--backbone", "elsewhere/network.py:build")
    forgotten()
    scored = deepchest("evaluate", *named, "--data", shards, "--bootstrap-replicates", 20, "--json")
    assert scored.code == 0, scored.err
    document = valid(json.loads(scored.out), "evaluate")
    assert document["models"][0]["backbone"] == "mine.py:build"
    heat = ("--heatmap", "maps", "--finding", FINDING)
    predicted = deepchest("predict", image, *named, "--json", *heat)
    assert predicted.code == 0, predicted.err
    valid(json.loads(predicted.out), "predictions")
    assert len(list(Path("maps").iterdir())) == 1
    for form in ("onnx", "torch"):
        if form == "onnx":
            pytest.importorskip("onnxscript")
        exported = deepchest("export", *named, "--format", form)
        assert exported.code == 0, exported.err
    copied = deepchest(
        "recalibrate", *named, "--data", shards, "--allow-overlap", "--split", "all",
        "--out", "copy",
        "--bootstrap-replicates", 0,
    )  # fmt: skip
    assert copied.code == 0, copied.err
    both = ("--model", "copy", "--model", run)  # one of --backbone serves all that need it
    assert deepchest("predict", image, *both, "--backbone", "elsewhere/network.py:build").code == 0


def test_two_models_have_code_of_their_own(deepchest, run, here, shards, image, forgotten):
    write(here / "second.py", source_of(here, GOOD.replace("width=8", "width=6")))
    flags = ("--data", shards, *BRIEF, "--backbone", "second.py:build", "--out", "second")
    assert deepchest("train", *flags).code == 0
    forgotten()
    named = (*MINE, "--backbone", "second.py:build")
    flags = ("--model", run, "--data", shards, "--compare-to", "second")
    flags = (*flags, "--bootstrap-replicates", 20)
    assert deepchest("evaluate", *flags, *named).code == 0
    forgotten()
    assert "second/best.pt: " in deepchest("evaluate", *flags, *MINE).err
    forgotten()
    model = load_model(run, "second", backbone=["mine.py:build", "second.py:build"])
    assert model.predict(image)[0].probabilities.keys() == set(model.findings)


def test_the_library_takes_the_code_by_its_name(run, image, forgotten):
    from deepchest_cli.errors import UsageError

    forgotten()
    with pytest.raises(UsageError, match=UNNAMED):
        load_model(run)
    assert load_model(run, backbone="mine.py:build").predict(image)[0].problem == ""


@pytest.mark.parametrize("given", ["mine.py", "gone.py:build", "mine.py:biuld", "resnet18"])
def test_a_name_that_leads_nowhere_is_answered(deepchest, run, image, given):
    refused = deepchest("predict", image, "--model", run, "--backbone", given)
    assert refused.code == 2
    assert "Traceback" not in refused.err


def test_weights_come_from_a_run_of_ones_own_backbone(deepchest, run, here, shards):
    shutil.copy("mine.py", "renamed.py")
    flags = ("--data", shards, *BRIEF, "--weights", run)
    for backbone in ("mine.py:build", "renamed.py:build"):
        outcome = deepchest("train", *flags, "--backbone", backbone)
        assert outcome.code == 0, outcome.err
    write(here / "renamed.py", GOOD.replace("width=8", "width=9"))
    refused = deepchest("train", *flags, "--backbone", "renamed.py:build")
    assert "are not those of renamed.py:build" in refused.err
    assert "stages.0.weight is (8, 1, 3, 3) and not (9, 1, 3, 3)" in refused.err


def test_an_error_in_the_middle_of_a_run_names_the_line(deepchest, shards, here):
    """One that the trial, with its small batch, does not meet."""
    late = f"assert len(x) < 3, 'a large batch'; {RETURNED}"
    write(here / "mine.py", GOOD.replace(RETURNED, late))
    outcome = deepchest("train", "--data", shards, *BRIEF, *MINE, "--precision", "fp32")
    assert outcome.code == 1
    place = f"{here / 'mine.py'}, line 15: AssertionError: a large batch."
    assert f"The backbone mine.py:build failed: {place}" in outcome.err
    assert "Traceback" not in outcome.err


def test_an_error_while_predicting_names_the_line(deepchest, shards, here, image):
    late = f"assert self.training or len(x) != 3, 'three'; {RETURNED}"
    write(here / "mine.py", GOOD.replace(RETURNED, late))
    assert deepchest("train", "--data", shards, *BRIEF, *MINE, "--out", "run").code == 0
    outcome = deepchest("predict", image, "--model", "run", *MINE, "--batch-size", 3)
    assert outcome.code == 1
    assert f"{here / 'mine.py'}, line 15: AssertionError: three." in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_a_network_that_cannot_be_exported_is_told_where(deepchest, shards, here, form):
    if form == "onnx":
        pytest.importorskip("onnxscript")
    branch = f"x = x if x.mean() < 99 else -x; {RETURNED}"
    write(here / "mine.py", GOOD.replace(RETURNED, branch))
    assert deepchest("train", "--data", shards, *BRIEF, *MINE, "--out", "run").code == 0
    outcome = deepchest("export", "--model", "run", *MINE, "--format", form)
    assert outcome.code == 1
    assert f"mine.py:build cannot be exported with --format {form}: " in outcome.err
    assert f"{here / 'mine.py'}, line 15: " in outcome.err
    assert len(outcome.err.splitlines()) == 2
    assert not list(Path("run").glob("model*"))


def test_what_is_printed_is_no_part_of_the_document(deepchest, shards, here):
    write(here / "mine.py", GOOD.replace(FUNCTION, f"print('built'); {FUNCTION}"))
    outcome = deepchest("train", "--data", shards, *BRIEF, *MINE, "--out", "run", "--json")
    assert outcome.code == 0, outcome.err
    json.loads(outcome.out)


def test_a_compiled_run_trains_it(deepchest, shards):
    outcome = deepchest(
        "train", "--data", shards, *BRIEF, *MINE, "--compile", "--max-steps", 2, "--out", "run"
    )
    assert outcome.code == 0, outcome.err


def test_a_comparison_resumes_when_the_code_is_named(deepchest, here, shards, forgotten):
    flags = ("--seeds", 1, "--bootstrap-replicates", 100, "--cost-rounds", 2, "--max-steps", 2)
    flags = ("--data", shards, *BRIEF, *flags, "--weighters", "equal,dwa")
    began = deepchest("compare-weighters", *flags, *MINE, "--out", "c")
    assert began.code == 0, began.err
    config = saved_config(Path("c"), CompareConfig)
    assert config.backbone == f"{here / 'mine.py'}:build"
    assert len(config.backbone_sha256) == 64
    forgotten()
    refused = deepchest("compare-weighters", "--resume", "c")
    assert refused.code == 2
    assert "code of your own, which runs only where it is named" in refused.err
    again = deepchest(*command_in(refused.err))
    assert again.code == 0, again.err
    assert "nothing is left to train" in again.err
    (here / "elsewhere").mkdir()
    shutil.move("mine.py", "elsewhere/network.py")
    forgotten()
    moved = ("--backbone", "elsewhere/network.py:build")
    devices = ("--devices", "cpu,cpu")  # a worker, which runs the file itself
    extended = deepchest(
        "compare-weighters", "--resume", "c", *moved, "--weighters", "rlw", *devices
    )
    assert extended.code == 0, extended.err
    results = json.loads(Path("c/results.json").read_text())
    assert {"equal", "dwa", "rlw"} == set(results["weighters"])
    assert saved_config(Path("c"), CompareConfig).backbone == (
        f"{here / 'elsewhere' / 'network.py'}:build"
    )
    write(here / "elsewhere" / "network.py", GOOD.replace("width=8", "width=9"))
    forgotten()
    changed = deepchest("compare-weighters", "--resume", "c", *moved)
    assert changed.code == 2
    assert "is not the file that this run or comparison began with" in changed.err
