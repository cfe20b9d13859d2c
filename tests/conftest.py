"""Shared material: a small NIH folder, prepared shards, a trained run, and the command line."""

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

# before numpy is imported, and for processes that tests start: threads would wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("COLUMNS", None)  # pytest-xdist sets it; processes of tests write whole lines

import hypothesis
import numpy as np
import pytest
from PIL import Image
from tests_support import QUICK, blank_figures

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.interruption import BATCH_SIGNALS

# whoever tests within a job of a cluster is one process nevertheless, and so is what tests start
LAUNCHERS = ("SLURM_", "OMPI_", "MV2_", "PMI_", "TORCHELASTIC_", "MASTER_")
for variable in [*os.environ]:
    if variable.startswith(LAUNCHERS) or variable in {"RANK", "WORLD_SIZE", "LOCAL_RANK"}:
        del os.environ[variable]

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)


# a busy machine may take long for one example
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


@pytest.fixture(scope="session", autouse=True)
def few_threads() -> None:
    """Let tests that run beside each other not wait for each other's threads."""
    import torch

    torch.set_num_threads(int(os.environ.get("DEEPCHEST_TEST_THREADS", "1")))


@pytest.fixture(scope="session", autouse=True)
def same_precision_everywhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let `auto` mean fp32 on every processor; nothing is kept in the cache of whoever tests."""
    from deepchest_cli.training import precision

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "measure_rates", lambda *_: precision.Rates(2.0, 1.0))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let nothing be fetched, and no pretrained weights be found in a cache of whoever tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
        for name in ("TORCH_HOME", "HF_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name)))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module", autouse=True)
def quick_collection() -> None:
    """Keep what is there already, imported modules above all, out of every search for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep colors and widths of the caller's terminal out of what is compared."""
    for name in ("GITHUB_ACTIONS", "FORCE_COLOR", "PY_COLORS", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setenv("TERM", "dumb")


@pytest.fixture
def no_rendering() -> Iterator[None]:
    """Save the time of rendering; what fixtures of a module or the session draw is rendered."""
    with blank_figures():
        yield


@pytest.fixture
def signals_arrive() -> Iterator[None]:
    """Let signals arrive that are ignored here, as SIGHUP is where tests run under nohup."""
    before = {n: signal.signal(n, signal.SIG_DFL) for n in BATCH_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def write_nih_folder(folder: Path, patients: int = 40, size: int = 48, seed: int = 0) -> Path:
    """Write radiographs of noise, brighter with more findings, in NIH's layout: two a patient."""
    chance = np.random.default_rng(seed)
    images = folder / "images"
    images.mkdir(parents=True)
    rows, lists = [HEADER], {"train_val": [], "test": []}
    for patient in range(1, patients + 1):
        for follow_up in range(2):
            name = f"{patient:08d}_{follow_up:03d}.png"
            # each finding in turn, so that every part has every finding
            found = [FINDINGS[patient % 14]] if follow_up else []
            found += ["Effusion"] if patient % 3 == 0 and "Effusion" not in found else []
            pixels = chance.normal(90 + 60 * len(found), 20, (size, size)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(images / name)
            labels = "|".join(found) or "No Finding"
            rows.append(
                f"{name},{labels},{follow_up},{patient},0{50 + follow_up}Y,M,PA,2500,2048,0.1,0.1"
            )
            lists["test" if patient % 4 == 0 else "train_val"].append(name)
    (folder / "Data_Entry_2017_v2020.csv").write_text("\n".join(rows) + "\n")
    for part, names in lists.items():
        (folder / f"{part}_list.txt").write_text("\n".join(names))
    (folder / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
        "00000004_001.png,Infiltrate,256.0,512.0,128.0,64.0\n"
    )
    return folder


@pytest.fixture
def nih_folder(tmp_path: Path) -> Path:
    return write_nih_folder(tmp_path / "nih")


@dataclass(frozen=True)
class Outcome:
    """What a command line did."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def deepchest(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run `deepchest ARGUMENTS` in this process."""
    from deepchest_cli.app import main

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["deepchest", *map(str, arguments)])
        # else `python -m pytest` would make the program's name another one
        monkeypatch.setattr(sys.modules["__main__"], "__package__", None, raising=False)
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            main()
        sys.stdout.flush()
        captured = capfd.readouterr()
        return Outcome(int(exit_info.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data set of 80 radiographs at 32 px; not to be changed."""
    from deepchest_cli.config import PrepareConfig
    from deepchest_cli.data.preparation import plan_preparation, run_preparation

    root = tmp_path_factory.mktemp("prepared")
    source = write_nih_folder(root / "nih")
    config = PrepareConfig(size="32", workers=1, validation_fraction=0.2)
    run_preparation(plan_preparation(config, source), config, root / "shards", lambda *_: None)
    return root / "shards"


@pytest.fixture(scope="session")
def few_shards(shards: Path) -> Path:
    """The same radiographs with the labels of Effusion, Mass and Nodule alone.

    For what takes a backward pass for each finding.
    """
    from deepchest_cli.config import PrepareConfig
    from deepchest_cli.data.preparation import plan_preparation, run_preparation

    folder = shards.parent / "few-findings"
    findings = "Effusion,Mass,Nodule"
    config = PrepareConfig(size="32", workers=1, validation_fraction=0.2, findings=findings)
    source = shards.parent / "nih"
    run_preparation(plan_preparation(config, source), config, folder, lambda *_: None)
    return folder


@pytest.fixture(scope="session")
def site_shards(shards: Path) -> Path:
    """Another prepared data set, of 180 radiographs at 48 px; not to be changed.

    It labels Effusion, Mass and Nodule, as `shards` do, and Fracture.
    """
    from site_data import prepare_site, write_site

    return prepare_site(write_site(shards.parent / "hospital"), shards.parent / "site", size=48)


@dataclass
class Recorder:
    """An observer that remembers."""

    steps: list[object]
    epochs: list[object]
    notes: list[str]

    def on_step(self, report: object) -> None:
        self.steps.append(report)

    def on_epoch(self, report: object) -> None:
        self.epochs.append(report)

    def on_note(self, text: str) -> None:
        self.notes.append(text)

    def on_warning(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder([], [], [])


@pytest.fixture(scope="session")
def trained(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short finished run; not to be changed."""
    from deepchest_cli.config import TrainConfig
    from deepchest_cli.training.components import build_components
    from deepchest_cli.training.loop import Trainer
    from deepchest_cli.training.run_directory import create_run

    config = TrainConfig(data=(str(shards),), out=tmp_path_factory.mktemp("runs") / "run", **QUICK)
    setup = build_components(config)
    Trainer(setup, create_run(config), Recorder([], [], [])).fit()
    assert config.out is not None
    return config.out


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real NIH radiographs, where there is one."""
    folder = os.environ.get("DEEPCHEST_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("DEEPCHEST_TEST_DATA names no folder of real radiographs")
    return Path(folder)


@pytest.fixture
def make_scored_images() -> Callable[..., object]:
    """Make up scored images: 400 images of 200 patients, two findings, all metadata."""
    from deepchest_cli.evaluation.predictions import Predictions, ScoredImages

    def make(
        images: int = 400, seed: int = 0, signal: float = 1.0, **columns: object
    ) -> ScoredImages:
        chance = np.random.default_rng(seed)
        labels = (chance.random((images, 2)) < (0.3, 0.15)).astype(np.uint8)
        scores = 1 / (1 + np.exp(-chance.normal(signal * labels - 1, 1)))
        patients = np.arange(images) // 2
        table = Predictions(("Mass", "Edema"), scores, labels, np.ones_like(labels), patients)
        parts = {
            "image_index": np.array([f"{i // 2:08d}_{i % 2:03d}" for i in range(images)]),
            "age": chance.uniform(0, 90, images // 2).repeat(2),
            "sex": np.array(["F", "M"])[patients % 2],
            "view": np.array(["AP", "PA"])[chance.integers(0, 2, images)],
        }
        return ScoredImages(table, **{**parts, **columns})

    return make
