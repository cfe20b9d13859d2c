"""What has a loss and a weight of its own: a finding, or a finding in one data set."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepchest_cli.config import TrainConfig
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.reader import Labels
from deepchest_cli.errors import UsageError

BY_SOURCE = "finding-by-source"


@dataclass(frozen=True)
class Tasks:
    """K tasks over T findings.

    A model has one logit for each finding. Where a finding has several tasks, they share its logit,
    and each has the labels of its own data set.
    """

    names: tuple[str, ...]  # (K,)
    finding: NDArray[np.int64]  # (K,), column of each task's finding
    member: NDArray[np.int64] | None = None  # (K,), its data set; None: all of them
    columns: Tensor | None = None  # `finding` on the device; None: tasks are the findings

    def expand(self, by_finding: Tensor) -> Tensor:
        """Return values of findings (..., T) as values of tasks (..., K)."""
        return by_finding if self.columns is None else by_finding.index_select(-1, self.columns)

    def labels(self, dataset: RadiographDataset) -> Labels:
        """Return the labels and the label mask of tasks (N, K)."""
        if self.member is None:
            return dataset.labels, dataset.known
        own = dataset.member[:, None] == self.member
        return dataset.labels[:, self.finding], dataset.known[:, self.finding] * own

    def pooled(self, values: Tensor) -> Tensor:
        """Return sums of tasks (..., K) added up for each finding (..., T)."""
        if self.columns is None:
            return values
        total = values.new_zeros(*values.shape[:-1], int(self.finding.max()) + 1)
        return total.index_add_(-1, self.columns.to(values.device), values)


def choose_tasks(config: TrainConfig, dataset: RadiographDataset, device: torch.device) -> Tasks:
    """Return the tasks of a run.

    Raises `UsageError` where findings by source would be the findings themselves.
    """
    findings = dataset.findings
    if config.tasks != BY_SOURCE:
        return Tasks(findings, np.arange(len(findings)))
    pairs = [
        (findings.index(finding), number)
        for number, member in enumerate(dataset.members)
        for finding in member.findings
    ]
    pairs.sort()
    if len(pairs) == len(findings):
        several = len(dataset.members) > 1
        reason = "no finding is labeled in two of them" if several else "there is one data set"
        raise UsageError(
            f"--tasks {BY_SOURCE} would be the same as --tasks finding: {reason}.",
            "Leave --tasks out.",
        )
    names = tuple(f"{findings[column]} ({dataset.members[m].name})" for column, m in pairs)
    finding, member = np.array(pairs, dtype=np.int64).T
    return Tasks(names, finding, member, torch.from_numpy(finding.copy()).to(device))
