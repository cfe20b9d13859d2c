"""What training is held against: the step of a plain PyTorch script on tensors that are ready."""

import time

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from deepchest_cli.config import TrainConfig
from deepchest_cli.training.components import build_components
from deepchest_cli.training.device import synchronize
from deepchest_cli.training.forward import DTYPES


class BareStep:
    """The same model and optimizer on one batch that is in memory: no loading, nothing else."""

    def __init__(self, config: TrainConfig, steps: int) -> None:
        self.setup, self.steps = build_components(config), steps
        architecture, device = self.setup.classifier.architecture, self.setup.device
        shape = (config.batch_size, 1, architecture.image_size, architecture.image_size)
        self.radiographs = torch.randn(shape, device=device).contiguous(
            memory_format=torch.channels_last
        )
        self.labels = torch.zeros(config.batch_size, len(architecture.findings), device=device)
        self.setup.classifier.train()
        if config.compile:
            self.setup.classifier.trunk.compile()  # as in training, without the head

    def __call__(self) -> float:
        """Return the rate in images a second."""
        setup, dtype = self.setup, DTYPES[self.setup.precision]
        started = time.perf_counter()
        for _ in range(self.steps):
            with torch.autocast(setup.device.type, dtype, enabled=dtype != torch.float32):
                _, logits = setup.classifier(self.radiographs)
            loss = binary_cross_entropy_with_logits(logits.float(), self.labels)
            setup.optimizer.zero_grad(set_to_none=True)
            setup.scaler.scale(loss).backward()
            setup.scaler.step(setup.optimizer)
            setup.scaler.update()
        synchronize(setup.device)
        return self.steps * len(self.labels) / (time.perf_counter() - started)
