"""The configuration of `deepchest compare-weighters`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from deepchest_cli.config.flags import Flag
from deepchest_cli.config.training import RunConfig


@dataclass(frozen=True)
class CompareConfig(RunConfig):
    """Which weighters are compared, in how many runs, and how the runs are trained."""

    FIRST: ClassVar = (
        "data", "weighters", "seeds", "backbone", "weights", "epochs", "image_size", "recipe",
        "device", "devices", "out", "resume",
    )  # fmt: skip

    weighters: Annotated[
        str,
        Flag(
            "Weighters, separated by commas; NAME[key=value,...] sets options. FILE.py:CLASS runs "
            "one of your own. equal is always included.",
            panel="Comparison",
        ),
    ] = "equal,deepchest,uncertainty,dwa,rlw,famo,deepchest+uncertainty"
    weighter_sha256: tuple[
        str, ...
    ] = ()  # recorded: FILE.py:CLASS=SHA-256 of weighters of one's own
    data_sha256: str = ""  # recorded: of all data sets
    seeds: Annotated[int, Flag("Number of seeds; a test takes three or more.", minimum=1)] = 3
    first_seed: Annotated[int, Flag("The first seed.", minimum=0, maximum=2**31)] = 0
    out: Annotated[
        Path | None, Flag("Folder of the comparison. [comparisons/<time>]", values_from="out")
    ] = None
    resume: Annotated[
        Path | None,
        Flag(
            "Resume a comparison; --weighters and --seeds may add to it, and only new runs are "
            "trained. auto: resume the one in --out, or begin it there.",
            metavar="FOLDER|auto",
            values_from="run",
        ),
    ] = None
    folds: Annotated[
        int | None,
        Flag(
            "Cross-validate by patient over all images with this number of folds; for small data.",
            minimum=2,
            maximum=20,
        ),
    ] = None
    single_task: Annotated[
        bool, Flag("Also train a model for each finding alone, as the baseline of Delta-m.")
    ] = False
    tune_learning_rate: Annotated[
        bool,
        Flag(
            "Choose each weighter's learning rate by its validation score, from 1/3, 1 and 3 times "
            "--learning-rate, with the first seed."
        ),
    ] = False
    bootstrap_replicates: Annotated[
        int, Flag("Bootstrap replicates of the patients, for intervals and tests.", minimum=100)
    ] = 1000
    devices: Annotated[
        str | None,
        Flag("Devices for parallel runs, separated by commas, such as cuda:0,cuda:1. [--device]"),
    ] = None
    threads: Annotated[
        int | None,
        Flag(
            "CPU threads of each run, the same wherever it is computed. [the cores over the runs "
            "at a time]",
            minimum=1,
        ),
    ] = None
    fail_if_inferior: Annotated[
        tuple[str, ...],
        Flag(
            "Exit with code 3 unless the interval of this weighter's macro AUROC shows that it is "
            "lower than that of equal by less than --margin; may be repeated.",
            metavar="WEIGHTER",
        ),
    ] = ()
    margin: Annotated[
        float,
        Flag(
            "Smallest difference in macro AUROC that matters: for the verdicts, the number of "
            "seeds, and --fail-if-inferior.",
            minimum=0,
        ),
    ] = 0.005
    plan: Annotated[
        bool,
        Flag(
            "Only write the folder, and say how many jobs there are.",
            panel="Several machines",
        ),
    ] = False
    job: Annotated[
        int | None,
        Flag("With --resume: complete this job of the plan, counted from 1.", minimum=1),
    ] = None
    report: Annotated[
        bool,
        Flag("With --resume: evaluate what is there; an interim report where runs are missing."),
    ] = False
    dask: Annotated[
        str | None,
        Flag(
            "Dask scheduler that the runs are handed to, such as tcp://HOST:8786; local:4 starts "
            "four processes here.",
            metavar="ADDRESS",
        ),
    ] = None
    cost_only: Annotated[
        bool, Flag("Measure the cost of a training step, without training.", panel="Cost")
    ] = False
    cost_rounds: Annotated[
        int,
        Flag("Interleaved rounds, in each of which steps of every weighter are timed.", minimum=2),
    ] = 10
    cost_tasks: Annotated[
        str | None, Flag("With --cost-only: numbers of findings to measure, such as 2,14,56.")
    ] = None
    cost_backbones: Annotated[
        str | None, Flag("With --cost-only: backbones to measure, such as resnet18,resnet50.")
    ] = None

    @property
    def device_list(self) -> list[str]:
        """The devices that runs are spread over."""
        return self.devices.replace(" ", "").split(",") if self.devices else [self.device]

    @property
    def computes_elsewhere(self) -> bool:
        """Whether other machines than this one may compute the runs."""
        return self.plan or (self.dask is not None and not self.dask.startswith("local:"))

    @property
    def seed_numbers(self) -> range:
        """The seeds, one after the other."""
        return range(self.first_seed, self.first_seed + self.seeds)
