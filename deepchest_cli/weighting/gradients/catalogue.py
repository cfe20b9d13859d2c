"""The weighters that need the gradients of single tasks."""

from deepchest_cli.weighting.gradients.aligned_mtl import AlignedWeighter
from deepchest_cli.weighting.gradients.cagrad import CAGradWeighter
from deepchest_cli.weighting.gradients.config import ConFIGWeighter
from deepchest_cli.weighting.gradients.dualproj import DualProjWeighter
from deepchest_cli.weighting.gradients.excess_mtl import ExcessWeighter
from deepchest_cli.weighting.gradients.fairgrad import FairGradWeighter
from deepchest_cli.weighting.gradients.graddrop import GradDropWeighter
from deepchest_cli.weighting.gradients.gradnorm import GradNormWeighter
from deepchest_cli.weighting.gradients.gradvac import GradVacWeighter
from deepchest_cli.weighting.gradients.imtl_g import ImpartialGradientWeighter
from deepchest_cli.weighting.gradients.mgda import MGDAWeighter
from deepchest_cli.weighting.gradients.nash_mtl import NashWeighter
from deepchest_cli.weighting.gradients.pcgrad import PCGradWeighter
from deepchest_cli.weighting.gradients.upgrad import UPGradWeighter
from deepchest_cli.weighting.info import WeighterInfo

KIND = "gradient"
# at the features; at the parameters T passes backward, and gradients as large as the model
GRADIENTS = "T gradients"

GRADIENT_WEIGHTERS = (
    WeighterInfo(
        "gradnorm",
        GradNormWeighter,
        "brings the norms of the tasks' gradients together",
        "Chen et al. 2018, arXiv 1711.02257",
        GRADIENTS,
        "1 forward, 1 backward, T to one layer",
        kind=KIND,
    ),
    WeighterInfo(
        "upgrad",
        UPGradWeighter,
        "the mean of the gradients, each projected onto what harms no task",
        "Quinton and Rey 2024, arXiv 2406.16232",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "pcgrad",
        PCGradWeighter,
        "frees each gradient of its conflicts with the others, one by one",
        "Yu et al. 2020, arXiv 2001.06782",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "mgda",
        MGDAWeighter,
        "the shortest average of the gradients",
        "Sener and Koltun 2018, arXiv 1810.04650",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "cagrad",
        CAGradWeighter,
        "helps the worst-off task, near the mean gradient",
        "Liu et al. 2021, arXiv 2110.14048",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "nash-mtl",
        NashWeighter,
        "the bargain that no task would change",
        "Navon et al. 2022, arXiv 2202.01017",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "imtl-g",
        ImpartialGradientWeighter,
        "goes equally far along every gradient",
        "Liu et al. 2021, ICLR",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "aligned-mtl",
        AlignedWeighter,
        "makes the gradients orthogonal and equally long",
        "Senushkin et al. 2023, CVPR",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "graddrop",
        GradDropWeighter,
        "lets one sign of each number count, at random",
        "Chen et al. 2020, arXiv 2010.06808",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "gradvac",
        GradVacWeighter,
        "turns gradients towards those they were nearer to",
        "Wang et al. 2021, arXiv 2010.05874",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "fairgrad",
        FairGradWeighter,
        "shares a step's progress fairly",
        "Ban and Ji 2024, arXiv 2402.15638",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "config",
        ConFIGWeighter,
        "the direction at the same angle to every gradient",
        "Liu et al. 2024, arXiv 2408.11104",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "dualproj",
        DualProjWeighter,
        "the mean gradient, projected onto what harms no task",
        "Lopez-Paz and Ranzato 2017, NeurIPS",
        GRADIENTS,
        kind=KIND,
    ),
    WeighterInfo(
        "excess-mtl",
        ExcessWeighter,
        "the more a task could still gain, the higher",
        "He et al. 2024, ICML",
        "eight times T gradients",  # measured: sums of squares, and what comes of them in a step
        kind=KIND,
    ),
)
