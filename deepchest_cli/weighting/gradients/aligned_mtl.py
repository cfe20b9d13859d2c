"""Aligned-MTL (Senushkin et al. 2023, "Independent Component Alignment for Multi-Task Learning").

Over the m active tasks, with G the products of their gradients, G = V diag(l) V^T:
    w = (1 / m) B 1,   B = sqrt(s) V diag(1 / sqrt(l)) V^T,   s the smallest of all l above zero
    direction = sum of w_i g_i
The gradients are replaced by the nearest ones that are orthogonal and all as long as sqrt(s).

Not guaranteed: that no loss is raised; d may conflict with the gradients as they are. Eigenvalues
below 2e-16 m of the largest count as zero, which happens where norms spread over more than five
decades.
"""

from torch import Tensor

from deepchest_cli.errors import unknown_name
from deepchest_cli.weighting.base import Context, Tasks
from deepchest_cli.weighting.gradients import adapter
from deepchest_cli.weighting.gradients.aggregated import SolvedWeighter

SCALES = ("min", "median", "rmse")


class AlignedWeighter(SolvedWeighter):
    """Weights that make the gradients orthogonal and equally long.

    scale: s, the min of all l as in the paper; median; or rmse, their mean, as in its code.
    """

    name = "aligned-mtl"
    uses_torchjd = True

    def __init__(self, tasks: Tasks, scale: str = "min", context: Context = Context()) -> None:
        super().__init__(tasks, context)
        if scale not in SCALES:
            raise unknown_name("scale of aligned-mtl:", scale, SCALES)
        self.scale = scale

    def solve(self, gramian: Tensor, scale: float, active: Tensor) -> Tensor:
        return adapter.aligned_mtl(gramian, self.scale)
