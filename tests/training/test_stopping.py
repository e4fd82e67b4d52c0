"""Tests that the first signal asks and the second one stops."""

import signal
import threading

import pytest

from jattn.training.stopping import Stopping


@pytest.fixture
def interrupts():
    """SIGINT as a terminal has it; a shell's job in the background begins with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_the_first_asks_and_the_second_stops(capfd):
    with pytest.raises(KeyboardInterrupt), Stopping() as stopping:
        assert not stopping.asked
        signal.raise_signal(signal.SIGINT)
        assert stopping.asked and "once more stops at once" in capfd.readouterr().err
        signal.raise_signal(signal.SIGINT)


def test_what_was_there_before_is_there_after():
    before = {number: signal.getsignal(number) for number in Stopping.SIGNALS}
    with Stopping() as stopping:
        assert all(signal.getsignal(number) == stopping._ask for number in Stopping.SIGNALS)
    assert {number: signal.getsignal(number) for number in Stopping.SIGNALS} == before


def test_another_thread_sets_nothing():
    before, failed = signal.getsignal(signal.SIGINT), []

    def enter():
        try:
            with Stopping():
                assert signal.getsignal(signal.SIGINT) == before
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert not failed
