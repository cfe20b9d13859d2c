"""Folders of runs and comparisons as training leaves them, without training."""

import json
from dataclasses import asdict
from pathlib import Path

from deepchest_cli.comparison.running.records import RunRecord
from deepchest_cli.config import CompareConfig, TrainConfig, to_toml
from deepchest_cli.files import to_csv, write_json, write_text

FINDINGS = ("Mass", "Edema")


def write_run(
    folder: Path,
    aurocs: tuple[float, ...] = (0.6, 0.7),
    *,
    finished: bool = True,
    version: str = "0.2.0",
    **settings: object,
) -> Path:
    """Write a run with a validation AUROC for each epoch; unfinished, it has as many to go."""
    folder.mkdir(parents=True)
    epochs = max(1, len(aurocs)) * (1 if finished else 2)
    config = TrainConfig(**{"epochs": epochs, "backbone": "resnet18", **settings})
    write_json(folder / "environment.json", {"deepchest": version})
    write_text(folder / "config.toml", to_toml(config))
    write_metrics(folder, aurocs)
    (folder / "last.pt").write_bytes(b"last")
    return folder


def write_metrics(folder: Path, aurocs: tuple[float, ...], sources: tuple[float, ...] = ()) -> None:
    """Write the table of a run, and its model.

    sources: differences of data sets, each of which has a row under that of all together.
    """
    rows, best = [], float("-inf")
    for epoch, auroc in enumerate(aurocs, 1):
        is_best = auroc > best
        best = max(best, auroc)
        row = {
            "epoch": epoch, "source": "all", "step": 10 * epoch, "best": int(is_best),
            "validation_auroc": auroc, **{f"validation_auroc/{name}": auroc for name in FINDINGS},
        }  # fmt: skip
        rows.append(row)
        for number, difference in enumerate(sources):
            name = f'site "{number}", of {len(sources)}'
            rows.append({**row, "source": name, "validation_auroc": auroc + difference})
    if rows:
        write_text(folder / "metrics.csv", to_csv(list(rows[0]), rows))
    if best > float("-inf"):
        (folder / "best.pt").write_bytes(b"best")


def write_comparison(folder: Path, weighters: str = "equal,dwa", **settings: object) -> Path:
    """Write a comparison without runs."""
    folder.mkdir(parents=True)
    config = CompareConfig(weighters=weighters, **{"seeds": 2, "epochs": 2, **settings})
    write_json(folder / "environment.json", {"deepchest": "0.2.0"})
    write_text(folder / "config.toml", to_toml(config))
    return folder


def write_own_run(folder: Path, auroc: float, status: str = "finished") -> Path:
    """Write a run of a comparison that has ended."""
    write_run(folder, (auroc,) if status == "finished" else (), seed=int(folder.name[5]))
    (folder / "last.pt").unlink()
    error = None if status == "finished" else "The loss is not finite."
    record = RunRecord(status, "0" * 64, 1e-3, "0" * 64, error=error)
    (folder / "run.json").write_text(json.dumps(asdict(record)))
    return folder
