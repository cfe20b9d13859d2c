"""`deepchest train`, `compare-weighters` and `weighters --check` with a weighter of one's own."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
from own_weighters import GOOD, GRADIENT, broken, write
from tests_support import untimed, valid

from deepchest_cli.comparison.output import writing
from deepchest_cli.config import CompareConfig, TrainConfig
from deepchest_cli.model.checkpoint import read_checkpoint
from deepchest_cli.training.resume import saved_config

QUICK = (
    "--backbone", "small_cnn", "--batch-size", 16, "--schedule", "constant", "--warmup-steps", 0,
    "--epochs", 2,
)  # fmt: skip
BRIEF = ("--backbone", "small_cnn", "--batch-size", 16, "--epochs", 1, "--max-steps", 2)
COMPARED = (*BRIEF, "--seeds", 1, "--bootstrap-replicates", 100, "--cost-rounds", 2)
ARMS = "mine.py:MyWeighter[alpha=2],deepchest+mine.py:MyWeighter"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with mine.py, in which the commands run."""
    write(tmp_path / "mine.py")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    monkeypatch.setattr(writing, "_draw", lambda _, figures: dict.fromkeys(figures, b"<svg/>"))


@pytest.fixture
def run(deepchest, shards):
    """A finished run of two epochs."""
    flags = ("--data", shards, *QUICK, "--weighter", "mine.py:MyWeighter", "--out", "run")
    flags = (*flags, "--weighter-option", "alpha=2")
    whole = deepchest("train", *flags)
    assert whole.code == 0, whole.err
    assert "small_cnn with mine.py:MyWeighter on" in whole.err
    return Path("run")


def command_in(error):
    """Return the words of the command that an error tells to type."""
    (line,) = [x for x in error.splitlines() if "deepchest " in x and "with: " in x]
    return shlex.split(line.partition("with: ")[2])[1:]


def test_a_run_records_the_file_and_resumes_only_when_it_is_named(deepchest, run, here):
    config = saved_config(run, TrainConfig)
    assert config.weighter == f"{here / 'mine.py'}:MyWeighter"
    assert len(config.weighter_sha256) == 64
    content = read_checkpoint(run / "best.pt")
    assert content["origin"]["weighter"] == "mine.py:MyWeighter"
    assert content["origin"]["config"]["weighter_sha256"] == config.weighter_sha256
    refused = deepchest("train", "--resume", run)
    assert refused.code == 2
    assert "code of your own, which runs only where it is named" in refused.err
    resumed = deepchest(*command_in(refused.err))
    assert resumed.code == 0, resumed.err
    other = deepchest("train", "--resume", run, "--weighter", "deepchest+mine.py:MyWeighter")
    assert f"but run began with {here / 'mine.py'}:MyWeighter" in other.err


def test_a_stopped_run_ends_as_one_that_was_not_stopped(deepchest, run, shards, here):
    """The resumed half goes on with the options of the configuration, to the same bits."""
    flags = ("--data", shards, *QUICK[:-1], 1, "--weighter", "mine.py:MyWeighter")
    first = deepchest("train", *flags, "--weighter-option", "alpha=2", "--out", "half")
    assert first.code == 0, first.err
    text = (here / "half/config.toml").read_text()
    (here / "half/config.toml").write_text(text.replace("epochs = 1\n", "epochs = 2\n"))
    elsewhere = write(here / "elsewhere" / "rule.py")  # the same file by another name
    (here / "mine.py").unlink()
    resumed = deepchest("train", "--resume", "half", "--weighter", f"{elsewhere}:MyWeighter")
    assert resumed.code == 0, resumed.err
    assert untimed(here / "half/weights.csv")[-1] == untimed(run / "weights.csv")[-1]


def test_a_changed_file_is_refused(deepchest, run, here):
    write(here / "mine.py", GOOD + "raise RuntimeError('this must not run')\n")
    refused = deepchest("train", "--resume", run, "--weighter", "mine.py:MyWeighter")
    assert refused.code == 2
    assert "is not the file that this run or comparison began with: its SHA-256 is" in refused.err


def test_no_code_runs_on_the_word_of_a_folder(deepchest, run, here):
    write(here / "mine.py", "from pathlib import Path\nPath('it-ran').touch()\n" + GOOD)
    for words in (("--resume", run), ("--resume", "auto", "--out", run)):
        assert deepchest("train", *words).code == 2
    assert not Path("it-ran").exists()


def test_the_model_is_used_without_the_file(deepchest, run, here, shards):
    (here / "mine.py").unlink()
    image = next((shards.parent / "nih" / "images").iterdir())
    assert deepchest("predict", "--model", run, image).code == 0
    assert deepchest("evaluate", "--model", run, "--data", shards, "--json").code == 0
    assert deepchest("export", "--model", run, "--format", "torch").code == 0


def test_a_configuration_that_the_user_names_repeats_the_run(deepchest, run, here):
    again = deepchest("train", "--config", run / "config.toml", "--out", "again")
    assert again.code == 0, again.err
    assert untimed(here / "again/weights.csv") == untimed(run / "weights.csv")


def test_a_broken_weighter_is_refused_before_there_is_a_run(deepchest, shards, here):
    broken(here / "mine.py", "saved state")
    refused = deepchest("train", "--data", shards, *BRIEF, "--weighter", "mine.py:MyWeighter")
    assert refused.code == 2
    assert "breaks its contract. Expected: state_dict holds all that is remembered" in refused.err
    assert "--check" in refused.err
    assert not Path("runs").exists()
    arms = deepchest("compare-weighters", "--data", shards, *COMPARED, "--weighters", ARMS[:18])
    assert arms.code == 2
    assert "breaks its contract" in arms.err
    assert not Path("comparisons").exists()


def test_an_error_in_the_middle_of_a_run_names_the_line(deepchest, shards, here):
    """One that the checks, with their small batches, do not meet."""
    late = "if losses.known.max() > 8: raise ValueError('a large batch')\n        shares ="
    write(here / "mine.py", GOOD.replace("shares =", late))
    outcome = deepchest("train", "--data", shards, *QUICK, "--weighter", "mine.py:MyWeighter")
    assert outcome.code == 1
    assert f"{here / 'mine.py'}, line 12: ValueError: a large batch." in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("level", ["features", "parameters"])
def test_a_gradient_weighter_trains_at_both_levels(deepchest, shards, here, level):
    write(here / "mean.py", GRADIENT)
    flags = ("--weighter", "mean.py:Mean", "--gradient-level", level, "--out", "run")
    outcome = deepchest("train", "--data", shards, *BRIEF, *flags)
    assert outcome.code == 0, outcome.err
    weights = untimed(here / "run/weights.csv")[-1]
    assert float(weights.pop("epoch")) == 1


@pytest.fixture
def compared(deepchest, shards):
    flags = ("--data", shards, *COMPARED, "--weighters", ARMS, "--out", "c")
    outcome = deepchest("compare-weighters", *flags)
    assert outcome.code == 0, outcome.err
    return Path("c")


def test_a_comparison_takes_arms_of_ones_own_and_resumes_when_they_are_named(
    deepchest, compared, here
):
    results = valid(json.loads((compared / "results.json").read_text()), "compare-weighters")
    labels = ["equal", *ARMS.split(",")]
    assert list(results["weighters"]) == labels
    hashes = [results["weighters"][label]["weighter_sha256"] for label in labels]
    config = saved_config(compared, CompareConfig)
    name = f"{here / 'mine.py'}:MyWeighter"
    assert hashes[0] is None
    assert config.weighter_sha256 == (f"{name}={hashes[1]}",) == (f"{name}={hashes[2]}",)
    assert {path.name for path in (compared / "runs").iterdir()} == {
        "equal", "mine.py_MyWeighter_alpha=2_", "deepchest+mine.py_MyWeighter",
    }  # fmt: skip
    assert "mine.py:MyWeighter[alpha=2]" in (compared / "report.html").read_text()

    refused = deepchest("compare-weighters", "--resume", compared)
    assert refused.code == 2
    assert "code of your own, which runs only where it is named" in refused.err
    again = deepchest(*command_in(refused.err))
    assert again.code == 0, again.err
    assert "nothing is left to train" in again.err

    moved = shutil.move(here / "mine.py", write(here / "other" / "mine.py"))
    named = f"{moved}:MyWeighter[alpha=2],dwa"
    extended = deepchest("compare-weighters", "--resume", compared, "--weighters", named)
    assert extended.code == 0, extended.err
    results = json.loads((compared / "results.json").read_text())
    assert list(results["weighters"]) == [*labels, "dwa"]

    write(Path(moved), GOOD + "# changed\n")
    changed = deepchest("compare-weighters", "--resume", compared, "--weighters", named)
    assert changed.code == 2
    assert f"{moved} has changed since {compared} began" in changed.err


def test_code_that_exits_is_an_error_and_no_success(deepchest, shards, here):
    late = "_ = len(self.tasks) > 9 and exit(0)"
    write(here / "mine.py", GOOD.replace("shares = ", f"{late}\n        shares = ", 1))
    outcome = deepchest(
        "train", "--data", shards, *BRIEF, "--weighter", "mine.py:MyWeighter", "--out", "run"
    )
    assert outcome.code == 2
    assert "SystemExit: 0" in outcome.err


def test_what_a_weighter_prints_is_no_part_of_the_document(deepchest, here):
    write(here / "mine.py", GOOD.replace("shares = ", "print('x')\n        shares = ", 1))
    json.loads(deepchest("weighters", "--check", "mine.py:MyWeighter", "--json").out)


def test_a_check_says_what_holds(deepchest, here):
    good = deepchest("weighters", "--check", "mine.py:MyWeighter[alpha=2]")
    assert good.code == 0, good.err
    assert "16 of 16 properties hold." in good.out
    assert max(map(len, good.out.splitlines())) <= 80
    document = valid(
        json.loads(deepchest("weighters", "--check", "mine.py:MyWeighter", "--json").out),
        "weighters",
    )
    assert all(check["holds"] for check in document["checks"])
    assert len(document["weighters"][0]["weighter_sha256"]) == 64


def test_a_check_of_a_broken_weighter_fails(deepchest, here):
    broken(here / "mine.py", "additivity")
    bad = deepchest("weighters", "--check", "mine.py:MyWeighter")
    assert bad.code == 1
    assert "BROKEN   additivity" in bad.out
    assert "Expected: Where additive is True" in bad.out
    assert "Found: additive is True, but the objectives" in bad.out
    assert "mine.py:MyWeighter breaks 1 required property." in bad.err
    broken(here / "mine.py", "forms")
    assert "The other 15 properties" in deepchest("weighters", "--check", "mine.py:MyWeighter").out


def test_a_check_of_a_built_in_one(deepchest):
    outcome = deepchest("weighters", "--check", "pcgrad")
    assert outcome.code == 0
    assert "differs  order of tasks" in outcome.out
    assert deepchest("weighters", "--check", "pcgrd").code == 2
