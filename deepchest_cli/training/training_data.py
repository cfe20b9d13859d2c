"""What a run is trained on: the images of an epoch, the tasks, and the labels of each."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from deepchest_cli.config import TrainConfig
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.reader import Labels
from deepchest_cli.data.sampling import Sampling, choose_sampling
from deepchest_cli.training.checks import refuse_unfit_splits
from deepchest_cli.training.losses import label_counts
from deepchest_cli.training.tasks import Tasks, choose_tasks
from deepchest_cli.weighting import Context

Counts = tuple[NDArray[np.float64], NDArray[np.float64]]  # positives and negatives (K,)


@dataclass(frozen=True)
class TrainingData:
    """N images of one or several data sets, of which a run has two splits, and its K tasks."""

    dataset: RadiographDataset
    training_rows: NDArray[np.int64]
    validation_rows: NDArray[np.int64]
    sampling: Sampling  # of the training rows
    tasks: Tasks

    @property
    def rows(self) -> NDArray[np.int64]:
        """All rows that the run reads."""
        return np.concatenate([self.training_rows, self.validation_rows])

    @cached_property
    def labels(self) -> Labels:
        """The labels and the label mask of the tasks (N, K)."""
        return self.tasks.labels(self.dataset)

    @cached_property
    def draws(self) -> NDArray[np.float64]:
        """How often an epoch has each training row, on average."""
        return self.sampling.expected_draws(self.training_rows)

    def context(self, config: TrainConfig) -> Context:
        """Return what the run hands its weighter."""
        labels, known = self.labels
        rows = self.training_rows
        positives, negatives = label_counts(labels[rows], known[rows], self.draws)
        prevalence = torch.from_numpy(positives) / torch.from_numpy(positives + negatives)
        return Context(config.seed, prevalence, config.epochs)

    @property
    def counts_of_findings(self) -> Counts:
        """The labels of an epoch of each task's finding (K,), in all data sets.

        Tasks are for weighting: the loss of a single label does not depend on them.
        """
        dataset, rows = self.dataset, self.training_rows
        counts = label_counts(dataset.labels[rows], dataset.known[rows], self.draws)
        return counts[0][self.tasks.finding], counts[1][self.tasks.finding]


def choose_training_data(
    config: TrainConfig, dataset: RadiographDataset, device: torch.device
) -> TrainingData:
    """Return what a run is trained on; raises `UsageError` for what does not fit the data."""
    rows = {split: dataset.rows(split) for split in ("train", "validation")}
    refuse_unfit_splits(dataset, rows, config)
    sampling = choose_sampling(
        dataset, rows["train"], config.source_sampling, config.sampling == "balanced"
    )
    tasks = choose_tasks(config, dataset, device)
    return TrainingData(dataset, rows["train"], rows["validation"], sampling, tasks)
