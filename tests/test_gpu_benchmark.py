"""The benchmark that users with a GPU run, scaled down; figures mean nothing here."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import write_nih_folder
from jsonschema import Draft202012Validator
from page_structure import checked
from simulated_device import simulated

FOLDER = Path(__file__).parent / "benchmarks"
SMALL = (
    *("--backbone", "small_cnn", "--size", "32", "--batches", "4", "--compiled", "0"),
    *("--rounds", "2", "--steps", "2", "--images", "8", "--epoch-images", "8"),
    *("--weighters", "equal,deepchest,upgrad", "--device", "cpu", "--quiet"),
)  # of which later ones replace earlier ones


@pytest.fixture
def gpu(monkeypatch):
    """The program, whose parts are measured in this process: none of them breaks it."""
    monkeypatch.syspath_prepend(FOLDER)
    import gpu
    import gpu_process

    def run_part(measure, plan, arguments, log, progress):
        return {**gpu_process.entry_of(measure, plan, arguments, progress), "seconds": 1.0}

    monkeypatch.setattr(gpu, "run_part", run_part)
    return gpu


@pytest.fixture
def run(gpu, tmp_path):
    """Run the program; returns exit code and document."""

    def run(*arguments, out="out"):
        code = gpu.main([*SMALL, "--out", str(tmp_path / out), *map(str, arguments)])
        path = tmp_path / out / "gpu.json"
        if not path.exists():
            return code, None
        document = json.loads(path.read_text())
        schema = json.loads((FOLDER / "gpu.schema.json").read_text())
        Draft202012Validator(schema).validate(document)
        return code, document

    return run


def parts_of(document, section):
    return document["sections"][section]["parts"]


def test_all_sections_and_the_page(run, tmp_path, capsys):
    code, document = run()
    assert code == 0, capsys.readouterr().err
    sections = document["sections"]
    assert list(sections) == [
        "steps", "share", "validation", "epoch", "weighters", "two-gpus", "nih",
    ]  # fmt: skip
    measured = {name: {p["status"] for p in parts_of(document, name).values()} for name in sections}
    assert measured.pop("two-gpus") == measured.pop("nih") == {"skipped"}
    assert set.union(*measured.values()) == {"measured"}, document
    rates = parts_of(document, "steps")["batch 4"]["figures"]["rates"]
    assert list(rates) == ["fp32, eager", "bf16, eager"]
    assert all(rate["images_per_second"] > 0 for rate in rates.values())
    assert rates["fp32, eager"]["ratio"]["value"] == 1
    layouts = parts_of(document, "validation")["batch 4"]["figures"]["rates"]
    assert layouts["channels last"]["reference"] == "contiguous"
    epoch = parts_of(document, "epoch")["batch 4"]["figures"]
    assert (epoch["training_images"], epoch["validation_images"]) == (8, 8)
    costs = parts_of(document, "weighters")
    assert list(costs["by features"]["figures"]["costs"]) == ["equal", "deepchest", "upgrad"]
    assert list(costs["by parameters"]["figures"]["costs"]) == ["equal", "upgrad"]
    machine = document["machine"]
    assert machine["torch"] == torch.__version__ and machine["doctor"]["packages"]["torch"]
    assert str(Path.home()) not in json.dumps(document)
    page = (tmp_path / "out" / "gpu.html").read_text()
    verdicts = {goal["verdict"] for goal in document["goals"]}
    for text in (*verdicts, "Share of the bare step", "channels last", "upgrad", "two CUDA"):
        assert text.lower() in page.lower()
    assert 'src="data:image/svg' in page and "http" not in page.replace("http://www.w3.org", "")
    assert checked(page).titles()[0] == "Goals"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["gpu.html", "gpu.json"]


@pytest.mark.usefixtures("no_rendering")
def test_what_fails_keeps_its_reason_and_a_rerun_measures_it(run, gpu, monkeypatch, tmp_path):
    import gpu_rates

    def broken(config, steps):
        if config.precision == "bf16":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return working(config, steps)

    def diverged(plan, progress, batch):
        raise RuntimeError("a kernel failed\nat a place")

    working = gpu_rates.OurSteps
    with monkeypatch.context() as patch:
        patch.setattr(gpu_rates, "OurSteps", broken)
        section = replace(gpu.SECTIONS["validation"], measure=diverged)
        patch.setitem(gpu.SECTIONS, "validation", section)
        code, document = run("--sections", "validation,steps")
    assert code == 0
    rates = parts_of(document, "steps")["batch 4"]["figures"]["rates"]
    assert rates["bf16, eager"] == {
        "reason": "Out of memory: CUDA out of memory. Tried to allocate 2 GiB"
    }
    assert rates["fp32, eager"]["ratio"]["value"] == 1
    failed = parts_of(document, "validation")["batch 4"]
    assert (failed["status"], failed["reason"]) == ("failed", "RuntimeError: a kernel failed")
    page = (tmp_path / "out" / "gpu.html").read_text()
    assert "batch 4, bf16, eager: failed. Out of memory" in page and "a kernel failed" in page

    code, again = run("--sections", "validation,steps")  # only what has no figures
    assert parts_of(again, "validation")["batch 4"]["status"] == "measured"
    assert again["sections"]["steps"] == document["sections"]["steps"]
    code, anew = run("--only", "steps")
    assert "ratio" in parts_of(anew, "steps")["batch 4"]["figures"]["rates"]["bf16, eager"]
    assert anew["sections"]["validation"] == again["sections"]["validation"]


@pytest.mark.usefixtures("no_rendering")
def test_compilation_that_fails_leaves_the_others(run, monkeypatch):
    def cannot(module):
        raise RuntimeError("Failed to find a C++ compiler")

    monkeypatch.setattr(torch.nn.Module, "compile", cannot)
    _, document = run("--sections", "share", "--compiled", "4")
    rates = parts_of(document, "share")["batch 4"]["figures"]["rates"]
    assert rates["bare step, compiled"]["reason"] == "RuntimeError: Failed to find a C++ compiler"
    assert rates["epoch of training, eager"]["ratio"]["value"] > 0
    goals = {goal["name"]: goal for goal in document["goals"]}
    lost = goals["Epoch of training over the bare step, batch 4, compiled"]
    assert (lost["verdict"], lost["reason"]) == (
        "not measured", "RuntimeError: Failed to find a C++ compiler",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sections", "step"], ["--sections", "'step'", "steps, share"]),
        (["--batches", "4,x"], ["--batches", "whole numbers", "'4,x'"]),
        (["--rounds", "1"], ["--rounds should be at least 2", "Found 1"]),
        (["--images", "3"], ["--images should be at least 4"]),
        (["--weighters", "equl"], ["--weighters", "'equl'"]),
        (["--nih", "/nowhere"], ["--nih", "/nowhere"]),
        (["--device", "cuda:7"], ["--device cuda:7"]),
    ],
)
def test_wrong_flags(run, capsys, tmp_path, arguments, words):
    code, document = run(*arguments)
    said = capsys.readouterr().err
    assert (code, document) == (2, None)
    assert all(word in said for word in words), said
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_rendering")
def test_figures_of_other_settings_or_machines_are_not_mixed(run, gpu, capsys, tmp_path):
    run("--sections", "two-gpus")
    code, document = run("--sections", "two-gpus", "--size", "48")
    assert code == 2 and "other settings: size" in capsys.readouterr().err
    document["machine"]["device_name"] = "NVIDIA H100"
    path = tmp_path / "out" / "gpu.json"
    path.write_text(json.dumps(document))
    assert run("--sections", "two-gpus")[0] == 2
    assert "another machine: device_name NVIDIA H100, here" in capsys.readouterr().err
    path.write_text("[]")
    assert gpu.main([*SMALL, "--out", str(tmp_path / "out")]) == 2
    assert "is no file of this benchmark" in capsys.readouterr().err


def test_a_part_whose_process_is_killed(gpu, tmp_path):
    import gpu_process
    from dying_part import die

    said = []
    plan = gpu.plan_of(gpu.read_options([*SMALL, "--out", str(tmp_path)]))
    entry = gpu_process.run_part(die, plan, {}, tmp_path / "log", said.append)
    assert (entry["status"], said) == ("failed", ["still there"])
    assert "SIGKILL" in entry["reason"]
    assert "die {}" in (tmp_path / "log").read_text()


def test_no_room_for_the_images_is_a_reason(run, monkeypatch, capsys):
    import gpu_plan

    usage = gpu_plan.shutil.disk_usage("/")
    monkeypatch.setattr(gpu_plan.shutil, "disk_usage", lambda path: usage._replace(free=10**6))
    code, document = run("--sections", "epoch", "--epoch-images", "100000")
    part = parts_of(document, "epoch")["batch 4"]
    assert (code, part["status"]) == (0, "skipped")
    assert "takes 0.1 GB" in part["reason"] and "--scratch" in part["reason"]
    monkeypatch.setattr(gpu_plan.shutil, "disk_usage", lambda path: usage._replace(free=10))
    assert run("--sections", "epoch", out="other") == (1, None)
    assert "--scratch" in capsys.readouterr().err


@pytest.fixture
def simulated_gpu(monkeypatch):
    """A simulated GPU, and what its driver says of it."""
    with simulated("cuda") as device:
        properties = SimpleNamespace(
            name="simulated", total_memory=device.total_memory, major=9, minor=0,
            multi_processor_count=132,
        )  # fmt: skip
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
        monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 92400)
        yield device


@pytest.mark.usefixtures("no_rendering")
def test_all_sections_on_a_simulated_gpu(gpu, simulated_gpu, tmp_path):
    options = [*SMALL, "--device", "cuda", "--out", str(tmp_path / "out")]
    assert gpu.main([*options, "--weighters", "equal,upgrad"]) == 0
    document = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert document["machine"]["device"] == "cuda:0"
    assert document["machine"]["device_memory"] == simulated_gpu.total_memory
    parts = {
        f"{name}, {part}": entry["status"]
        for name, section in document["sections"].items()
        for part, entry in section["parts"].items()
    }
    assert {part for part, status in parts.items() if status == "skipped"} == {
        "two-gpus, run", "nih, run",
    }  # fmt: skip
    assert set(parts.values()) == {"measured", "skipped"}, document["sections"]
    rates = parts_of(document, "steps")["batch 4"]["figures"]["rates"]
    assert list(rates) == ["fp32, eager", "bf16, eager", "fp16, eager"]
    assert all(rate["peak_memory"] is not None for rate in rates.values()), rates
    epochs = parts_of(document, "epoch")
    assert [part["figures"]["place"] for part in epochs.values()] == ["device", "none"]


@pytest.mark.usefixtures("no_rendering")
def test_a_gpu_that_breaks_loses_its_part_only(gpu, simulated_gpu, monkeypatch, tmp_path):
    error = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    section = gpu.SECTIONS["validation"]

    def breaks(plan, progress, batch):
        simulated_gpu.fail(error, after=40)
        try:
            return section.measure(plan, progress, batch)
        finally:
            simulated_gpu.repair()  # as in the next part's own process

    options = [*SMALL, "--device", "cuda", "--out", str(tmp_path / "out")]
    monkeypatch.setitem(gpu.SECTIONS, "validation", replace(section, measure=breaks))
    assert gpu.main([*options, "--sections", "validation,steps"]) == 0
    document = json.loads((tmp_path / "out" / "gpu.json").read_text())
    part = parts_of(document, "validation")["batch 4"]
    assert part["status"] == "failed" and "illegal memory access" in part["reason"]
    assert parts_of(document, "steps")["batch 4"]["status"] == "measured"


@pytest.mark.usefixtures("no_rendering")
def test_nih_by_the_commands_of_deepchest(run, monkeypatch, deepchest, tmp_path):
    import gpu_runs

    folder = write_nih_folder(tmp_path / "files")

    def command(*words):
        assert words[:2] == ("-m", "deepchest_cli")
        outcome = deepchest(*words[2:])
        assert outcome.code == 0, outcome.err
        return outcome.out

    monkeypatch.setattr(gpu_runs, "command", command)
    _, document = run("--sections", "nih", "--nih", folder)
    part = parts_of(document, "nih")["run"]
    assert part["status"] == "measured", part
    figures = part["figures"]
    assert (figures["images"], figures["patients"], figures["epochs"]) == (20, 10, 1)
    assert figures["auroc"]["low"] <= figures["auroc"]["value"] <= figures["auroc"]["high"]
    assert figures["initial_weights"] == "none"
    assert set(figures["seconds"]) == {"prepare", "train", "evaluate"}
    assert (tmp_path / "out" / "nih-run" / "best.pt").is_file()
    assert "Macro AUROC" in (tmp_path / "out" / "gpu.html").read_text()


@pytest.mark.usefixtures("no_rendering")
def test_two_processes_are_compared_with_one(gpu, monkeypatch, deepchest, tmp_path):
    import gpu_runs

    started = []

    def command(*words):
        started.append(words[1])
        outcome = deepchest(*words[words.index("train") :])
        assert outcome.code == 0, outcome.err
        return outcome.out

    monkeypatch.setattr(gpu_runs, "command", command)
    plan = gpu.plan_of(gpu.read_options([*SMALL, "--out", str(tmp_path)]))
    figures = gpu_runs.train_on_two(plan, lambda text: None, "cpu")
    assert started == ["deepchest_cli", "torch.distributed.run"] * 2
    assert figures["speedup"]["low"] <= figures["speedup"]["value"] <= figures["speedup"]["high"]
    assert len(figures["images_per_second_of_two"]) == figures["batch_per_device"] // 2


def test_verdicts_are_by_the_whole_interval(gpu):
    from gpu_goals import goals_of

    def share(low, high):
        ratio = {"value": (low + high) / 2, "low": low, "high": high}
        rates = {"epoch of training, eager": {"ratio": ratio}}
        part = {"status": "measured", "figures": {"rates": rates}}
        return goals_of({"sections": {"share": {"parts": {"batch 32": part}}}})[0].verdict

    assert share(0.95, 0.99) == "holds"
    assert share(0.90, 0.96) == "inconclusive"
    assert share(0.90, 0.94) == "does not hold"


def test_commands_that_fail_say_so(gpu):
    import gpu_runs

    with pytest.raises(RuntimeError, match="ended with status 3: the reason"):
        gpu_runs.command("-c", "import sys; sys.stderr.write('x\\nthe reason\\n'); sys.exit(3)")
    assert gpu_runs.command("-c", "print(1)") == "1\n"
