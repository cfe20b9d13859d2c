import importlib.util
import signal

import pytest

from deepchest_cli import interruption
from deepchest_cli.interruption import (
    BATCH_SIGNALS,
    SIGNALS,
    InterruptionError,
    end_on_signal,
    stop_on_signal,
)

pytestmark = pytest.mark.usefixtures("signals_arrive")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_the_handler_before_comes_back(number):
    before = signal.getsignal(number)
    with stop_on_signal() as stop:
        signal.raise_signal(number)
        assert stop.exit_code == 128 + number
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_what_terminals_and_batch_systems_send_is_among_them(name):
    assert getattr(signal, name) in BATCH_SIGNALS


def test_only_a_second_ctrl_c_ends_at_once():
    with pytest.raises(KeyboardInterrupt), stop_on_signal() as stop:
        for number in (*BATCH_SIGNALS, signal.SIGTERM):
            signal.raise_signal(number)
        assert stop.exit_code == 128 + BATCH_SIGNALS[0]
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", BATCH_SIGNALS)
def test_what_is_ignored_from_the_start_stays_ignored(number):
    before = signal.signal(number, signal.SIG_IGN)  # as nohup leaves it
    try:
        with end_on_signal(), stop_on_signal() as stop:
            signal.raise_signal(number)
            assert stop.exit_code is None
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_what_is_noted_within_is_known_without_and_the_other_way_round():
    with stop_on_signal() as outer:
        with stop_on_signal():
            signal.raise_signal(signal.SIGTERM)
        assert outer.exit_code == 143
        with stop_on_signal() as inner:
            assert inner.exit_code == 143
    with stop_on_signal() as afterwards:
        assert afterwards.exit_code is None


def test_outside_of_a_step_a_signal_ends_the_command_once():
    with pytest.raises(InterruptionError) as info, end_on_signal():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)  # sent twice: what is cleaned up is not disturbed
    assert info.value.exit_code == 143
    assert not isinstance(info.value, Exception)


def test_who_has_saved_after_a_signal_is_not_ended_by_the_next():
    with end_on_signal():
        with stop_on_signal() as stop:
            signal.raise_signal(signal.SIGHUP)
        assert stop.exit_code == 129
        signal.raise_signal(signal.SIGHUP)


def test_a_handler_that_was_changed_meanwhile_stays():
    before = signal.getsignal(signal.SIGTERM)
    try:
        with stop_on_signal():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_system_without_these_signals_has_the_others(monkeypatch):
    for name in interruption.NAMES:
        monkeypatch.delattr(signal, name, raising=False)
    spec = importlib.util.spec_from_file_location("interruption_there", interruption.__file__)
    there = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(there)
    assert there.SIGNALS == (signal.SIGINT, signal.SIGTERM)
    with there.stop_on_signal() as stop:
        signal.raise_signal(signal.SIGTERM)
    assert stop.exit_code == 143
