"""Which runs a comparison consists of, and in which folders."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from deepchest_cli.config import CompareConfig, RunConfig, TrainConfig
from deepchest_cli.errors import UsageError
from deepchest_cli.files import sha256_of, to_json
from deepchest_cli.weighting.own import COMPOSITE, code_of, full_name, own_weighter, short_name
from deepchest_cli.weighting.registry import find_weighter

if TYPE_CHECKING:  # imports h5py, which the command line does not need to read --weighters
    from deepchest_cli.data.dataset import RadiographDataset
    from deepchest_cli.training.tracking.base import GroupTracking

BASELINE = "equal"
MAX_NAME_LENGTH = 100  # characters of a folder's name
ENTRY = re.compile(r"([^\[\],]+)(?:\[([^\[\]]*)\])?")
COMPARISONS = Path("comparisons")
RUNS, SINGLE_TASK, RESULTS = "runs", "single-task", "results.json"  # in a comparison's folder
LEARNING_RATE_FACTORS = (1 / 3, 1.0, 3.0)  # the grid of --tune-learning-rate
# settings that change where a run is computed, but not its result
NOT_HASHED = frozenset({"data", "device", "cache", "out", "resume", "recipe", "track"})


@dataclass(frozen=True)
class Arm:
    """A weighter with its options, as one arm of the comparison.

    The label is what was typed, the path of a weighter of one's own without folders.
    """

    label: str
    weighter: str
    options: tuple[str, ...] = ()  # as KEY=VALUE

    @property
    def folder(self) -> str:
        """The label in characters, and of a length, that every file system takes."""
        plain = re.sub(r"[^A-Za-z0-9+._=-]", "_", self.label)
        has_path = "/" in self.label.partition("[")[0]  # "a/b.py:C" is no "a_b.py:C"
        if len(plain) <= MAX_NAME_LENGTH and not has_path:
            return plain
        return f"{plain[:MAX_NAME_LENGTH]}-{sha256(self.label.encode()).hexdigest()[:12]}"

    @property
    def needs_gradients(self) -> bool:
        """Whether the weighter needs the gradient of every single task."""
        return find_weighter(self.weighter.removeprefix(COMPOSITE)).kind == "gradient"

    @property
    def text(self) -> str:
        """The arm as an entry of --weighters, with the whole path of a weighter of one's own."""
        return f"{self.weighter}[{','.join(self.options)}]" if self.options else self.weighter

    @property
    def weighter_sha256(self) -> str | None:
        """The SHA-256 of the file of a weighter of one's own."""
        code = code_of(self.weighter)
        return None if code is None else own_weighter(code.name).sha256


def parse_arms(text: str) -> tuple[Arm, ...]:
    """Return the arms of a list such as `equal,deepchest[signal=auroc,split=validation]`.

    Equal weighting always comes first, listed or not. Raises `UsageError` for brackets that do not
    match and for a weighter that is listed twice.
    """
    entries = re.split(r",(?![^\[]*\])", text)
    arms = _with_labels(parse_arm(entry) for entry in entries if entry.strip())
    folders = [arm.folder for arm in arms]
    duplicates = sorted({folder for folder in folders if folders.count(folder) > 1})
    if duplicates:
        raise UsageError(
            f"--weighters lists {', '.join(duplicates)} twice.",
            "Name each once, or give them different options: NAME[key=value].",
        )
    others = [arm for arm in arms if arm.label != BASELINE]
    if not others:
        raise UsageError(
            f"--weighters names nothing to compare with {BASELINE}. Found {text!r}.",
            "For instance: --weighters equal,deepchest,uncertainty",
        )
    return Arm(BASELINE, BASELINE), *others


def merge_weighters(before: str, added: str) -> str:
    """Return a list of weighters with those of `added` that it lacks; unchanged if none."""
    known = [arm.text for arm in parse_arms(before)]
    new = [arm.text for arm in parse_arms(added) if arm.text not in known]
    return ",".join([*known, *new]) if new else before


def _with_labels(arms: Iterable[Arm]) -> list[Arm]:
    """Return the arms, the code of each of one's own by a short name that no other code has.

    The code that is listed first has the shortest, so that what is added changes no label.
    """
    codes: dict[str, str] = {}  # full names by short ones
    labelled = []
    for arm in arms:
        code, label = code_of(arm.weighter), arm.label
        if code is not None:
            short = next(n for n in code.shortened() if codes.setdefault(n, code.name) == code.name)
            label = arm.text.replace(code.name, short)
        labelled.append(replace(arm, label=label))
    return labelled


def parse_arm(entry: str, flag: str = "--weighters") -> Arm:
    """Return the arm that an entry NAME[key=value,...] describes; `flag` is where it was given."""
    match = ENTRY.fullmatch(entry.strip())
    if match is None:
        raise UsageError(
            f"{flag} cannot read {entry!r}.", "Write NAME, or NAME[key=value,key=value]."
        )
    name, inside = match[1].strip(), match[2]
    options: list[str] = []
    for piece in (inside or "").split(","):
        if "=" in piece:
            options.append(piece.strip())
        elif options:  # a value may contain commas
            options[-1] += f",{piece}"
        elif piece:
            raise UsageError(f"{flag} {entry}: options are KEY=VALUE. Found {piece!r}.")
    keys = [option.partition("=")[0] for option in options]
    if len(set(keys)) < len(keys):
        raise UsageError(f"{flag} {entry}: an option is given twice. Found {keys}.")
    weighter = full_name(name)
    if re.search(r"[\[\],]", weighter):
        raise UsageError(
            f"{flag} {entry}: the path {weighter} has a comma or a bracket, which separate "
            "weighters and options.",
            "Move the file to another folder.",
        )
    given = f"[{','.join(options)}]" if options else ""
    return Arm(short_name(name) + given, weighter, tuple(options))


@dataclass(frozen=True)
class Job:
    """One run of a comparison: an arm, a seed, and where needed a fold or a single finding."""

    arm: Arm
    config: TrainConfig
    folder: Path
    fold: tuple[int, int] | None = None  # index from 0, and number of folds
    finding: str | None = None
    scored: bool = True  # whether it predicts the test split
    threads: int | None = None  # of the CPU; None: as many as torch takes
    tracking: "GroupTracking | None" = None  # of all runs of the comparison

    def on(self, device: str | None) -> "Job":
        """Return the same run on a device; None: on the one that it is configured for."""
        if device is None:
            return self
        return replace(self, config=replace(self.config, device=device))

    def absolute(self) -> "Job":
        """Return the same run for a process with another working folder."""
        weights = Path(self.config.weights).expanduser()
        config = self.config
        if weights.is_file():
            config = replace(config, weights=str(weights.absolute()))
        return replace(self, folder=self.folder.absolute(), config=config)

    @property
    def settings(self) -> str:
        """A SHA-256 of all that determines the results besides the data.

        It covers settings that differ from their defaults, so that a flag of a later version does
        not change it, and the contents of the files that settings name. A file of weights counts by
        its contents alone: its path is made absolute when the comparison is saved.
        """
        weights = Path(self.config.weights).expanduser()
        by_content = NOT_HASHED | {"weights"} if weights.is_file() else NOT_HASHED
        # a file of one's own counts by its hash, wherever it lies
        config = replace(self.config, weighter=short_name(self.config.weighter))
        if config.backbone_sha256 is not None:
            config = replace(config, backbone=config.backbone.rpartition(":")[2])
        changed = sorted(
            (field.name, str(value))
            for field in fields(config)
            if field.name not in by_content
            and (value := getattr(config, field.name)) != field.default
        )
        values = (text.partition("=")[2] for text in self.config.weighter_option)
        paths = (*(Path(value).expanduser() for value in values), weights)
        files = [sha256_of(path) for path in paths if path.is_file()]
        # each seed has its own partition: runs of one partition for all seeds are not mixed in
        partition = [] if self.fold is None else [[*self.fold, self.config.seed]]
        return sha256(to_json([changed, files, self.finding, *partition]).encode()).hexdigest()

    @property
    def name(self) -> str:
        """The name of the run in messages and reports."""
        names = [self.arm.label if self.finding is None else f"{self.finding} alone"]
        names.append(f"seed {self.config.seed}")
        if self.fold is not None:
            names.append(f"fold {self.fold[0] + 1} of {self.fold[1]}")
        if not self.scored:  # of those that choose a learning rate
            names.append(f"learning rate {self.config.learning_rate:.3g}")
        return ", ".join(names)

    @property
    def fold_number(self) -> int | None:
        """The fold, counted from 1."""
        return None if self.fold is None else self.fold[0] + 1

    def view(self, dataset: "RadiographDataset") -> "RadiographDataset":
        """Return the data set with the splits and the findings of this run.

        Of several members, those that do not label a single finding are in none of its splits.
        """
        if self.fold is not None:
            dataset = dataset.folded(*self.fold, self.config.seed)
        if self.finding is None:
            return dataset
        import numpy as np  # the command line does not need it

        view = dataset.of_findings({self.finding: self.finding})
        labeled = np.array([bool(member.findings) for member in view.members])[view.member]
        splits = np.where(labeled, view.columns["split"], "")
        return replace(view, columns={**view.columns, "split": splits})


def arm_jobs(
    config: CompareConfig, arms: Sequence[Arm], folder: Path, rates: Mapping[str, float]
) -> list[Job]:
    """Return the runs whose results are compared, seed by seed; `rates` by the arm's label."""
    return [
        _arm_job(config, arm, seed, folder, fold, rates.get(arm.label))
        for seed in config.seed_numbers
        for fold in _folds(config)
        for arm in arms
    ]


def tuning_jobs(config: CompareConfig, arms: Sequence[Arm], folder: Path) -> list[Job]:
    """Return the runs that choose each arm's learning rate: the first seed, without folds."""
    rates = [factor * config.learning_rate for factor in LEARNING_RATE_FACTORS]
    return [
        replace(_arm_job(config, arm, config.first_seed, folder, None, rate), scored=False)
        for arm in arms
        for rate in rates
    ]


def single_task_jobs(
    config: CompareConfig, findings: Sequence[str], folder: Path, rates: Mapping[str, float]
) -> list[Job]:
    """Return the runs of a model for each finding alone, at the learning rate of the baseline."""
    arm, jobs = Arm(BASELINE, BASELINE), []
    for seed in config.seed_numbers:
        train = train_config(config, arm, seed)
        # its finding is the only task, also where several data sets label it
        train = replace(
            train, learning_rate=rates.get(BASELINE, train.learning_rate), tasks="finding"
        )
        for fold in _folds(config):
            for number, finding in enumerate(findings, 1):
                path = folder / SINGLE_TASK / f"finding-{number:02d}" / _folder_name(seed, fold)
                jobs.append(Job(arm, train, path, fold, finding))
    return jobs


def train_config(config: CompareConfig, arm: Arm, seed: int) -> TrainConfig:
    """Return the configuration of `train` for an arm and a seed."""
    shared = {field.name: getattr(config, field.name) for field in fields(RunConfig)}
    if not arm.needs_gradients:
        shared["gradient_level"] = "features"
    return TrainConfig(
        **shared,
        weighter=arm.weighter,
        weighter_sha256=arm.weighter_sha256,
        weighter_option=arm.options,
        seed=seed,
    )


def _folds(config: CompareConfig) -> list[tuple[int, int] | None]:
    if config.folds is None:
        return [None]
    return [(fold, config.folds) for fold in range(config.folds)]


def _arm_job(
    config: CompareConfig,
    arm: Arm,
    seed: int,
    folder: Path,
    fold: tuple[int, int] | None,
    rate: float | None,
) -> Job:
    train, name = train_config(config, arm, seed), _folder_name(seed, fold)
    if rate is not None:
        train = replace(train, learning_rate=rate)
        name += f"-rate-{rate:.3g}"
    return Job(arm, train, folder / RUNS / arm.folder / name, fold)


def _folder_name(seed: int, fold: tuple[int, int] | None) -> str:
    return f"seed-{seed}" + ("" if fold is None else f"-fold-{fold[0] + 1}")
