"""The commands of the documents: each is parsed, and run as it stands on small data.

The words behind `sh` of a block say why it is not run here: `setup` installs, `gpu` needs one,
`heavy` takes hours, `torchrun` starts processes of its own, `network` downloads.
"""

import io
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from site_data import prepare_site, write_site

from deepchest_cli.commands.arguments import check_arguments
from deepchest_cli.commands.registry import COMMANDS
from deepchest_cli.commands.train import train
from deepchest_cli.config import TrainConfig
from deepchest_cli.terminal import Terminal

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "data/README.md", *(f"docs/{p.name}" for p in sorted(ROOT.glob("docs/*.md")))]
GENERATED = {"docs/cli.md", "docs/weighters.md"}
NOT_RUN = {"setup", "gpu", "heavy", "torchrun", "network"}
CONFIGS = {name: info.configuration for name, info in COMMANDS.items()}
# what a line leaves open is set so that it ends soon
SHORT = {
    "train": ("--backbone small_cnn", "--image-size 32", "--epochs 1", "--max-steps 2"),
    "compare-weighters": (
        *("--backbone small_cnn", "--image-size 32", "--epochs 1", "--max-steps 2"),
        *("--seeds 2", "--bootstrap-replicates 100", "--cost-rounds 2"),
    ),
    "evaluate": ("--bootstrap-replicates 20",),
    "prepare": ("--workers 1",),
}
SHORTER = {"--epochs": "1", "--images": "120", "--backbone": "small_cnn", "--seeds": "2"}


@dataclass(frozen=True)
class Line:
    """A command of a document."""

    page: str
    text: str
    mark: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each `deepchest` among what pipes and && separate, without redirections.

        `-m deepchest_cli` of torchrun is one.
        """
        found = []
        for piece in re.split(r"\||&&", self.text):
            words = shlex.split(piece.partition(">")[0], comments=True)
            while words and words[0] not in {"deepchest", "deepchest_cli"}:
                words = words[1:]
            if words:
                found.append(words[1:])
        return found


def lines_of(page: str) -> list[Line]:
    text = (ROOT / page).read_text("utf-8")
    blocks = re.findall(r"^```sh ?(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    steps = re.findall(r"^ *- run: (.*)$", text, re.MULTILINE)
    shell = [
        Line(page, line, mark) for mark, block in blocks for line in block.splitlines() if line
    ]
    return [*shell, *(Line(page, step, "heavy") for step in steps)]


LINES = [line for page in PAGES for line in lines_of(page)]


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.page}: {line.text}")
def test_flags_of_documented_commands_exist(line):
    assert line.mark in NOT_RUN | {""}, line
    for words in line.commands:
        check_arguments(words, COMMANDS)


def scripts_of(page: str) -> list[str]:
    """Return the shell scripts, and other files with commands, that a page shows."""
    text = (ROOT / page).read_text("utf-8")
    return re.findall(r"^```(?:bash|yaml)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands_in(script: str) -> list[list[str]]:
    """Return the words of each `deepchest` in a script, with 1 for what the shell puts in."""
    plain = re.sub(r'"?\$(\(\(.*?\)\)|\w+)"?|\{\}', "1", script.replace("\\\n", " "))
    names = "|".join(COMMANDS)
    found = re.findall(rf"(?<![\w.-])deepchest ((?:{names})\b[^'\"|>\n]*)", plain)
    return [shlex.split(words) for words in found]


@pytest.mark.parametrize("page", PAGES)
def test_flags_in_scripts_exist(page):
    for script in scripts_of(page):
        for words in commands_in(script):
            check_arguments(words, COMMANDS)


def test_the_script_of_each_batch_system_has_a_command():
    found = [commands_in(script) for script in scripts_of("docs/scaling.md")]
    assert len(found) >= 5
    assert all(found)


def test_commands_in_running_text_exist():
    for page in set(PAGES) - GENERATED:
        text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text("utf-8"), flags=re.M | re.S)
        for span in re.findall(r"`deepchest ([^`]*)`", text):
            words = span.split()
            if not any(re.search(r"[A-Z|<]{3,}|\.\.\.", word) for word in words):
                check_arguments(words, COMMANDS)


def test_links_lead_somewhere():
    for page in PAGES:
        text = (ROOT / page).read_text("utf-8")
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if "://" not in target:
                assert (ROOT / page).parent.joinpath(target).exists(), f"{page}: {target}"


@pytest.fixture(scope="module")
def world(tmp_path_factory, shards) -> Path:
    """A folder in which everything lies that the documents name."""
    root = tmp_path_factory.mktemp("world")
    for seed, name in enumerate("abc"):
        run = TrainConfig(
            data=(str(shards),), out=root / "runs" / name, seed=seed, device="cpu",
            backbone="small_cnn", image_size=32, epochs=1, max_steps=2,
        )  # fmt: skip
        train(run, Terminal(quiet=True))
    nih, images = shards.parent / "nih", sorted((shards.parent / "nih" / "images").iterdir())
    for name in ("data/nih", "data/demo"):
        shutil.copytree(nih, root / name)
    shutil.copytree(shards, root / "data/demo-shards")
    prepare_site(write_site(root / "site"), root / "data/site")
    shutil.copytree(root / "runs/a", root / "runs/latest")
    Image.open(images[0]).save(root / "image.png")
    for folder in ("scans", "images"):
        (root / folder).mkdir()
        for path in images:
            shutil.copy(path, root / folder)
    table = (nih / "Data_Entry_2017_v2020.csv").read_text().splitlines()[1:]
    rows = [line.split(",") for line in table]
    labels = [f"{r[0]},{r[3]},{int('Effusion' in r[1])},{int('Mass' in r[1])}" for r in rows]
    (root / "labels.csv").write_text("file,patient,Effusion,Mass\n" + "\n".join(labels) + "\n")
    scores = [f"{r[0]},{0.1 + 0.8 * ('Effusion' in r[1])},{0.2 + 0.01 * int(r[2])}" for r in rows]
    (root / "theirs.csv").write_text("Image Index,Effusion,Mass\n" + "\n".join(scores) + "\n")
    return root


def shortened(words: list[str]) -> list[str]:
    """Return a command with what makes it end soon."""
    command, *rest = words
    for flag, value in SHORTER.items():
        if flag in rest and command in {"train", "compare-weighters", "prepare"}:
            place = rest.index(flag) + 1
            rest[place] = rest[place] if ".py:" in rest[place] else value  # a page's own is small
    if "--recipe" in rest:  # which may want larger batches than there are radiographs here
        return [command, *rest, "--batch-size", "16"]
    more = (pair.split() for pair in SHORT.get(command, ()))
    return [command, *rest, *(word for pair in more if pair[0] not in rest for word in pair)]


def run(line: Line, deepchest: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a line; other commands than ours are left to a shell, and so is a redirection."""
    commands, _, target = line.text.partition(">")
    printed = ""
    for command in commands.split("|"):
        words = shlex.split(command, comments=True)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(printed.encode())))
        if words[0] != "deepchest":
            shell = ["bash", "-c", command]
            printed = subprocess.run(shell, capture_output=True, check=True, text=True).stdout
            continue
        outcome = deepchest(*shortened(words[1:]))
        allowed = {0, 3} if "--fail-" in command else {0}
        assert outcome.code in allowed, f"{line.page}: {line.text}\n{outcome.err}"
        printed = outcome.out
    if target:
        Path(target.strip()).write_text(printed)


def write_files(page: str, folder: Path) -> None:
    """Write the Python files that a page shows, named in a block's first line: # FILE.py."""
    text = (ROOT / page).read_text("utf-8")
    for name, code in re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", text, re.M | re.S):
        (folder / name).write_text(code)


@pytest.mark.usefixtures("no_rendering")
@pytest.mark.parametrize("page", [page for page in PAGES if page not in GENERATED])
def test_commands_run_as_they_stand(page, world, tmp_path, deepchest, monkeypatch):
    if page != "docs/getting-started.md":  # that one begins with nothing
        shutil.copytree(world, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    write_files(page, tmp_path)
    for line in lines_of(page):
        if line.mark == "":
            run(line, deepchest, monkeypatch)
