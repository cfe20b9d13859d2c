"""How far `--precision auto` on a CPU is from the better of fp32 and bf16, network by network."""

import argparse
import statistics
import time

import torch
from interleaved import conditions

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.model.classifier import Architecture, Classifier
from deepchest_cli.training.precision import Rates, measure_rates

NETWORKS = (
    "resnet18:128:32,resnet50:128:16,resnet50:224:16,small_cnn:64:32,densenet121:128:16,"
    "mobilenet_v2:128:32,mobilenet_v3_small:96:32,efficientnet_b0:128:16,vit_b_16:224:8"
)


def whole_steps(architecture: Architecture, batch: int, rounds: int) -> Rates:
    """Return the median rates of whole batches in turn, on as many threads as torch takes."""
    network = Classifier(architecture).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    size = architecture.image_size
    radiographs = torch.randn(batch, 1, size, size).contiguous(memory_format=torch.channels_last)
    seconds: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for _ in range(rounds + 1):  # the first warms up
        for name, found in seconds.items():
            started = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=name == "bf16"):
                _, logits = network(radiographs)
            logits.float().square().mean().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            found.append(time.perf_counter() - started)
    return Rates(*(batch / statistics.median(found[1:]) for found in seconds.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default=NETWORKS, help="BACKBONE:PIXELS:BATCH,...")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    conditions()
    for entry in options.networks.split(","):
        backbone, size, batch = entry.split(":")
        architecture = Architecture(backbone, "linear", FINDINGS, int(size), int(size))
        started = time.perf_counter()
        measured = measure_rates(architecture, int(batch))
        took = time.perf_counter() - started
        true = whole_steps(architecture, int(batch), options.rounds)
        loss = 1 - getattr(true, measured.faster) / max(true.fp32, true.bf16)
        print(
            f"{backbone}, {size} px, batch {batch}: fp32 {true.fp32:.1f}, bf16 {true.bf16:.1f} "
            f"images/s (ratio {true.bf16 / true.fp32:.2f}); measured on one core {took:.1f} s: "
            f"{measured.fp32:.1f} and {measured.bf16:.1f} ({measured.bf16 / measured.fp32:.2f}); "
            f"auto takes {measured.faster}, {100 * loss:.0f} % slower than the better",
            flush=True,
        )


if __name__ == "__main__":
    main()
