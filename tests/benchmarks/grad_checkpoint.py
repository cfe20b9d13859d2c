"""Memory and time of a training step with activation checkpointing over one without it.

The peak of the memory is that of a step above what model and batch take, each in a process of its
own; steps are timed in turn.
"""

import argparse
import multiprocessing
import time
from pathlib import Path

import torch
from interleaved import compare, conditions

from deepchest_cli.config import TrainConfig
from deepchest_cli.model.backbones.registry import describe_backbone, resolve_backbone
from deepchest_cli.model.classifier import Architecture, Classifier
from deepchest_cli.training.device import synchronize
from deepchest_cli.training.recomputation import recompute_blocks

STATUS = Path("/proc/self/status")  # on Linux


class Step:
    """Forward and backward pass of a batch of noise."""

    def __init__(self, options: argparse.Namespace, backbone: str, checkpointing: bool) -> None:
        torch.set_num_threads(options.threads)
        name = resolve_backbone(backbone)
        spec = describe_backbone(name, options.size)
        self.classifier = Classifier(Architecture.of(spec, "linear", ("a", "b"), options.size))
        self.classifier.to(options.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        config = TrainConfig(backbone=name, grad_checkpoint=checkpointing)
        recompute_blocks(self.classifier.trunk, config)
        self.radiographs = torch.randn(
            options.batch, 1, options.size, options.size, device=options.device
        ).contiguous(memory_format=torch.channels_last)

    def __call__(self) -> float:
        """Return the rate in images per second."""
        started = time.perf_counter()
        self.classifier(self.radiographs)[1].square().mean().backward()
        self.classifier.zero_grad(set_to_none=True)
        synchronize(self.radiographs.device)
        return len(self.radiographs) / (time.perf_counter() - started)


def step_memory(options: argparse.Namespace, backbone: str, checkpointing: bool) -> float:
    """Return the peak in GB of a step above what was there before it."""
    step = Step(options, backbone, checkpointing)
    if options.device == "cpu":
        before = _memory("VmRSS")
        step()
        return (_memory("VmHWM") - before) / 1e9
    step()  # workspaces
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    return (torch.cuda.max_memory_allocated() - before) / 1e9


def _memory(field: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbones", default="resnet50,vit_b_16")
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    conditions(size=options.size, batch=options.batch, device=options.device, precision="fp32")
    for backbone in options.backbones.split(","):
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            jobs = [(options, backbone, flag) for flag in (True, False)]
            with_it, without = pool.starmap(step_memory, jobs, chunksize=1)
        print(f"{backbone}: {with_it:.2f} GB with it, {without:.2f} GB without: ", end="")
        print(f"{with_it / without:.2f} times")
        names = ("with activation checkpointing", "without")
        steps = (Step(options, backbone, flag) for flag in (True, False))
        compare(dict(zip(names, steps, strict=True)), options.rounds)


if __name__ == "__main__":
    main()
