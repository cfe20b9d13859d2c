import json

from tests_support import valid

from deepchest_cli.extras import install_hint
from deepchest_cli.weighting import WEIGHTERS


def test_weighters(deepchest):
    outcome = deepchest("weighters")
    assert outcome.code == 0
    assert all(name in outcome.out for name in WEIGHTERS)
    assert "raise_factor=1.1 cap=1.5 decay=1.05" in outcome.out
    document = valid(json.loads(deepchest("weighters", "--json").out), "weighters")
    assert [entry["name"] for entry in document["weighters"]] == list(WEIGHTERS)


def test_doctor_on_a_bare_machine(deepchest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = deepchest("doctor")
    assert outcome.code == 0
    assert "torch" in outcome.out
    for command in ("deepchest prepare", "deepchest train"):
        assert command in outcome.out


def test_doctor_shows_both_rates_of_this_processor(deepchest, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    document = valid(json.loads(deepchest("doctor", "--json").out), "doctor")
    assert document["precision"] == "fp32"
    assert document["rates"] == [
        {
            "network": "resnet50, linear head, 224 px, batch 32",
            "fp32": 2.0,
            "bf16": 1.0,
            "auto": "fp32",
        }
    ]
    assert "2 images/s in fp32, 1 in bf16 on one core" in deepchest("doctor").out


def test_doctor_with_data_and_model(deepchest, shards, trained):
    outcome = deepchest("doctor", "--data", shards, "--model", trained, "--json")
    document = valid(json.loads(outcome.out), "doctor")
    assert document["checks"]["data"]["ok"]
    assert "80 images" in document["checks"]["data"]["found"]
    assert document["checks"]["model"]["ok"]
    assert not document["checks"]["source"]["ok"]
    assert "torchjd 0.18" in document["checks"]["gradient"]["found"]


def test_doctor_names_the_extra_that_is_missing(deepchest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("deepchest_cli.weighting.gradients.adapter.TORCHJD", "absent")
    outcome = deepchest("doctor")
    assert "gradient: missing. Some weighters of task gradients need absent" in outcome.out
    assert f"  {install_hint('gradient')}\n" in outcome.out


def test_weighters_of_both_kinds_are_listed(deepchest):
    outcome = deepchest("weighters", "--json")
    kinds = {e["name"]: e["kind"] for e in valid(json.loads(outcome.out), "weighters")["weighters"]}
    assert kinds["deepchest"] == "loss"
    assert kinds["gradnorm"] == kinds["nash-mtl"] == "gradient"
    assert "--gradient-level parameters" in deepchest("weighters").err
