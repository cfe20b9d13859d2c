"""Equal weighting, the baseline of every comparison (Kurin et al., NeurIPS 2022, defend it)."""

from deepchest_cli.weighting.base import Tasks, WeightedSumWeighter


class EqualWeighter(WeightedSumWeighter):
    """The plain sum of the task losses."""

    def __init__(self, tasks: Tasks) -> None:
        super().__init__(tasks)
