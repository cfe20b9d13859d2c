"""Every weighter by name: help, completion, documentation and comparison read this table.

It needs no torch, so that names and options are checked before anything slow is imported. A test
compares the options with the signatures.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.documentation import Documentation, read_documentation

if TYPE_CHECKING:
    from deepchest_cli.weighting.base import Context, Weighter


@dataclass(frozen=True)
class WeighterInfo:
    """What a user wants to know before choosing a weighter."""

    name: str
    factory_name: str  # the class, or a function of the same arguments
    summary: str
    paper: str
    memory: str = "none"  # beyond that of equal weighting
    options: Mapping[str, Any] = field(default_factory=dict)  # with their defaults
    passes: str = "1 forward, 1 backward"  # of a step
    kind: str = "loss"  # loss: needs the losses only; gradient: needs task gradients
    preset_of: str = ""  # the weighter of which this one is a preset: it has other defaults alone

    @property
    def module(self) -> str:
        """The module of this weighter alone."""
        folder = "gradients." if self.kind == "gradient" else ""
        return f"deepchest_cli.weighting.{folder}{self.name.replace('-', '_')}"

    @property
    def source(self) -> Path:
        """The file of this module."""
        return Path(__file__).parent.joinpath(*self.module.split(".")[2:]).with_suffix(".py")

    @property
    def documentation(self) -> Documentation:
        """What its docstrings say; imports no torch."""
        found = read_documentation(self.source, self.factory_name)
        if self.preset_of:
            original = WEIGHTERS[self.preset_of].documentation
            return replace(found, meanings=original.meanings)
        return found

    @property
    def own_options(self) -> Mapping[str, Any]:
        """The options; those of a preset are the ones that differ from the original's."""
        original = WEIGHTERS[self.preset_of].options if self.preset_of else {}
        return {key: value for key, value in self.options.items() if original.get(key) != value}

    @property
    def published(self) -> bool:
        """Whether a paper proposes the weighter as a method, not as a baseline."""
        return not self.paper.startswith(("baseline", "ours"))

    @property
    def factory(self) -> Callable[..., "Weighter"]:
        """What makes the weighter; imports torch."""
        made: Callable[..., Weighter] = getattr(import_module(self.module), self.factory_name)
        return made

    def build(
        self, tasks: Sequence[str], context: "Context", values: Mapping[str, Any]
    ) -> "Weighter":
        """Return the weighter; a factory that has a parameter `context` is given it."""
        if "context" in inspect.signature(self.factory).parameters:
            return self.factory(tasks, **values, context=context)
        return self.factory(tasks, **values)


# tables read better in rows
# fmt: off
ONE_EACH = "one number per task"
DEEPCHEST = {
    "raise_factor": 1.1, "cap": 1.5, "decay": 1.05, "initial": "ones", "signal": "accuracy",
    "split": "train", "threshold": "mean", "dead_band": 0.0, "floor": 0.0, "renormalize": False,
    "every": 0, "trend_epochs": 1, "certainty": 0.0,
}
RARE = {"signal": "normalized-cross-entropy", "floor": 0.5, "renormalize": True}
RARITY = {
    "power": 0.5, "kappa": 1.0, "ramp": "late", "turn": 0.5, "signal": "none", "rate": 0.1,
    "memory": 0.9, "certainty": 0.0, "limit": 4.0,
}

LOSS_WEIGHTERS = (
    WeighterInfo("equal", "EqualWeighter", "the plain sum of the task losses", "baseline"),
    WeighterInfo("deepchest", "DeepChestWeighter",
        "raises tasks below the mean training accuracy, lowers the others",
        "Mohamed et al. 2025, arXiv 2505.23595",
        "one number per task; a signal by ranking keeps the logits of an epoch", DEEPCHEST),
    WeighterInfo("deepchest-rare", "rare_deepchest",
        "DeepChest by the loss over that of predicting the prevalence (no gain found)", "ours",
        "one number per task, and the logits of an epoch", {**DEEPCHEST, **RARE},
        preset_of="deepchest"),
    WeighterInfo("fixed", "FixedWeighter", "constant weights of your own", "baseline", ONE_EACH,
        {"weights": "", "file": ""}),
    WeighterInfo("prevalence", "PrevalenceWeighter", "constant, the rarer the higher", "baseline",
        ONE_EACH, {"power": 1.0}),
    WeighterInfo("rarity", "RarityWeighter",
        "a prior by rarity, adjusted by validation metrics (unproven)", "ours",
        "two numbers per task", RARITY),
    WeighterInfo("inverse-loss", "InverseLossWeighter", "every task contributes the same amount",
        "baseline"),
    WeighterInfo("scale-invariant", "ScaleInvariantWeighter",
        "the sum of the logarithms of the losses",
        "baseline: Navon et al. 2022, arXiv 2202.01017"),
    WeighterInfo("uncertainty", "UncertaintyWeighter",
        "learns each task's uncertainty with the model", "Kendall et al. 2018, arXiv 1705.07115",
        "one learned number per task", {"form": "classification", "initial": 0.0}),
    WeighterInfo("uw-so", "SoftOptimalUncertaintyWeighter", "softmax of the inverse losses",
        "Kirchdorfer et al. 2024, arXiv 2408.07985", options={"temperature": 500.0}),
    WeighterInfo("dwa", "DynamicWeightAverage", "the slower an epoch's loss fell, the higher",
        "Liu et al. 2019, arXiv 1803.10704", "two numbers per task", {"temperature": 2.0}),
    WeighterInfo("rlw", "RandomLossWeighter", "random weights at every step",
        "Lin et al. 2021, arXiv 2111.10603", "a random generator"),
    WeighterInfo("imtl-l", "ImpartialLossWeighter", "learns to bring all losses to one scale",
        "Liu et al. 2021, ICLR", "one learned number per task"),
    WeighterInfo("gls", "GeometricLossWeighter", "the geometric mean of the losses",
        "Chennupati et al. 2019, arXiv 1904.08492"),
    WeighterInfo("stch", "SmoothTchebycheff",
        "a smooth maximum of the losses over those of the warm-up",
        "Lin et al. 2024, arXiv 2402.19078", ONE_EACH, {"mu": 1.0, "warmup_epochs": 4}),
    WeighterInfo("famo", "FamoWeighter",
        "lets all losses fall at the same rate, by a second forward pass",
        "Liu et al. 2023, arXiv 2306.03792", "four numbers per task",
        {"learning_rate": 0.025, "decay": 1e-3}, "2 forward, 1 backward"),
    WeighterInfo("go4align", "Go4AlignWeighter", "one weight for each group of similar tasks",
        "Shen et al. 2024, arXiv 2404.06486", ONE_EACH, {"eta": 1e-4, "groups": 2}),
    WeighterInfo("dtp", "DynamicTaskPriority", "the worse a task does, the higher, smoothly",
        "Guo et al. 2018, ECCV", "two numbers per task",
        {"gamma": 1.0, "smoothing": 0.5, "metric": "accuracy"}),
)

# memory at the features; at the parameters T passes backward, and gradients as large as the model
_gradient = partial(WeighterInfo, memory="T gradients", kind="gradient")

GRADIENT_WEIGHTERS = (
    _gradient("gradnorm", "GradNormWeighter", "brings the norms of the tasks' gradients together",
        "Chen et al. 2018, arXiv 1711.02257", options={"learning_rate": 0.025, "alpha": 1.5},
        passes="1 forward, 1 backward, T to one layer"),
    _gradient("upgrad", "UPGradWeighter",
        "the mean of the gradients, each projected onto what harms no task",
        "Quinton and Rey 2024, arXiv 2406.16232"),
    _gradient("pcgrad", "PCGradWeighter",
        "removes each gradient's conflicts with the others, one by one",
        "Yu et al. 2020, arXiv 2001.06782"),
    _gradient("mgda", "MGDAWeighter", "the shortest average of the gradients",
        "Sener and Koltun 2018, arXiv 1810.04650"),
    _gradient("cagrad", "CAGradWeighter", "helps the worst-off task, near the mean gradient",
        "Liu et al. 2021, arXiv 2110.14048", options={"c": 0.4}),
    _gradient("nash-mtl", "NashWeighter", "the solution of a bargaining game between the tasks",
        "Navon et al. 2022, arXiv 2202.01017", options={"max_norm": 1.0}),
    _gradient("imtl-g", "ImpartialGradientWeighter", "goes equally far along every gradient",
        "Liu et al. 2021, ICLR"),
    _gradient("aligned-mtl", "AlignedWeighter", "makes the gradients orthogonal and equally long",
        "Senushkin et al. 2023, CVPR", options={"scale": "min"}),
    _gradient("graddrop", "GradDropWeighter",
        "keeps one sign of each gradient component, at random",
        "Chen et al. 2020, arXiv 2010.06808", options={"leak": 0.0}),
    _gradient("gradvac", "GradVacWeighter", "turns gradients toward those they were nearer to",
        "Wang et al. 2021, arXiv 2010.05874", options={"beta": 0.5}),
    _gradient("fairgrad", "FairGradWeighter", "shares a step's progress fairly",
        "Ban and Ji 2024, arXiv 2402.15638", options={"alpha": 1.0}),
    _gradient("config", "ConFIGWeighter", "the direction at the same angle to every gradient",
        "Liu et al. 2024, arXiv 2408.11104"),
    _gradient("dualproj", "DualProjWeighter",
        "the mean gradient, projected onto what harms no task",
        "Lopez-Paz and Ranzato 2017, NeurIPS"),
    _gradient("excess-mtl", "ExcessWeighter", "the more a task could still improve, the higher",
        "He et al. 2024, ICML", memory="four times T gradients", options={"step": 0.01}),
)
# fmt: on
WEIGHTERS: dict[str, WeighterInfo] = {
    info.name: info for info in (*LOSS_WEIGHTERS, *GRADIENT_WEIGHTERS)
}
# what DeepChest's weights on the losses cannot change, or change twice
NO_EFFECT = "constant factors of the losses do not change how it weighs them against each other"
UNDONE = "it cancels constant factors of the losses, or inverts them"
INCOMPATIBLE = {
    "deepchest": "its weights would be multiplied by themselves",
    **dict.fromkeys(("scale-invariant", "gls", "inverse-loss", "famo"), NO_EFFECT),
    **dict.fromkeys(("gradnorm", "imtl-g", "config", "nash-mtl"), NO_EFFECT),
    **dict.fromkeys(("fairgrad", "mgda"), UNDONE),
}


def refuse_incompatible(other: str) -> None:
    """Raise `UsageError` where DeepChest's weights under `other` have no effect, or apply twice."""
    if other in INCOMPATIBLE:
        raise UsageError(f"The weighter 'deepchest+{other}' makes no sense: {INCOMPATIBLE[other]}.")
