"""Tests that one run is begun, gone on with, waited for or left, as its directory says."""

import threading
import time

import filelock
import pytest

from jattn.training import loop
from jattn.training.run import Run
from jattn.training.sweeps import names, results, single


@pytest.fixture
def planned(tmp_path):
    return names.planned([Run()], tmp_path / "runs", tmp_path / "results")[0]


@pytest.fixture
def calls(planned, monkeypatch):
    """What was asked of the loop, which leaves a row of metrics."""
    asked = []

    def stands_in(name):
        def trains(run, directory):
            asked.append(name)
            (directory / "run.json").write_text(run.to_json())
            row = '{"step": 1, "loss": 2.0, "heldout_loss": 2.5, "tokens_per_second": 9}\n'
            (directory / "metrics.jsonl").write_text(row)

        return trains

    for name in ("fit", "resume"):
        monkeypatch.setattr(loop, name, stands_in(name))
    return asked


def test_a_run_is_begun_once(planned, calls):
    single.trained(planned)
    moment = planned.result.stat().st_mtime_ns
    single.trained(planned)
    assert calls == ["fit"] and planned.result.stat().st_mtime_ns == moment
    assert results.read(planned.result, planned.run)["reached"]["heldout_loss"] == 2.5


def test_a_run_that_was_begun_is_gone_on_with(planned, calls):
    single.trained(planned)
    # killed before its result was written, or while it was
    planned.result.write_text(planned.result.read_text()[:50])
    single.trained(planned)
    assert calls == ["fit", "resume"] and results.read(planned.result, planned.run)


def test_a_run_that_diverges_is_over_and_says_where(planned, calls, monkeypatch):
    trains = loop.fit

    def diverges(run, directory):
        trains(run, directory)
        raise FloatingPointError("The loss must stay finite, got nan at step 2.")

    monkeypatch.setattr(loop, "fit", diverges)
    single.trained(planned)
    single.trained(planned)
    reached = results.read(planned.result, planned.run)["reached"]
    assert calls == ["fit"] and reached["diverged"] == 2 and reached["steps"] == 1
    assert reached["heldout_loss"] is reached["train_loss"] is None


def test_another_run_in_its_place_is_refused(planned, calls):
    planned.directory.mkdir(parents=True)
    for text in (Run(seed=1).to_json(), "{"):
        (planned.directory / "run.json").write_text(text)
        with pytest.raises(ValueError, match="goes on with its own runs, got another run in"):
            single.trained(planned)
    assert not calls


def test_a_run_that_another_process_trains_is_waited_for_and_not_repeated(planned, calls):
    planned.directory.mkdir(parents=True)
    single.claimed(planned).release()
    with filelock.FileLock(planned.directory / single.LOCK):
        assert single.claimed(planned) is None
        waiting = threading.Thread(target=single.trained, args=[planned])
        waiting.start()
        time.sleep(0.2)
        assert waiting.is_alive() and not calls
        # the other one ends
        (planned.directory / "metrics.jsonl").write_text(
            '{"step": 1, "loss": 1.0, "heldout_loss": 1.0, "tokens_per_second": 9}\n'
        )
        planned.result.parent.mkdir(exist_ok=True)
        results.write(planned.result, results.record(planned.run, planned.directory))
    waiting.join(10)
    assert not calls and results.read(planned.result, planned.run)["reached"]["heldout_loss"] == 1.0


def test_a_directory_in_use_by_no_sweep_is_waited_for(planned, calls, monkeypatch, capsys):
    trains, busy = loop.fit, [True, True]

    def at_first_busy(run, directory):
        if busy:
            busy.pop()
            raise BlockingIOError
        trains(run, directory)

    monkeypatch.setattr(loop, "fit", at_first_busy)
    monkeypatch.setattr(single, "WAIT_SECONDS", 0)
    single.trained(planned)
    assert calls == ["fit"] and capsys.readouterr().out.count("waits for the process") == 2


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    (planned,) = names.planned([Run()], tmp_path / "file", tmp_path)
    with pytest.raises(OSError, match="must be such as can be made, got .*; name others"):
        single.trained(planned)
