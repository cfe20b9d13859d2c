"""A plain training loop under DistributedDataParallel; started by torchrun, in two processes.

With the helpers that the documents name, two processes train what one does on whole batches.
"""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from deepchest_cli.weighting import (
    EpochResults,
    across_processes,
    build_weighter,
    objective,
    task_losses,
    undisturbed,
)

TASKS = ("a", "b", "c")
KINDS = ("deepchest", "uncertainty", "famo", "upgrad", "gradnorm", "deepchest+pcgrad")
STEPS, IMAGES = 4, 16


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.heads = nn.Linear(6, 5), nn.Linear(5, len(TASKS))

    def forward(self, inputs):
        features = self.trunk(inputs).tanh()
        return features, self.heads(features)


def train(name, rank=0, processes=1):
    """Train on this process's rows of each batch; return the weights and the model's state."""
    torch.manual_seed(0)
    network = Network()
    model = DistributedDataParallel(network) if processes > 1 else network
    weighter, results = build_weighter(name, TASKS), EpochResults()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    optimizer.add_param_group({"params": weighter.parameters()})
    own = slice(rank * IMAGES // processes, (rank + 1) * IMAGES // processes)
    chance = torch.Generator().manual_seed(1)
    for _ in range(2):
        for _ in range(STEPS):
            inputs = torch.randn(IMAGES, 6, generator=chance)
            labels = (inputs[:, :3] > 0.2).float()
            labels[: IMAGES // 3, 0] = float("nan")  # known in other numbers in each process
            inputs, labels = inputs[own], labels[own]
            features, logits = model(inputs)
            optimizer.zero_grad()
            losses = across_processes(task_losses(logits, labels))
            objective(weighter, losses, features).backward()
            optimizer.step()
            weighter.after_step(
                undisturbed(network)(
                    lambda x=inputs, y=labels: across_processes(task_losses(network(x)[1], y))
                )
            )
            results.add(logits, labels)
        weighter.end_epoch(results.performance())
    return weighter.weights, network.state_dict()


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = int(os.environ["RANK"])
    found = {name: train(name, rank, 2) for name in KINDS}
    torch.save(found, Path(sys.argv[1]) / f"{rank}.pt")
    dist.destroy_process_group()
