"""Plain helpers of the tests."""

import csv
import io
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image
from referencing import Registry, Resource
from rich.cells import cell_len

from deepchest_cli.data.images import LooseFile
from deepchest_cli.data.radiograph import decode, fit

QUICK = {"backbone": "shufflenet_v2_x0_5", "batch_size": 16, "epochs": 2, "learning_rate": 1e-3}
MEASURED = ("seconds", "images_per_second", "data_wait_fraction", "peak_memory")


@contextmanager
def blank_figures() -> Iterator[None]:
    """Let figures be composed as ever, and their files be blank: rendering takes seconds."""

    def savefig(_: object, file: str | Path | BinaryIO, *, format: str, **settings: object) -> None:
        content = io.BytesIO(b"<svg/>")
        if format != "svg":
            Image.new("L", (1, 1)).save(content, format)
        if isinstance(file, str | Path):
            Path(file).write_bytes(content.getvalue())
        else:
            file.write(content.getvalue())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", savefig)
        yield


def too_wide(text: str, width: int) -> list[str]:
    """Return the lines that are wider than a terminal, and are no word or path that stays whole."""
    said, _, command = text.partition("Next step:\n")
    in_quotes = r"'[^'\n]*'|\"[^\"\n]*\""
    command = re.sub(in_quotes, lambda found: found[0].replace(" ", "_"), command)
    lines = (line.removesuffix(" \\") for line in f"{said}\n{command}".splitlines())
    return [line for line in lines if cell_len(line) > width and len(line.split()) > 1]


def next_step(err: str) -> list[str]:
    """Return the words of the command that usually follows, as a shell reads them."""
    _, _, command = err.partition("Next step:\n")
    return shlex.split(command.replace("\\\n", ""))


def replaced(flags: Sequence[object], more: Sequence[object]) -> list[object]:
    """Return flags with one value each, without those that `more` gives anew, and `more`."""
    pairs = zip(flags[::2], flags[1::2], strict=True)
    return [*(word for pair in pairs if pair[0] not in more for word in pair), *more]


def weighter_options(name: str, tasks: Sequence[str]) -> dict[str, str]:
    """Return the options without which a weighter cannot be used in a run of two epochs."""
    below = name.removeprefix("deepchest+")
    if below == "fixed":
        return {"weights": ",".join(f"{task}:{number + 1}" for number, task in enumerate(tasks))}
    return {"warmup_epochs": "1"} if below == "stch" else {}


def read_radiograph(path: Path, size: int) -> np.ndarray:
    """Return an image file as `prepare` stores it."""
    return fit(decode(LooseFile(str(path), 0).read()), size)


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return a CSV file as rows."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def untimed(path: Path) -> list[dict[str, str]]:
    """Return a run's table without what was measured of the machine."""
    return [{k: v for k, v in row.items() if k not in MEASURED} for row in rows_of(path)]


def valid(document: dict[str, Any], schema: str) -> dict[str, Any]:
    """Return a document that follows its published schema."""
    folder = files("deepchest_cli").joinpath("schemas")
    there = [one for one in folder.iterdir() if one.name.endswith(".json")]
    contents = {one.name: json.loads(one.read_text("utf-8")) for one in there}
    resources = [(name, Resource.from_contents(content)) for name, content in contents.items()]
    registry: Registry[Any] = Registry().with_resources(resources)
    Draft202012Validator(contents[f"{schema}.json"], registry=registry).validate(document)
    return document


def label(source: Any, image: str, finding: str) -> int | None:
    """Return what a source says of a finding in an image; None: unknown."""
    row = list(source.table["image_index"]).index(image)
    column = source.findings.index(finding)
    return int(source.labels[row, column]) if source.known[row, column] else None
