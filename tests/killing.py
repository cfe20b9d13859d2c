"""Kills at chosen moments, and what a killed and resumed run has to be equal in."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests_support import MEASURED, untimed

from deepchest_cli.files import temporary_path, to_json
from deepchest_cli.model.checkpoint import read_checkpoint
from deepchest_cli.model.checkpoint_format import BEST, LAST

DEAD = 2**22 + 1  # no process has this number: it is above Linux's largest


class KilledError(BaseException):
    """As sudden as SIGKILL, as far as that goes in one process."""


@contextmanager
def killed_at(write: int) -> Iterator[None]:
    """Kill at a write, counted from 1, just before its file is put in its place.

    Its temporary file is left behind, as by a process that was killed. Nothing happens where there
    are fewer writes.
    """
    replace, left = Path.replace, [write]

    def kill(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] == 0:
            self.rename(temporary_path(Path(target), process=DEAD))
            raise KilledError
        return replace(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", kill)
        yield


def assert_equal_runs(one: Path, other: Path) -> None:
    """Two folders of `train` hold the same but for times: bytes, records and tensors."""
    names = [sorted(path.name for path in run.iterdir()) for run in (one, other)]
    assert names[0] == names[1]
    assert (one / BEST).read_bytes() == (other / BEST).read_bytes()
    for name in ("config.toml", "weights.csv"):
        if (one / name).exists():
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert untimed(one / "metrics.csv") == untimed(other / "metrics.csv")
    if (one / LAST).exists():  # in a comparison it is used up
        ours, theirs = (_untimed_state(run) for run in (one, other))
        assert differences(ours, theirs) == []


def assert_equal_comparisons(one: Path, other: Path) -> None:
    """Two folders of `compare-weighters` hold the same files, runs and predictions."""
    names = [{path.relative_to(folder) for path in folder.rglob("*")} for folder in (one, other)]
    assert names[0] == names[1]
    assert (one / "config.toml").read_bytes() == (other / "config.toml").read_bytes()
    for record in one.rglob("run.json"):
        ours, theirs = record.parent, other / record.parent.relative_to(one)
        assert_equal_runs(ours, theirs)
        assert record.read_bytes() == (theirs / "run.json").read_bytes()
        with np.load(ours / "test.npz") as mine, np.load(theirs / "test.npz") as yours:
            for name in ("rows", "probabilities"):
                assert np.array_equal(mine[name], yours[name])


def same_results(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two results documents are equal except for measured time and memory."""
    return to_json(_without_costs(one)) == to_json(_without_costs(other))


def _without_costs(document: dict[str, Any]) -> dict[str, Any]:
    kept = [claim for claim in document["claims"] if claim["name"] not in ("speed", "memory")]
    return {**document, "costs": None, "claims": kept}


def _untimed_state(run: Path) -> dict[str, Any]:
    content = read_checkpoint(run / LAST)
    for row in content["training"]["train_state"]["metrics"]:
        for name in MEASURED:
            del row[name]
    return content


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Return where two structures of plain values and tensors differ, to the last bit."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [text for key in one for text in differences(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) == len(other):
            pairs = enumerate(zip(one, other, strict=True))
            return [text for i, (a, b) in pairs for text in differences(a, b, f"{where}/{i}")]
        return [f"{where}: {len(one)} and {len(other)} entries"]
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.dtype == other.dtype and torch.equal(one.isnan(), other.isnan())
        return [] if same and torch.equal(one.nan_to_num(), other.nan_to_num()) else [where]
    alike = one == other or repr(one) == repr(other) == "nan"
    return [] if alike and type(one) is type(other) else [f"{where}: {one!r} and {other!r}"]
