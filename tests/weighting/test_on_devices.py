"""Every loss weighter on simulated devices: no wait in a step, no double precision on Metal.

On CUDA a weighter computes what it computes on the CPU, on Metal the same in single precision.
"""

import copy
import io
from contextlib import nullcontext

import pytest
import torch
from simulated_device import simulated
from tests_support import weighter_options

from deepchest_cli.weighting import (
    WEIGHTERS,
    LossWeighter,
    Performance,
    PerStepWeighter,
    TaskLosses,
)
from deepchest_cli.weighting.catalog import INCOMPATIBLE
from deepchest_cli.weighting.certainty import STANDARD_ERRORS
from deepchest_cli.weighting.rarity import RARITY_SIGNALS
from deepchest_cli.weighting.signals import SIGNALS, measure
from deepchest_cli.weighting.trial import TASKS, Trial, performance_of

LOSS = [name for name, info in WEIGHTERS.items() if info.kind == "loss"]
NAMES = [*LOSS, *(f"deepchest+{name}" for name in LOSS if name not in INCOMPATIBLE)]
CPU = torch.device("cpu")
IMAGES, STEPS = 8, 3  # of an epoch
RANKING = [signal for signal in SIGNALS if signal not in ("accuracy", "loss")]


@pytest.fixture(params=["cuda", "mps"])
def gpu(request):
    with simulated(request.param) as device:
        yield device


def built(name, device=CPU, **options):
    weighter = Trial.of(name, {**weighter_options(name, TASKS), **options}).build()
    weighter.to(device)
    return weighter


def tables(step, device):
    """Logits, labels and label mask of a step; the labels of the last task are all negative."""
    drawn = torch.randn(3, IMAGES, len(TASKS), generator=torch.Generator().manual_seed(step))
    labels = (drawn[1] > 0).float()
    labels[:, -1] = 0
    return [table.to(device) for table in (drawn[0], labels, drawn[2] > -1)]


def losses_of(step, device):
    """The losses of a step; in the last one of an epoch a task is absent."""
    chance = torch.Generator().manual_seed(100 + step)
    values, known = torch.rand(len(TASKS), generator=chance) + 0.05, torch.full((len(TASKS),), 8)
    if step % STEPS == STEPS - 1:
        values[1], known[1] = 0.0, 0
    return TaskLosses(values.to(device).requires_grad_(), known.to(device))


def take_step(weighter, step, device, counting=nullcontext):
    """Take a step with a weighter and its parameters; return gradient and weights (T,)."""
    losses, after = losses_of(step, device), losses_of(step + 1, device)
    observed = tables(step, device)
    with counting(), torch.random.fork_rng([]):
        weighter.observe(*observed)
        weighter(losses).backward()
        with torch.no_grad():
            for parameter in weighter.parameters():
                parameter.sub_(0.1 * parameter.grad)
        weighter.after_step(lambda: after)
        weights = weighter.weights
        weighter.zero_grad()
    return [losses.values.grad.cpu(), weights.cpu()]


def end_epoch(weighter, epoch):
    scores = [0.1 + epoch / 10, 0.5, 0.9, float("nan")]
    weighter.end_epoch(performance_of(scores, [1.0, 0.5, 0.3, 0.2 * (epoch + 1)]))


def live(weighter, device, first=0, last=2 * STEPS, counting=nullcontext):
    """Return gradients and weights of the steps of a run of some epochs."""
    trace = []
    for step in range(first, last):
        trace += take_step(weighter, step, device, counting)
        if step % STEPS == STEPS - 1:
            end_epoch(weighter, step // STEPS)
    return trace


def assert_same(found, expected, kind):
    """Hold the very same values on CUDA, where the simulated one computes as the CPU does."""
    for one, other in zip(found, expected, strict=True):
        if kind == "cuda":
            assert torch.equal(one, other)
        else:
            assert one.tolist() == pytest.approx(other.tolist(), rel=1e-4, abs=1e-6)


def saved(weighter):
    file = io.BytesIO()
    torch.save(weighter.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_never_waits_and_computes_what_the_cpu_computes(name, gpu):
    weighter = built(name, gpu.device)
    found = live(weighter, gpu.device, last=1)
    found += live(weighter, gpu.device, first=1, counting=gpu.counting)
    assert gpu.waits == {}
    assert gpu.launches
    assert_same(found, live(built(name), CPU), gpu.kind)


@pytest.mark.parametrize("cut", [1, STEPS + 1])
@pytest.mark.parametrize("name", NAMES)
def test_a_run_goes_on_on_a_device_of_another_kind(name, cut, gpu):
    for begins, goes_on in ((gpu.device, CPU), (CPU, gpu.device), (gpu.device, gpu.device)):
        weighter, resumed = built(name, begins), built(name, goes_on)
        live(weighter, begins, last=cut)
        resumed.load_state_dict(saved(weighter))
        assert_same(live(resumed, goes_on, cut), live(weighter, begins, cut), gpu.kind)


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_on_a_device_goes_on_by_itself(name, gpu):
    weighter = built(name, gpu.device)
    live(weighter, gpu.device, last=STEPS)
    twin = copy.deepcopy(weighter)
    found = [live(one, gpu.device, STEPS) for one in (twin, weighter)]
    assert_same(*found, kind="cuda")


@pytest.mark.parametrize("signal", SIGNALS)
def test_an_update_by_a_measured_signal_waits_once(signal, gpu):
    weighter, on_cpu = (built("deepchest", d, signal=signal, every="1") for d in (gpu.device, CPU))
    found = [take_step(weighter, step, gpu.device, gpu.counting) for step in range(5)]
    assert gpu.waits.total() == 5
    for step, one in enumerate(found):
        assert_same(one, take_step(on_cpu, step, CPU), gpu.kind)


@pytest.mark.parametrize("signal", RANKING)
def test_the_end_of_an_epoch_with_a_measured_signal(signal, gpu):
    weighter, on_cpu = (built("deepchest", d, signal=signal) for d in (gpu.device, CPU))
    for one, device in ((weighter, gpu.device), (on_cpu, CPU)):
        for step in range(STEPS):
            take_step(one, step, device)
    with gpu.counting():
        notes = weighter.end_epoch(Performance())
    assert gpu.waits.total() == 2  # one for the notes
    assert notes == on_cpu.end_epoch(Performance())
    assert_same([weighter.weights.cpu()], [on_cpu.weights], gpu.kind)


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signal_is_measured_where_it_lies_or_on_the_cpu(signal, gpu):
    there = tables(0, gpu.device)
    with gpu.counting():
        found = measure(signal, *there)
    expected = measure(signal, *tables(0, CPU))
    assert found.dtype == torch.float64
    assert found.cpu().tolist() == pytest.approx(expected.tolist(), rel=1e-12, nan_ok=True)
    assert gpu.waits.total() == (1 if gpu.kind == "mps" else 0)  # of tables, not of tasks


@pytest.mark.parametrize("signal", [s for s in RARITY_SIGNALS if s != "none"])
def test_rarity_with_feedback(signal, gpu):
    weighter, on_cpu = (built("rarity", d, signal=signal, certainty="1") for d in (gpu.device, CPU))
    found = live(weighter, gpu.device, counting=gpu.counting)
    assert gpu.waits == {}
    assert_same(found, live(on_cpu, CPU), gpu.kind)


@pytest.mark.parametrize("signal", STANDARD_ERRORS)
def test_an_update_by_what_is_certain(signal, gpu):
    options = {"signal": signal, "certainty": "1"}
    weighter, on_cpu = (built("deepchest", d, **options) for d in (gpu.device, CPU))
    found = live(weighter, gpu.device, counting=gpu.counting)
    assert gpu.waits == {}
    assert_same(found, live(on_cpu, CPU), gpu.kind)


class Hasty(PerStepWeighter):
    """Asks for a number in each step."""

    def forward(self, losses):
        return losses.weighted_by(self.record(losses.present / losses.values.sum().item()))


class Exact(LossWeighter):
    """Multiplies by doubles of its own, wherever the losses are."""

    weights = None

    def forward(self, losses):
        return losses.values @ torch.ones(len(self.tasks), dtype=torch.float64).to(
            losses.values.device
        )


def test_the_checks_find_a_weighter_that_waits(gpu):
    live(Hasty(TASKS), gpu.device, counting=gpu.counting)
    assert gpu.waits.total() == 2 * STEPS


def test_the_checks_find_a_weighter_of_double_precision():
    with simulated("mps") as metal, pytest.raises(TypeError, match="float64"):
        Exact(TASKS)(losses_of(0, metal.device))
