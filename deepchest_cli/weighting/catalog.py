"""Every weighter by name: help, completion, documentation and comparison read this table."""

from deepchest_cli.weighting.deepchest_rare import rare_deepchest
from deepchest_cli.weighting.gradients.catalog import GRADIENT_WEIGHTERS
from deepchest_cli.weighting.info import WeighterInfo
from deepchest_cli.weighting.lazy import Lazy

ONE_EACH = "one number a task"

LOSS_WEIGHTERS = (
    WeighterInfo(
        "equal", Lazy("equal", "EqualWeighter"), "the plain sum of the task losses", "baseline"
    ),
    WeighterInfo(
        "deepchest",
        Lazy("deepchest", "DeepChestWeighter"),
        "raises tasks below the mean training accuracy, lowers the others",
        "Mohamed et al. 2025, arXiv 2505.23595",
        "one number a task; a signal by ranking keeps the logits of an epoch",
    ),
    WeighterInfo(
        "deepchest-rare",
        rare_deepchest,
        "DeepChest by the loss over that of predicting the prevalence (unproven)",
        "ours",
        "one number a task, and the logits of an epoch",
    ),
    WeighterInfo(
        "fixed",
        Lazy("fixed", "FixedWeighter"),
        "constant weights of your own",
        "baseline",
        ONE_EACH,
    ),
    WeighterInfo(
        "prevalence",
        Lazy("prevalence", "PrevalenceWeighter"),
        "constant, the rarer the higher",
        "baseline",
        ONE_EACH,
    ),
    WeighterInfo(
        "rarity",
        Lazy("rarity", "RarityWeighter"),
        "a prior by rarity, moved by what validation says (unproven)",
        "ours",
        "two numbers a task",
    ),
    WeighterInfo(
        "inverse-loss",
        Lazy("inverse_loss", "InverseLossWeighter"),
        "every task contributes the same amount",
        "baseline",
    ),
    WeighterInfo(
        "scale-invariant",
        Lazy("scale_invariant", "ScaleInvariantWeighter"),
        "the sum of the logarithms of the losses",
        "baseline of Navon et al. 2022, arXiv 2202.01017",
    ),
    WeighterInfo(
        "uncertainty",
        Lazy("uncertainty", "UncertaintyWeighter"),
        "learns each task's uncertainty with the model",
        "Kendall et al. 2018, arXiv 1705.07115",
        "one learned number a task",
    ),
    WeighterInfo(
        "uw-so",
        Lazy("uw_so", "SoftOptimalUncertaintyWeighter"),
        "softmax of the inverse losses",
        "Kirchdorfer et al. 2024, arXiv 2408.07985",
    ),
    WeighterInfo(
        "dwa",
        Lazy("dwa", "DynamicWeightAverage"),
        "the slower an epoch's loss fell, the higher",
        "Liu et al. 2019, arXiv 1803.10704",
        "two numbers a task",
    ),
    WeighterInfo(
        "rlw",
        Lazy("rlw", "RandomLossWeighter"),
        "random weights at every step",
        "Lin et al. 2021, arXiv 2111.10603",
        "a random generator",
    ),
    WeighterInfo(
        "imtl-l",
        Lazy("imtl_l", "ImpartialLossWeighter"),
        "learns to bring all losses to one scale",
        "Liu et al. 2021, ICLR",
        "one learned number a task",
    ),
    WeighterInfo(
        "gls",
        Lazy("gls", "GeometricLossWeighter"),
        "the geometric mean of the losses",
        "Chennupati et al. 2019, arXiv 1904.08492",
    ),
    WeighterInfo(
        "stch",
        Lazy("stch", "SmoothTchebycheff"),
        "a smooth maximum of the losses over those of the warm-up",
        "Lin et al. 2024, arXiv 2402.19078",
        ONE_EACH,
    ),
    WeighterInfo(
        "famo",
        Lazy("famo", "FamoWeighter"),
        "lets all losses fall at the same rate, looking again after the update",
        "Liu et al. 2023, arXiv 2306.03792",
        "four numbers a task",
        "2 forward, 1 backward",
    ),
    WeighterInfo(
        "go4align",
        Lazy("go4align", "Go4AlignWeighter"),
        "one weight for each group of tasks alike",
        "Shen et al. 2024, arXiv 2404.06486",
        ONE_EACH,
    ),
    WeighterInfo(
        "dtp",
        Lazy("dtp", "DynamicTaskPriority"),
        "the worse a task does, the higher, smoothly",
        "Guo et al. 2018, ECCV",
        "two numbers a task",
    ),
)
WEIGHTERS: dict[str, WeighterInfo] = {
    info.name: info for info in (*LOSS_WEIGHTERS, *GRADIENT_WEIGHTERS)
}
