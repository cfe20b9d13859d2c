"""Two processes of which one fails, or receives a signal: both end, and the run goes on exactly."""

import json
import subprocess
from pathlib import Path

import pytest
import stopping_processes
from killing import assert_equal_runs
from stopping_processes import BREAKS
from two_processes import TORCHRUN, environment


@pytest.fixture(scope="module")
def runs(shards, tmp_path_factory):
    """Runs that were stopped at each place and resumed, and one that was not."""
    out = tmp_path_factory.mktemp("stopped")
    command = [*TORCHRUN, Path(stopping_processes.__file__), shards, out]
    subprocess.run(command, check=True, env=environment(), timeout=1800, capture_output=True)
    return out


def raised(runs, name):
    """What each process raised."""
    return [json.loads((runs / f"raised-{rank}.json").read_text())[name] for rank in (0, 1)]


@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize("name", BREAKS)
def test_a_run_that_was_stopped_anywhere_goes_on_exactly(runs, name, delay):
    main, other = raised(runs, f"{name}-{delay}")
    assert main["step"] == other["step"]
    assert_equal_runs(runs / f"{name}-{delay}", runs / "undisturbed")


@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize(
    ("name", "failed", "said"),
    [
        ("in_weighter", 1, "the mean of an empty list"),
        ("out_of_memory_in_validation", 1, "Out of memory: Tried to allocate 20 MiB."),
        ("full_disk_after_epoch", 0, "No space left on device"),
        ("full_disk_in_validation", 0, "No space left on device"),
        ("unreadable_shard", 1, "Shard 7 is gone."),
    ],
)
def test_the_failure_of_one_process_is_told_by_the_other(runs, name, failed, said, delay):
    found = raised(runs, f"{name}-{delay}")
    own, told = found[failed], found[1 - failed]
    assert said in own["message"]
    assert "has failed" not in own["message"]
    assert told["message"].startswith(f"Process {failed} of 2 has failed: ")
    assert said in told["message"]
    assert told["hint"] == own["hint"]


@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize(
    ("name", "step"), [("signal_in_validation", 6), ("signal_in_statistics", 12)]
)
def test_a_signal_to_one_process_stops_both(runs, name, step, delay):
    for one in raised(runs, f"{name}-{delay}"):
        assert one["type"] == "InterruptedRunError"
        assert one["code"] == 143
        assert one["message"] == f"Interrupted after step {step}; the state is saved."


def test_a_batch_that_one_process_cannot_read_ends_both_before_it(runs):
    """The tenth batch of the run is one of the second epoch, or is read ahead of it."""
    for delay in (0, 1):
        for one in raised(runs, f"unreadable_shard-{delay}"):
            assert f"This was after step {one['step']}; the state is saved." in one["message"]
