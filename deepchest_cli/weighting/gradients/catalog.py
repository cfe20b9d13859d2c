"""The weighters that need the gradients of single tasks."""

from deepchest_cli.weighting.info import WeighterInfo
from deepchest_cli.weighting.lazy import Lazy

KIND = "gradient"
# at the features; at the parameters T passes backward, and gradients as large as the model
GRADIENTS = "T gradients"

GRADIENT_WEIGHTERS = (
    WeighterInfo(
        "gradnorm",
        Lazy("gradients.gradnorm", "GradNormWeighter"),
        "brings the norms of the tasks' gradients together",
        "Chen et al. 2018, arXiv 1711.02257",
        GRADIENTS,
        "1 forward, 1 backward, T to one layer",
        kind=KIND,
    ),
    WeighterInfo(
        "upgrad",
        Lazy("gradients.upgrad", "UPGradWeighter"),
        "the mean of the gradients, each projected onto what harms no task",
        "Quinton and Rey 2024, arXiv 2406.16232",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "pcgrad",
        Lazy("gradients.pcgrad", "PCGradWeighter"),
        "frees each gradient of its conflicts with the others, one by one",
        "Yu et al. 2020, arXiv 2001.06782",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "mgda",
        Lazy("gradients.mgda", "MGDAWeighter"),
        "the shortest average of the gradients",
        "Sener and Koltun 2018, arXiv 1810.04650",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "cagrad",
        Lazy("gradients.cagrad", "CAGradWeighter"),
        "helps the worst-off task, near the mean gradient",
        "Liu et al. 2021, arXiv 2110.14048",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "nash-mtl",
        Lazy("gradients.nash_mtl", "NashWeighter"),
        "the bargain that no task would change",
        "Navon et al. 2022, arXiv 2202.01017",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "imtl-g",
        Lazy("gradients.imtl_g", "ImpartialGradientWeighter"),
        "goes equally far along every gradient",
        "Liu et al. 2021, ICLR",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "aligned-mtl",
        Lazy("gradients.aligned_mtl", "AlignedWeighter"),
        "makes the gradients orthogonal and equally long",
        "Senushkin et al. 2023, CVPR",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "graddrop",
        Lazy("gradients.graddrop", "GradDropWeighter"),
        "lets one sign of each number count, at random",
        "Chen et al. 2020, arXiv 2010.06808",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "gradvac",
        Lazy("gradients.gradvac", "GradVacWeighter"),
        "turns gradients toward those they were nearer to",
        "Wang et al. 2021, arXiv 2010.05874",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "fairgrad",
        Lazy("gradients.fairgrad", "FairGradWeighter"),
        "shares a step's progress fairly",
        "Ban and Ji 2024, arXiv 2402.15638",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "config",
        Lazy("gradients.config", "ConFIGWeighter"),
        "the direction at the same angle to every gradient",
        "Liu et al. 2024, arXiv 2408.11104",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "dualproj",
        Lazy("gradients.dualproj", "DualProjWeighter"),
        "the mean gradient, projected onto what harms no task",
        "Lopez-Paz and Ranzato 2017, NeurIPS",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "excess-mtl",
        Lazy("gradients.excess_mtl", "ExcessWeighter"),
        "the more a task could still gain, the higher",
        "He et al. 2024, ICML",
        "eight times T gradients",  # measured: sums of squares, and what comes of them in a step
        kind=KIND,
    ),
)
