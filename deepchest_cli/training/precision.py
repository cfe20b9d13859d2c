"""The fastest precision of a device for a network; on a CPU it is measured.

On one processor, bf16 can train large convolutions twice as fast and depthwise ones slower than
fp32. Its feature flags say which instructions there are, not how fast they are.
"""

import hashlib
import json
import platform
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from deepchest_cli.files import write_json
from deepchest_cli.model.backbones.own_function import HASH
from deepchest_cli.model.classifier import Architecture, Classifier

Precision = Literal["fp32", "bf16", "fp16"]

MIN_SPEEDUP = 1.05  # of bf16, which rounds more: above the noise
MAX_SECONDS = 0.2  # of a measured step, unless two radiographs take longer
SLOW_SECONDS = 0.6  # a step in bf16 of so many seconds is measured only once
ROUNDS = 3
SEPARATOR = "; "  # between network and machine in the file of measurements


@dataclass(frozen=True)
class Rates:
    """Radiographs that one core trains a network on in a second, in each precision."""

    fp32: float
    bf16: float

    @property
    def faster(self) -> Precision:
        """bf16 where it is clearly faster."""
        return "bf16" if self.bf16 > MIN_SPEEDUP * self.fp32 else "fp32"


@dataclass(frozen=True)
class PrecisionChoice:
    """The precision of a run, and the measured rates that it was chosen by."""

    precision: Precision
    rates: Rates | None = None


def choose_precision(
    name: Literal["auto", "fp32", "bf16", "fp16"],
    device: torch.device,
    architecture: Architecture,
    batch: int,
    rates_file: Path | None = None,
) -> PrecisionChoice:
    """Return the precision for `auto`; any other name as it is.

    batch: radiographs of a micro-batch. rates_file: keeps measurements; None: a CPU is measured
    anew.
    """
    if name != "auto":
        return PrecisionChoice(name)
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return PrecisionChoice("bf16" if fast else "fp32")
    if device.type != "cpu":
        return PrecisionChoice("fp32")
    rates = _cpu_rates(architecture, batch, rates_file)
    return PrecisionChoice(rates.faster, rates)


def measure_rates(architecture: Architecture, batch: int) -> Rates:
    """Measure training steps of a network on one core of this CPU, in turn in fp32 and in bf16.

    A step takes as many radiographs as 0.2 s allow; a smaller one separates the fixed cost of a
    step from that of a radiograph, so that the rates are those of a whole `batch`. Thread time is
    measured, so that other work on the machine hardly matters. The caller's random state and
    number of threads stay as they were.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            return _measure(architecture, batch)
    finally:
        torch.set_num_threads(threads)


def _measure(architecture: Architecture, batch: int) -> Rates:
    network = Classifier(architecture).to(memory_format=torch.channels_last).train()
    size = architecture.image_size
    radiographs = torch.randn(batch, 1, size, size).contiguous(memory_format=torch.channels_last)
    few = many = min(2, batch)  # batch norm needs two
    _fastest(network, radiographs[:few], 1)  # the first step prepares kernels
    small = large = _fastest(network, radiographs[:few], 1)
    while many < batch and 2 * small[0] * many / few < MAX_SECONDS:
        many = min(2 * many, batch)
    if many > few and small[1] < SLOW_SECONDS:
        small = _fastest(network, radiographs[:few], ROUNDS)
        _fastest(network, radiographs[:many], 1)
        large = _fastest(network, radiographs[:many], ROUNDS)
    else:
        many = few
    fp32, bf16 = (
        batch / _extrapolated(few, one, many, other, batch)
        for one, other in zip(small, large, strict=True)
    )
    return Rates(fp32, bf16)


def _extrapolated(few: int, small: float, many: int, large: float, batch: int) -> float:
    """Return the seconds of a step with `batch` radiographs from those of two smaller steps."""
    if many in (few, batch) or large <= small:  # the latter by noise
        return large * batch / many
    return large + (large - small) / (many - few) * (batch - many)


def _fastest(network: nn.Module, radiographs: Tensor, rounds: int) -> tuple[float, float]:
    """Return the seconds of the fastest step in fp32 and in bf16."""
    pairs = [
        (_seconds(network, radiographs, "fp32"), _seconds(network, radiographs, "bf16"))
        for _ in range(rounds)
    ]
    return min(fp32 for fp32, _ in pairs), min(bf16 for _, bf16 in pairs)


def _seconds(network: nn.Module, radiographs: Tensor, precision: str) -> float:
    """Return the seconds of a step without the update, which is the same in any precision."""
    started = time.thread_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        _, logits = network(radiographs)
    logits.float().square().mean().backward()
    network.zero_grad(set_to_none=True)
    return time.thread_time() - started


def _cpu_rates(architecture: Architecture, batch: int, rates_file: Path | None) -> Rates:
    if rates_file is None:
        return measure_rates(architecture, batch)
    key, table = _key(architecture, batch), read_rates(rates_file)
    if key in table:
        return table[key]
    rates = measure_rates(architecture, batch)
    with suppress(OSError):  # a home that cannot be written to: measured again the next time
        rates_file.parent.mkdir(parents=True, exist_ok=True)
        # read again: another process may have added its own meanwhile
        table = {**read_rates(rates_file), key: rates}
        write_json(rates_file, {name: asdict(entry) for name, entry in table.items()})
    return rates


def read_rates(rates_file: Path) -> dict[str, Rates]:
    """Return the measurements in a file; none where it is not there or is damaged."""
    try:
        content: dict[str, Any] = json.loads(rates_file.read_text(encoding="utf-8"))
        return {key: Rates(float(v["fp32"]), float(v["bf16"])) for key, v in content.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def rates_of_this_machine(rates_file: Path) -> dict[str, Rates]:
    """Return the measurements of this machine in a file, by network."""
    suffix, table = f"{SEPARATOR}{_machine()}", read_rates(rates_file)
    return {key.removesuffix(suffix): table[key] for key in table if key.endswith(suffix)}


def _key(architecture: Architecture, batch: int) -> str:
    """Name what a measurement depends on."""
    code = str(architecture.backbone_config.get(HASH, ""))[:12]  # of one's own: it may change
    backbone = f"{architecture.backbone} {code}".rstrip()
    model = f"{backbone}, {architecture.head} head, {architecture.image_size} px"
    return f"{model}, batch {batch}{SEPARATOR}{_machine()}"


def _machine() -> str:
    """Name this kind of processor, as a home may serve many machines, its threads and its torch."""
    capabilities = dict(getattr(torch.cpu, "get_capabilities", dict)())
    features = hashlib.sha256(json.dumps(capabilities, sort_keys=True).encode()).hexdigest()[:12]
    level = torch.backends.cpu.get_cpu_capability()
    threads = f"{torch.get_num_threads()} threads"
    return f"{_model_name()} {level} {features}, {threads}, torch {torch.__version__}"


def _model_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
