"""How many operations a training step has beyond those of the bare network, by part of the step.

At small batches a GPU is bound by the launches of operations, whatever these compute.

    python tests/benchmarks/launches.py --backbone resnet50 --size 64 --batch 8
    python tests/benchmarks/launches.py --weighters equal,uncertainty --json launches.json
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from our_epoch import prepared, read_options

sys.path.insert(0, str(Path(__file__).parents[1]))
from operations import PARTS, Operations, bare_step, by_part, whole_step

from deepchest_cli.config import TrainConfig
from deepchest_cli.files import write_json
from deepchest_cli.training.components import build_components

STEPS = 3
BARE = "bare step"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weighters", default="equal,deepchest")
    parser.add_argument("--ema", type=float, default=0.0)
    parser.add_argument("--json", type=Path, help="also write the counts into this file")


def count(config: TrainConfig, weighters: list[str]) -> dict[str, Operations]:
    """Return the operations of the bare step and of a whole step with each weighter."""
    found = {BARE: bare_step(build_components(config))}
    for weighter in weighters:
        components = build_components(replace(config, weighter=weighter))
        with tempfile.TemporaryDirectory() as folder:
            found[weighter] = whole_step(components, Path(folder))
    return found


def table(found: dict[str, Operations]) -> str:
    """Return a row for each part and a column for each step."""
    columns = {name: by_part(operations) for name, operations in found.items()}
    lines = [" " * 10 + "".join(f"{name:>14}" for name in columns)]
    for part in PARTS:
        numbers = [column[part] for column in columns.values()]
        lines.append(f"{part:10}" + "".join(f"{number:>14}" for number in numbers))
    totals = [sum(column.values()) for column in columns.values()]
    lines.append(f"{'all':10}" + "".join(f"{total:>14}" for total in totals))
    lines.append(f"{'beyond':10}" + "".join(f"{total - totals[0]:>+14}" for total in totals))
    return "\n".join(lines)


def main() -> None:
    options = read_options(__doc__, images=64, rounds=1, add_more=add_options)
    with prepared(options, precision="fp32", ema=options.ema) as (_, epoch):
        config = replace(epoch.trainer.components.config, max_steps=STEPS)
        found = count(config, options.weighters.split(","))
    print(table(found))
    if options.json:
        documents = {
            name: {"parts": by_part(operations), "operations": _plain(operations)}
            for name, operations in found.items()
        }
        about = {"backbone": options.backbone, "device": options.device, "batch": options.batch}
        write_json(options.json, {**about, "steps": documents})


def _plain(operations: Operations) -> dict[str, dict[str, int]]:
    """Return the number of each operation by part."""
    return {
        part: {name: number for (own, name), number in operations.most_common() if own == part}
        for part in PARTS
    }


if __name__ == "__main__":
    main()
