import json

import pytest
from own_weighters import write
from tests_support import next_step, too_wide, valid

from deepchest_cli.extras import install_hint
from deepchest_cli.weighting import WEIGHTERS


def test_weighters(deepchest):
    outcome = deepchest("weighters")
    assert outcome.code == 0
    assert all(name in outcome.out for name in WEIGHTERS)
    assert "raise_factor=1.1 cap=1.5 decay=1.05" in outcome.out
    document = valid(json.loads(deepchest("weighters", "--json").out), "weighters")
    assert [entry["name"] for entry in document["weighters"]] == list(WEIGHTERS)


@pytest.mark.parametrize("width", [80, 120])
def test_the_list_of_weighters_fits_the_terminal(deepchest, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    outcome = deepchest("weighters")
    assert too_wide(outcome.out + outcome.err, width) == []
    heading, *rows = outcome.out.splitlines()
    assert heading.split() == ["Weighter", "kind", "passes", "paper"]
    assert len(rows) == len(WEIGHTERS)
    for info, row in zip(WEIGHTERS.values(), rows, strict=True):
        assert row.split()[:2] == [info.name, info.kind]
        assert row.endswith(info.paper)
    assert next(row for row in rows if row.startswith("famo")).split()[2] == "2+1"
    assert next(row for row in rows if row.startswith("gradnorm")).split()[2] == "1+1+T"
    hidden = "More columns with --verbose, or in a wider window: memory, options."
    assert hidden in " ".join(outcome.err.split())
    assert "cap=1.5" in deepchest("weighters", "--verbose").out
    assert deepchest(*next_step(outcome.err)[1:]).code == 0


@pytest.mark.parametrize("width", [40, 80, 120])
def test_weighters_by_name_fit_the_terminal(deepchest, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    outcome = deepchest("weighters", *WEIGHTERS)
    assert outcome.code == 0
    assert too_wide(outcome.out + outcome.err, width) == []
    told = " ".join(outcome.out.split())
    for info in WEIGHTERS.values():
        assert f"Paper: {info.paper}" in told
        for key, value in info.options.items():
            assert f"{key}={value}" in told
        for line in info.documentation.formula.splitlines():
            if line.startswith("    "):
                assert " ".join(line.split()) in told


def test_a_weighter_by_name_has_formula_options_cost_and_the_next_step(deepchest):
    outcome = deepchest("weighters", "dwa")
    assert "w_i(t) = T exp(r_i / tau) / (the sum of all exp(r_j / tau))" in outcome.out
    meaning = "above 0, the higher the more equal are the weights; 2 in the paper."
    assert f"  temperature=2.0\n    {meaning}\n" in outcome.out
    assert "A step: 1 forward, 1 backward\nMemory: two numbers per task\n" in outcome.out
    assert next_step(outcome.err)[1:] == ["train", "--weighter", "dwa"]
    document = valid(json.loads(deepchest("weighters", "dwa", "--json").out), "weighters")
    (entry,) = document["weighters"]
    assert entry["meanings"] == {"temperature": meaning}
    assert entry["options"] == {"temperature": 2.0}
    assert entry["formula"].startswith("Dynamic weight average (Liu")
    several = deepchest("weighters", "dwa", "rlw")
    assert next_step(several.err)[1:] == ["compare-weighters", "--weighters", "dwa,rlw"]


def test_a_composite_has_the_options_of_both(deepchest):
    outcome = deepchest("weighters", "deepchest+dwa", "--json")
    (entry,) = valid(json.loads(outcome.out), "weighters")["weighters"]
    assert entry["name"] == "deepchest+dwa"
    assert entry["options"]["temperature"] == 2.0
    assert entry["options"]["deepchest.cap"] == 1.5
    assert entry["meanings"].keys() == entry["options"].keys()
    refused = deepchest("weighters", "deepchest+gls")
    assert refused.code == 2
    assert "constant factors of the losses do not change" in refused.err


def test_a_preset_says_what_the_options_of_the_original_mean(deepchest):
    outcome = deepchest("weighters", "deepchest-rare")
    assert "  floor=0.5\n    the lowest weight that decay reaches" in outcome.out


def test_a_weighter_of_ones_own_is_described(deepchest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "mine.py")
    outcome = deepchest("weighters", "mine.py:MyWeighter")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("mine.py:MyWeighter: ")
    assert "SHA-256: " in outcome.out and "  alpha=" in outcome.out
    assert next_step(outcome.err)[1:] == ["weighters", "--check", "mine.py:MyWeighter"]
    checked = deepchest(*next_step(outcome.err)[1:])
    full = f"{tmp_path / 'mine.py'}:MyWeighter"
    assert next_step(checked.err)[1:] == ["train", "--weighter", full]


def test_unknown_weighters_are_refused(deepchest):
    outcome = deepchest("weighters", "dwa", "famoo")
    assert (outcome.code, outcome.out) == (2, "")
    assert "Unknown weighter 'famoo'. Did you mean 'famo'?" in outcome.err
    assert deepchest("weighters", "dwa", "--check", "dwa").code == 2


def test_the_command_after_fixed_names_a_weight_for_every_finding(deepchest):
    from deepchest_cli.config import parse_assignments
    from deepchest_cli.data.findings import FINDINGS
    from deepchest_cli.weighting import build_weighter

    command, *words = next_step(deepchest("weighters", "fixed").err)[1:]
    assert (command, words[:3]) == ("train", ["--weighter", "fixed", "--weighter-option"])
    options = parse_assignments(words[3:], "--weighter-option")
    assert build_weighter("fixed", FINDINGS, options).weights.tolist() == [1.0] * 14
    step = next_step(deepchest("weighters", "dwa", "fixed").err)[1:]
    assert step == ["compare-weighters", "--weighters", f"dwa,fixed[{words[3]}]"]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_doctor_fits_the_terminal(deepchest, tmp_path, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.chdir(tmp_path)
    outcome = deepchest("doctor")
    assert too_wide(outcome.out + outcome.err, width) == []
    assert "source: missing." in outcome.out


def test_doctor_names_what_makes_the_first_thing_that_is_missing(
    deepchest, shards, nih_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert next_step(deepchest("doctor").err)[1:] == ["prepare", "--demo"]
    with_source = deepchest("doctor", "--source", nih_folder, "--data", "my shards")
    prepare = ["prepare", "--source", str(nih_folder), "--data", "my shards"]
    assert next_step(with_source.err)[1:] == prepare
    assert next_step(deepchest("doctor", "--data", shards).err)[1:] == [
        "train",
        "--data",
        str(shards),
    ]


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
