"""GradDrop (Chen et al. 2020, "Just Pick a Sign", arXiv 2010.06808).

For each of the K components of the gradients, over the active tasks:
    P = (1 + sum of g_i / sum of |g_i|) / 2,   and U drawn evenly from 0 to 1
    P > U: only positive values count; P < U: only negative ones
    direction = the sum of those that count, and of a share `leak` of the others
The direction is no weighted sum of gradients: the trace has no weights. A loss may be raised.

The paper has one P and one U for a feature, from sums over the batch of the gradients times the
features' signs. Here each image's features have their own: the same rule on more components.
"""

from torch import Tensor

from deepchest_cli.weighting.base import Context, Tasks, check_option
from deepchest_cli.weighting.gradients import adapter
from deepchest_cli.weighting.gradients.aggregated import AggregatedWeighter


class GradDropWeighter(AggregatedWeighter):
    """A direction in which only one sign of each gradient component counts.

    leak: from 0 to 1, the share that gradients of the other sign keep; 0 in the paper.
    """

    name = "graddrop"
    uses_torchjd = True

    def __init__(self, tasks: Tasks, leak: float = 0.0, context: Context = Context()) -> None:
        super().__init__(tasks, context)
        check_option("graddrop", "leak", leak, 0 <= leak <= 1, "from 0 to 1")
        self.leak = leak

    def combine(self, gradients: Tensor, gramian: Tensor, active: Tensor) -> Tensor:
        """Return the direction (K,); rows of zeros do not count."""
        return adapter.graddrop(gradients, self.leak)
