"""GradDrop (Chen et al. 2020, "Just Pick a Sign", arXiv 2010.06808).

For each of the K numbers that the gradients have, over the tasks that take part:
    P = (1 + sum of g_i / sum of |g_i|) / 2,   and U drawn evenly from 0 to 1
    P > U: only what is above zero counts; P < U: only what is below
    direction = the sum of what counts, and of a share `leak` of what does not
No weights of tasks say what the direction is: the trace has none. A loss may be raised.

The paper has one P and one U for a feature, from sums over the batch of the gradients times the
features' signs. Here each image's features have their own, which is the same rule on more numbers.
"""

from collections.abc import Sequence

from torch import Tensor

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import Context
from deepchest_cli.weighting.gradients import adapter
from deepchest_cli.weighting.gradients.aggregated import NO_SEED_GIVEN, AggregatedWeighter


class GradDropWeighter(AggregatedWeighter):
    """A direction in which, number by number, only gradients of one sign count.

    leak: from 0 to 1, the share that gradients of the other sign keep; 0 in the paper.
    """

    name = "graddrop"
    by_torchjd = True

    def __init__(
        self, tasks: Sequence[str], leak: float = 0.0, context: Context = NO_SEED_GIVEN
    ) -> None:
        super().__init__(tasks, context)
        if not 0 <= leak <= 1:
            raise UsageError(f"Option 'leak' of graddrop should be from 0 to 1. Found {leak}.")
        self.leak = leak

    def combine(self, gradients: Tensor, gramian: Tensor, taking_part: Tensor) -> Tensor:
        """Return the direction (K,); rows of zeros have no say in it."""
        return adapter.graddrop(gradients, self.leak)
