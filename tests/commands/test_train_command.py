import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
from tests_support import untimed, valid

QUICK = ("--backbone", "mobilenet_v2", "--batch-size", 16, "--learning-rate", 1e-3, "--epochs", 2)


def test_results_on_stdout_and_one_plain_line_an_epoch_on_stderr(deepchest, shards, tmp_path):
    outcome = deepchest("train", "--data", shards, "--out", tmp_path / "run", *QUICK)
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[0] == str(tmp_path / "run")
    assert sum(line.startswith("epoch ") for line in outcome.err.splitlines()) == 2
    assert "\x1b" not in outcome.err


def test_json_and_quiet(deepchest, shards, tmp_path):
    arguments = ("--out", tmp_path / "run", *QUICK, "--json", "--quiet")
    outcome = deepchest("train", "--data", shards, *arguments)
    assert valid(json.loads(outcome.out), "train")["epochs"] == 2
    assert outcome.err == ""


def test_a_runs_own_configuration_repeats_it(deepchest, shards, tmp_path, trained):
    config = trained / "config.toml"
    refused = deepchest("train", "--config", config)
    assert refused.code == 2
    assert "exists already" in refused.err
    repeated = deepchest("train", "--config", config, "--out", tmp_path / "again")
    assert repeated.code == 0, repeated.err
    assert untimed(tmp_path / "again" / "metrics.csv") == untimed(trained / "metrics.csv")


def test_weighter_options_arrive(deepchest, shards, tmp_path):
    options = ("--weighter-option", "decay=2", "--weighter-option", "raise-factor=1.3")
    outcome = deepchest("train", "--data", shards, "--out", tmp_path / "run", *QUICK, *options)
    assert outcome.code == 0, outcome.err
    last = untimed(tmp_path / "run" / "weights.csv")[-1]
    assert {float(value) for key, value in last.items() if key != "epoch"} <= {1.3, 0.5}


def test_cuda_without_a_gpu_is_an_error(deepchest, shards, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    outcome = deepchest("train", "--data", shards, "--device", "cuda", "--weighter", "deepchest")
    assert outcome.code == 2
    assert "--device auto" in outcome.err


def test_resume_refuses_what_contradicts_the_run(deepchest, trained, tmp_path):
    contradiction = deepchest("train", "--resume", trained, "--batch-size", 8)
    assert contradiction.code == 2
    assert "--batch-size is 8" in contradiction.err
    equal_to_the_default = deepchest("train", "--resume", trained, "--batch-size", 32)
    assert "--batch-size is 32" in equal_to_the_default.err
    assert deepchest("train", "--resume", tmp_path).code == 2


def test_resume_refuses_changed_data(deepchest, trained, tmp_path, nih_folder):
    prepare = ("prepare", "--source", nih_folder, "--data", tmp_path / "other", "--size", 32)
    assert deepchest(*prepare, "--seed", 7).code == 0
    run = tmp_path / "run"
    run.mkdir()
    (run / "last.pt").write_bytes((trained / "last.pt").read_bytes())
    lines = (trained / "config.toml").read_text().splitlines()
    (run / "config.toml").write_text(
        "\n".join([f'data = "{tmp_path / "other"}"', *(x for x in lines if x[:5] != "data ")])
    )
    outcome = deepchest("train", "--resume", run)
    assert outcome.code == 2
    assert "have changed" in outcome.err


def test_a_finished_run_resumes_to_its_summary(deepchest, trained):
    before = (trained / "metrics.csv").read_bytes()
    outcome = deepchest("train", "--resume", trained)
    assert outcome.code == 0, outcome.err
    assert "2 epochs" in outcome.out
    assert (trained / "metrics.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_an_interrupted_process_goes_on(deepchest, shards, tmp_path, trained, number, code):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "deepchest_cli", "train", "--data", shards, "--out", run]
    process = subprocess.Popen(
        [*map(str, command), *map(str, QUICK)], stderr=subprocess.PIPE, text=True
    )
    while not (run / "metrics.csv").exists():
        time.sleep(0.02)
    process.send_signal(number)
    error = process.communicate()[1]
    if process.returncode != 0:  # it may have been done already
        assert process.returncode == code, error
    if number != signal.SIGKILL and process.returncode:
        assert f"deepchest train --resume {run}" in error
    resumed = deepchest("train", "--resume", run)
    assert resumed.code == 0, resumed.err
    assert untimed(run / "weights.csv") == untimed(trained / "weights.csv")


def test_a_run_that_lost_its_state_is_not_begun_anew(deepchest, trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / "last.pt").unlink()
    before = (run / "best.pt").read_bytes()
    outcome = deepchest("train", "--resume", run)
    assert outcome.code == 2
    assert "lost its last.pt" in outcome.err
    assert (run / "best.pt").read_bytes() == before


def test_a_state_of_another_model_is_refused(deepchest, trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    text = (run / "config.toml").read_text().replace("mobilenet_v2", "resnet18")
    (run / "config.toml").write_text(text)
    outcome = deepchest("train", "--resume", run)
    assert outcome.code == 2
    assert "holds another model" in outcome.err
