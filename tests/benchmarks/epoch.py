"""What an epoch of the training loop costs over the bare model step.

On a GPU this is also the rate with synthetic tensors and no loading.
"""

import time

import torch
from interleaved import compare
from our_epoch import prepared, read_options, synchronize
from torch.nn.functional import binary_cross_entropy_with_logits

from deepchest_cli.config import TrainConfig
from deepchest_cli.training.components import build_components


class BareStep:
    """The same model and optimizer on one batch that is in memory: no loading, nothing else."""

    def __init__(self, config: TrainConfig, steps: int) -> None:
        self.setup, self.steps = build_components(config), steps
        size = self.setup.classifier.architecture.image_size
        shape = (config.batch_size, 1, size, size)
        self.radiographs = torch.randn(shape, device=self.setup.device).contiguous(
            memory_format=torch.channels_last
        )
        self.labels = torch.zeros(config.batch_size, 14, device=self.setup.device)
        self.setup.classifier.train()

    def __call__(self) -> float:
        setup = self.setup
        started = time.perf_counter()
        for _ in range(self.steps):
            low = setup.precision == "bf16"
            with torch.autocast(setup.device.type, torch.bfloat16, enabled=low):
                _, logits = setup.classifier(self.radiographs)
            loss = binary_cross_entropy_with_logits(logits.float(), self.labels)
            setup.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            setup.optimizer.step()
        synchronize(setup.device)
        return self.steps * len(self.labels) / (time.perf_counter() - started)


def main() -> None:
    options = read_options(__doc__, images=160, rounds=15)
    with prepared(options) as (_, epoch):
        config = epoch.trainer.components.config
        bare = BareStep(config, epoch.images // config.batch_size)
        compare({"an epoch of deepchest train": epoch, "the bare step": bare}, options.rounds)


if __name__ == "__main__":
    main()
