"""The results of an epoch, collected step by step in a training loop of one's own."""

import torch
import torch.distributed as dist
from torch import Tensor

from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.weighting.base import Performance
from deepchest_cli.weighting.losses import split_mask
from deepchest_cli.weighting.signals import SIGNALS, SPLITS, measure

Tables = tuple[Tensor, Tensor, Tensor]  # logits, labels and label mask, (N, T) each


class EpochResults:
    """Collects logits and labels, on their device, and measures what weighters ask for.

    >>> epoch = EpochResults()
    >>> epoch.add(logits, labels)  # in each step
    >>> weighter.end_epoch(epoch.performance())
    """

    def __init__(self) -> None:
        self.steps: dict[str, list[Tables]] = {split: [] for split in SPLITS}

    def add(
        self, logits: Tensor, labels: Tensor, known: Tensor | None = None, split: str = "train"
    ) -> None:
        """Add a batch (B, T) of the split train or validation.

        known: the label mask; without one, a label that is NaN is unknown. Raises `UsageError` for
        another split, and where the shapes differ.
        """
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        if known is None:
            labels, known = split_mask(labels)
        if not logits.shape == labels.shape == known.shape or logits.ndim != 2:
            shapes = ", ".join(str(tuple(table.shape)) for table in (logits, labels, known))
            raise UsageError(
                f"Logits, labels and label mask should be (B, T) each. Found {shapes}."
            )
        self.steps[split].append((logits.detach().float().clone(), labels > 0, known.bool()))

    def performance(self) -> Performance:
        """Return the metrics of both splits, and begin the next epoch.

        Every signal of the weighters is there, by its name with underscores, where something was
        added: accuracy, balanced_accuracy, f1, auroc, average_precision, loss and
        normalized_cross_entropy. Where torch has several processes, the metrics are those of the
        results of all of them, and all have to ask.
        """
        tables = {split: self._joined(split) for split in SPLITS}
        self.steps = {split: [] for split in SPLITS}
        metrics = {split: _metrics(table) for split, table in tables.items()}
        counts = None
        if tables["validation"] is not None:
            _, labels, known = tables["validation"]
            counts = torch.stack([(known & labels).sum(dim=0), (known & ~labels).sum(dim=0)])
        return Performance(metrics["train"], metrics["validation"], counts)

    def _joined(self, split: str) -> Tables | None:
        """Return the tables of all steps and processes; None where there are none."""
        steps = self.steps[split]
        joined = [torch.cat(column) for column in zip(*steps, strict=True)]
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            gathered: list[list[Tensor]] = [[]] * dist.get_world_size()
            dist.all_gather_object(gathered, [table.cpu() for table in joined])
            joined = [torch.cat(column) for column in zip(*filter(None, gathered), strict=True)]
        return (joined[0], joined[1], joined[2]) if joined else None


def _metrics(tables: Tables | None) -> dict[str, Tensor]:
    if tables is None:
        return {}
    return {name.replace("-", "_"): measure(name, *tables).cpu() for name in SIGNALS}
