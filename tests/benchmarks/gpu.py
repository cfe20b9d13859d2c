"""What a machine with a GPU makes of deepchest: run once, and send back what it writes.

It writes gpu.json (all figures and what the machine is), gpu.html (the same to be looked at) and
gpu.log (what its parts printed) into --out. A part that fails is recorded with its reason; a rerun
measures what is missing. On a CPU everything is scaled down, which only shows that it runs.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpu_goals import goals_of
from gpu_page import write_page
from gpu_plan import SCALED_DOWN, SMALLER, Plan
from gpu_process import run_part
from gpu_runs import machine
from gpu_sections import SECTIONS, Section

from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.files import write_json
from deepchest_cli.training.device import resolve_device
from deepchest_cli.weighting import WEIGHTERS

SCHEMA_VERSION = 1
SAME = ("device_name", "torch", "cuda", "cudnn")  # of the machine that a file continues on
SCRATCH = "deepchest-gpu-benchmark"  # folder below --scratch, which is removed in the end

Document = dict[str, Any]


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add, names = parser.add_argument, f"of {', '.join(SECTIONS)}"
    add("--device", default="auto", help="auto, cuda, cuda:N, mps or cpu [auto]")
    add("--out", type=Path, default=Path("gpu-benchmark"), help="folder of results [%(default)s]")
    add("--scratch", type=Path, help="folder for 6 GB of images of noise, removed after [--out]")
    add("--nih", type=Path, help="folder with NIH's files: prepares, trains and evaluates on them")
    add("--sections", help=f"what to measure, {names}, with commas between them [all]")
    add("--only", help="measure these sections anew, and keep the others of --out")
    add("--quiet", action="store_true", help="no progress")
    size = parser.add_argument_group("size", "[as suits a GPU; scaled down on a CPU]")
    size.add_argument("--backbone")
    size.add_argument("--size", type=int, help="pixels")
    size.add_argument("--batches", help="batch sizes, with commas between them")
    size.add_argument("--compiled", help="batch sizes at which models are compiled too; none: 0")
    size.add_argument("--rounds", type=int, help="rounds of the measurements in turn, at least 2")
    size.add_argument("--steps", type=int, help="steps of a round, back to back")
    size.add_argument("--images", type=int, help="training images of an epoch in the rounds")
    size.add_argument("--epoch-images", type=int, help="training images of the large epoch")
    size.add_argument("--weighters", help="with commas between them [all]")
    return parser.parse_args(arguments)


def plan_of(options: argparse.Namespace) -> Plan:
    """Return the plan; raises `UsageError` for what cannot be one."""
    device = resolve_device(options.device)
    given: dict[str, Any] = {"cpu": SCALED_DOWN, "mps": SMALLER}.get(device.type, {}).copy()
    for name in ("backbone", "size", "rounds", "steps", "images", "epoch_images"):
        if getattr(options, name) is not None:
            given[name] = getattr(options, name)
    for name in ("batches", "compiled"):
        text = getattr(options, name)
        if text is not None:
            given[name] = tuple(_numbers(text, f"--{name}"))
    if options.weighters is not None:
        given["weighters"] = tuple(_listed(options.weighters, tuple(WEIGHTERS), "--weighters"))
    scratch = (options.scratch or options.out).absolute() / SCRATCH
    nih = options.nih and options.nih.absolute()
    if nih and not nih.is_dir():
        raise UsageError(f"--nih: there is no folder {nih}.", "Name the folder of NIH's files.")
    plan = Plan(str(device), scratch, options.out.absolute(), nih, **given)
    least = {"rounds": 2, "steps": 1, "size": 28, "images": max(plan.batches)}
    for name, bound in {**least, "epoch_images": max(plan.batches)}.items():
        if getattr(plan, name) < bound:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} should be at least {bound}. Found {getattr(plan, name)}.")
    return plan


def _numbers(text: str, flag: str) -> list[int]:
    entries = text.replace(" ", "").split(",")
    if not all(entry.isdecimal() for entry in entries) or (flag == "--batches" and "0" in entries):
        raise UsageError(f"{flag} should be whole numbers with commas between. Found {text!r}.")
    return sorted({int(entry) for entry in entries})


def _listed(text: str, known: Sequence[str], flag: str) -> list[str]:
    names = text.replace(" ", "").split(",")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"{flag}: there is no {unknown[0]!r}.", f"There are {', '.join(known)}.")
    return names


class Benchmark:
    """The measurements of a plan, in a document that is written after each of them."""

    def __init__(self, plan: Plan, quiet: bool) -> None:
        self.plan, self.quiet = plan, quiet
        self.path, self.log = (plan.out / name for name in ("gpu.json", "gpu.log"))
        self.document = self._begun()

    def _begun(self) -> Document:
        """Return the document to continue; raises `UsageError` for one of other settings."""
        new = {
            "schema_version": SCHEMA_VERSION,
            "settings": self.plan.settings,
            "machine": None,
            "sections": {},
        }
        if not self.path.exists():
            return new
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            settings, version = found["settings"], found["schema_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{self.path} is no file of this benchmark: {error!r}.", "Use another --out."
            ) from error
        changed = [k for k in self.plan.settings if settings.get(k) != self.plan.settings[k]]
        if changed or version != SCHEMA_VERSION:
            raise UsageError(
                f"{self.path} has figures of other settings: {', '.join(changed or ['version'])}.",
                "Give the same flags to continue it, or another --out.",
            )
        return found

    def run(self, sections: Sequence[str], anew: bool) -> None:
        """Measure the parts of sections that have no figures yet, or all of them `anew`."""
        self._describe_machine()
        parts = [
            (name, part, arguments)
            for name in sections
            for part, arguments in SECTIONS[name].parts(self.plan).items()
            if anew or self._status(name, part) != "measured"
        ]
        self._say(f"{len(parts)} parts of {len(sections)} sections on {self._device_name}.")
        self._say(f"This takes about {_duration(self._left(parts))}.")
        for number, (name, part, arguments) in enumerate(parts, 1):
            prefix = f"[{number}/{len(parts)}] {name}, {part}"
            self._say(f"{prefix} (about {_duration(self._left(parts[number - 1 :]))} left)")
            entry = self._measure(SECTIONS[name], arguments)
            section = self.document["sections"].setdefault(name, {"parts": {}})
            section["title"] = SECTIONS[name].title
            section["parts"][part] = entry
            self.write()
            self._say(f"    {entry['status']} in {_duration(entry['seconds'])}"
                      + (f": {entry['reason']}" if "reason" in entry else ""))  # fmt: skip

    def _describe_machine(self) -> None:
        entry = run_part(machine, self.plan, {}, self.log, self._progress)
        if entry["status"] != "measured":
            raise DeepChestError(f"The machine cannot be described: {entry['reason']}")
        before, found = self.document["machine"], entry["figures"]
        changed = [key for key in SAME if before is not None and before[key] != found[key]]
        if changed:
            what = ", ".join(f"{key} {before[key]}, here {found[key]}" for key in changed)
            raise UsageError(f"{self.path} is of another machine: {what}.", "Use another --out.")
        self.document["machine"] = found
        self.write()

    @property
    def _device_name(self) -> str:
        return str(self.document["machine"]["device_name"])

    def _status(self, name: str, part: str) -> str | None:
        section = self.document["sections"].get(name, {"parts": {}})
        return section["parts"].get(part, {"status": None})["status"]

    def _left(self, parts: Sequence[tuple[str, str, dict[str, Any]]]) -> float | None:
        """Return about how many seconds parts take; None where training could not be tried."""
        rate = self.document["machine"]["rate"]
        if rate is None:
            return None
        return sum(SECTIONS[n].seconds(self.plan, arguments, rate) for n, _, arguments in parts)

    def _measure(self, section: Section, arguments: dict[str, Any]) -> Document:
        reason = section.absent(self.plan)
        if reason is not None:
            return {"status": "skipped", "reason": reason, "seconds": 0.0}
        return run_part(section.measure, self.plan, arguments, self.log, self._progress)

    def write(self) -> None:
        """Write the document and its page, without the names of folders in the user's home."""
        self.document["written"] = datetime.now(UTC).isoformat(timespec="seconds")
        self.document["goals"] = [asdict(goal) for goal in goals_of(self.document)]
        plain = json.dumps(self.document).replace(json.dumps(str(Path.home()))[1:-1], "~")
        write_json(self.path, json.loads(plain))
        write_page(json.loads(plain), self.path.with_suffix(".html"))

    def _say(self, text: str) -> None:
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def _progress(self, text: str) -> None:
        if not self.quiet and sys.stderr.isatty():
            print(f"    {text[:70]:<70}", end="\r", file=sys.stderr, flush=True)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "an unknown time"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    options = read_options(arguments)
    try:
        plan, known = plan_of(options), tuple(SECTIONS)
        flag = "--only" if options.only else "--sections"
        chosen = _listed(options.only or options.sections or ",".join(known), known, flag)
        options.out.mkdir(parents=True, exist_ok=True)
        benchmark = Benchmark(plan, options.quiet)
        benchmark.run(chosen, anew=bool(options.only))
    except DeepChestError as error:
        print(f"Error: {error.message}\n{error.hint}".rstrip(), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(
            f"\nInterrupted. The same command continues; {plan.scratch} keeps what it has made.",
            file=sys.stderr,
        )
        return 130
    plan.clean_up()
    print(f"Written: {options.out / 'gpu.json'} and {options.out / 'gpu.html'}")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as by Ctrl-C
    sys.exit(main())
