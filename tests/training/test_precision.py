import pytest
import torch

from deepchest_cli.model.classifier import Architecture
from deepchest_cli.training import precision
from deepchest_cli.training.precision import (
    Rates,
    choose_precision,
    rates_of_this_machine,
    read_rates,
)

CPU = torch.device("cpu")
NETWORK = Architecture("small_cnn", "linear", ("Mass", "Edema"), 32, 32)
# before any fixture puts another in its place
measure_for_real = precision.measure_rates


@pytest.fixture
def measured(monkeypatch):
    """The batches for which rates were measured; `found` is what a measurement gives."""

    class Measured(list):
        found = Rates(100.0, 200.0)

    batches = Measured()

    def measure(architecture, batch):
        batches.append(batch)
        return batches.found

    monkeypatch.setattr(precision, "measure_rates", measure)
    return batches


@pytest.mark.parametrize(
    ("bf16", "chosen"), [(200.0, "bf16"), (106.0, "bf16"), (104.0, "fp32"), (10.0, "fp32")]
)
def test_auto_takes_bf16_only_where_it_is_clearly_faster(measured, bf16, chosen):
    measured.found = Rates(100.0, bf16)
    choice = choose_precision("auto", CPU, NETWORK, 8)
    assert (choice.precision, choice.rates) == (chosen, measured.found)


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_a_named_precision_is_taken_unmeasured(measured, name):
    assert choose_precision(name, CPU, NETWORK, 8).precision == name
    assert not measured


def test_gpus_are_not_measured(measured, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert choose_precision("auto", torch.device("cuda"), NETWORK, 8).precision == "bf16"
    assert choose_precision("auto", torch.device("mps"), NETWORK, 8).precision == "fp32"
    assert not measured


def test_a_network_is_measured_once_on_a_machine(measured, monkeypatch, tmp_path):
    kept = tmp_path / "cache" / "rates.json"
    first = choose_precision("auto", CPU, NETWORK, 8, kept)
    measured.found = Rates(3.0, 1.0)
    assert choose_precision("auto", CPU, NETWORK, 8, kept) == first
    assert measured == [8]
    assert choose_precision("auto", CPU, NETWORK, 16, kept).precision == "fp32"  # another network
    monkeypatch.setattr(torch, "__version__", "99.0")
    assert choose_precision("auto", CPU, NETWORK, 8, kept).precision == "fp32"
    assert measured == [8, 16, 8]
    assert list(rates_of_this_machine(kept).values()) == [measured.found]
    assert list(rates_of_this_machine(kept)) == ["small_cnn, linear head, 32 px, batch 8"]
    assert len(read_rates(kept)) == 3


@pytest.mark.parametrize("content", ["", "[]", "{", '{"small_cnn": 1}', '{"a": {"fp32": "x"}}'])
def test_a_damaged_file_is_measured_anew(measured, tmp_path, content):
    kept = tmp_path / "rates.json"
    kept.write_text(content)
    assert choose_precision("auto", CPU, NETWORK, 8, kept).precision == "bf16"
    assert list(read_rates(kept).values()) == [measured.found]


def test_a_cache_that_cannot_be_written_to_stops_nothing(measured, tmp_path):
    (tmp_path / "file").write_text("")
    kept = tmp_path / "file" / "rates.json"
    for _ in range(2):
        assert choose_precision("auto", CPU, NETWORK, 8, kept).precision == "bf16"
    assert measured == [8, 8]


@pytest.mark.parametrize("longest", [precision.MAX_SECONDS, 0.0])
def test_measuring_leaves_random_state_and_threads_alone(monkeypatch, longest):
    monkeypatch.setattr(precision, "MAX_SECONDS", longest)  # 0: only the smallest step
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    rates = measure_for_real(NETWORK, 8)
    assert rates.fp32 > 0
    assert rates.bf16 > 0
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_batch_is_extrapolated_from_two_smaller_ones():
    # 1 s that every step takes, and 0.5 s for each radiograph
    assert precision._extrapolated(2, 2.0, 8, 5.0, 32) == pytest.approx(17.0)
    assert precision._extrapolated(2, 2.0, 2, 2.0, 32) == pytest.approx(32.0)
    # the larger step in less time is noise: nothing is taken off
    assert precision._extrapolated(2, 2.0, 8, 1.0, 32) == pytest.approx(4.0)
