"""In which precision a device trains a network fastest; on a CPU only a measurement tells.

Whether bf16 pays depends on the processor and on the network: where matrix units compute it, large
convolutions train twice as fast, while depthwise ones are slower than in fp32 on the same
processor. Its feature flags say which instructions there are, not how fast they are.
"""

import hashlib
import json
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from deepchest_cli.files import write_json
from deepchest_cli.model.classifier import Architecture, Classifier

Precision = Literal["fp32", "bf16", "fp16"]

WORTH = 1.05  # bf16 rounds more: it is taken where it is faster by more than the noise
LONGEST = 0.2  # seconds of a measured step, unless two radiographs take longer
SLOWEST = 0.6  # a step in bf16 that takes so long where fp32 does not is measured only once
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
        return "bf16" if self.bf16 > WORTH * self.fp32 else "fp32"


@dataclass(frozen=True)
class Choice:
    """The precision of a run, and what it was chosen by where that was measured."""

    precision: Precision
    rates: Rates | None = None


def choose_precision(
    name: Literal["auto", "fp32", "bf16", "fp16"],
    device: torch.device,
    architecture: Architecture,
    batch: int,
    kept: Path | None = None,
) -> Choice:
    """Return the precision for `auto`; any other name as it is.

    batch: radiographs of a micro-batch. kept: a file of earlier measurements; None: nothing is
    kept, and a CPU is measured anew.
    """
    if name != "auto":
        return Choice(name)
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return Choice("bf16" if fast else "fp32")
    if device.type != "cpu":
        return Choice("fp32")
    rates = _kept_rates(architecture, batch, kept)
    return Choice(rates.faster, rates)


def measure_rates(architecture: Architecture, batch: int) -> Rates:
    """Measure training steps of a network on one core of this CPU, in turn in fp32 and in bf16.

    A step takes as many radiographs as 0.2 s allow; its fixed part and its part for each
    radiograph are told apart by a smaller one, so that the rates are those of a whole `batch`.
    What counts is the time that the core worked for this thread, so that other work on the machine
    hardly matters. The caller's random state and number of threads are left as they were.
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
    while many < batch and 2 * small[0] * many / few < LONGEST:
        many = min(2 * many, batch)
    if many > few and small[1] < SLOWEST:
        small = _fastest(network, radiographs[:few], ROUNDS)
        _fastest(network, radiographs[:many], 1)
        large = _fastest(network, radiographs[:many], ROUNDS)
    else:
        many = few
    fp32, bf16 = (
        batch / _extrapolated(few, small[place], many, large[place], batch) for place in (0, 1)
    )
    return Rates(fp32, bf16)


def _extrapolated(few: int, small: float, many: int, large: float, batch: int) -> float:
    """Return the seconds of a step with `batch` radiographs from those of two smaller steps."""
    if many in (few, batch):
        return large * batch / many
    each = (large - small) / (many - few)
    if each <= 0:  # noise
        return large * batch / many
    return large + each * (batch - many)


def _fastest(network: nn.Module, radiographs: Tensor, rounds: int) -> tuple[float, float]:
    """Return the seconds of the fastest step in fp32 and in bf16."""
    pairs = [
        (_seconds(network, radiographs, "fp32"), _seconds(network, radiographs, "bf16"))
        for _ in range(rounds)
    ]
    return min(fp32 for fp32, _ in pairs), min(bf16 for _, bf16 in pairs)


def _seconds(network: nn.Module, radiographs: Tensor, precision: str) -> float:
    """Take a step forward and backward, without the update, which no precision changes."""
    started = time.thread_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        _, logits = network(radiographs)
    logits.float().square().mean().backward()
    network.zero_grad(set_to_none=True)
    return time.thread_time() - started


def _kept_rates(architecture: Architecture, batch: int, kept: Path | None) -> Rates:
    if kept is None:
        return measure_rates(architecture, batch)
    key, table = _key(architecture, batch), read_rates(kept)
    if key not in table:
        rates = measure_rates(architecture, batch)
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            # read again: another process may have added its own meanwhile
            table = {**read_rates(kept), key: rates}
            write_json(kept, {name: asdict(entry) for name, entry in table.items()})
        except OSError:  # a home that cannot be written to: measured again the next time
            return rates
    return table[key]


def read_rates(kept: Path) -> dict[str, Rates]:
    """Return the measurements that a file keeps; none where it is not there or is damaged."""
    try:
        content: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return {key: Rates(float(v["fp32"]), float(v["bf16"])) for key, v in content.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def rates_here(kept: Path) -> dict[str, Rates]:
    """Return what a file keeps of this machine, by network."""
    mine = f"{SEPARATOR}{_here()}"
    return {
        key.removesuffix(mine): rates
        for key, rates in read_rates(kept).items()
        if key.endswith(mine)
    }


def _key(architecture: Architecture, batch: int) -> str:
    """Name what a measurement depends on."""
    network = (
        f"{architecture.backbone}, {architecture.head} head, {architecture.image_size} px, "
        f"batch {batch}"
    )
    return f"{network}{SEPARATOR}{_here()}"


def _here() -> str:
    """Name this kind of machine, its threads and its torch."""
    return f"{_processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _processor() -> str:
    """Return what tells one kind of processor from another: a home may serve many machines."""
    capabilities = dict(getattr(torch.cpu, "get_capabilities", dict)())
    features = hashlib.sha256(json.dumps(capabilities, sort_keys=True).encode()).hexdigest()[:12]
    level = torch.backends.cpu.get_cpu_capability()
    return f"{_model_name()} {level} {features}"


def _model_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
