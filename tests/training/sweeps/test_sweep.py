"""Tests that a sweep trains each run once, tells what failed, and survives being stopped and killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jattn.training.run import Run
from jattn.training.sweeps import children, names, single, sweep
from jattn.training.sweeps import results as kept

HOME = Path(__file__).parents[3]
LONGEST_SECONDS = 1800


@pytest.fixture
def plans(tmp_path):
    runs = [Run(seed=seed) for seed in range(4)]
    return names.planned(runs, tmp_path / "runs", tmp_path / "results")


def a_result(planned):
    """As small a result as a reader takes."""
    run = names.portable(json.loads(planned.run.to_json()))
    reached = {"heldout_loss": 2.0 + planned.index, "train_loss": 1.0, "steps": 3, "seconds": 0.1}
    return {"digest": names.digest(planned.run), "run": run, "reached": reached, "points": []}


# in place of a run: holds its lock for a moment, counts itself, and leaves the result that lies ready
STUB = """
import pathlib, shutil, sys, time, filelock
home, ready, result = map(pathlib.Path, sys.argv[1:])
with filelock.FileLock(home / "sweep.lock"):
    if not result.exists():
        (home / "trained").open("a").write("once\\n")
        time.sleep(0.3)
        if not ready.exists():
            sys.exit("the loss is no number")
        result.parent.mkdir(exist_ok=True)
        shutil.copy(ready, result.with_suffix(".new"))
        result.with_suffix(".new").replace(result)
"""


def stub(planned):
    ready = planned.directory.with_name(planned.name + ".ready")
    planned.directory.mkdir(parents=True, exist_ok=True)
    if planned.index != 2:
        kept.write(ready, a_result(planned))
    words = [sys.executable, "-c", STUB, str(planned.directory), str(ready), str(planned.result)]
    return children.begun(planned, words)


def trained(planned):
    file = planned.directory / "trained"
    return file.read_text().count("once") if file.exists() else 0


def test_a_run_that_fails_is_told_and_stops_no_other(plans, capsys):
    swept = sweep.carried_out(plans, stub, 2)
    assert swept.failed == {2: "the loss is no number"}
    assert [held and held["reached"]["heldout_loss"] for held in swept.results] == [2.0, 3.0, None, 5.0]
    told = capsys.readouterr().out
    assert told.count("started") == 4 and told.count("done ") == 3
    assert f"failed   run 2   {plans[2].name}: the loss is no number" in told
    assert [line.split()[-1] for line in str(swept).splitlines()] == ["state", "done", "done", "failed", "done"]


def test_what_is_done_is_not_begun_again_and_the_table_stays(plans, capsys):
    first = str(sweep.carried_out(plans, stub, 2))
    again = str(sweep.carried_out(plans, stub, 2))
    assert again == first
    assert [trained(planned) for planned in plans] == [1, 1, 2, 1]
    assert "3 of 4 runs are done" in capsys.readouterr().out


def test_at_most_so_many_go_on_at_a_time(plans):
    going, most = [], []

    def begin(planned):
        going.append(process := stub(planned))
        most.append(sum(other.poll() is None for other in going))
        return process

    sweep.carried_out(plans, begin, 2)
    assert max(most) == 2


def test_two_sweeps_of_one_list_train_each_run_once(plans):
    source = "import sys; sys.path.insert(0, sys.argv[1]); from tests.training.sweeps import test_sweep as t; t.other()"
    environment = {**os.environ, "SWEPT": str(plans[0].directory.parent.parent), "PYTHONPATH": str(HOME)}
    other = subprocess.Popen([sys.executable, "-c", source, str(HOME)], env=environment)
    while not any(trained(planned) for planned in plans):
        assert other.poll() is None
        time.sleep(0.02)
    mine = sweep.carried_out(plans, stub, 2)
    assert other.wait(60) == 0
    assert [trained(plans[n]) for n in (0, 1, 3)] == [1, 1, 1] and mine.failed.keys() == {2}


def other():
    """The second sweep of the test above, in its own process."""
    home = Path(os.environ["SWEPT"])
    sweep.carried_out(names.planned([Run(seed=n) for n in range(4)], home / "runs", home / "results"), stub, 2)


def test_a_run_that_is_in_use_comes_later(plans, monkeypatch, capsys):
    claimed = single.claimed
    monkeypatch.setattr(
        single, "claimed", lambda planned: None if planned.index == 0 and not trained(plans[3]) else claimed(planned)
    )
    sweep.carried_out(plans, stub, 1)
    told = [line.split()[2] for line in capsys.readouterr().out.splitlines() if line.startswith("started")]
    assert told == ["1", "2", "3", "0"]


def test_a_claim_keeps_another_sweep_away_before_the_run_has_begun(plans):
    claim = single.claimed(plans[0])
    assert claim and single.claimed(plans[0]) is None
    claim.release()
    single.claimed(plans[0]).release()


def test_a_directory_that_is_a_file_fails_its_run_alone(plans):
    plans[1].directory.parent.mkdir(parents=True)
    plans[1].directory.write_bytes(b"")
    swept = sweep.carried_out(plans, stub, 2)
    assert "must be such as can be made" in swept.failed[1]
    assert [trained(plans[n]) for n in (0, 3)] == [1, 1] and "failed" in str(swept)


def test_a_signal_is_passed_on_once_and_the_same_call_goes_on(plans, capfd):
    begun = []

    def begin(planned):
        source = (
            "import signal, time\nfor n in range(2):\n    signal.signal(15, lambda *_: print('saves', flush=True))\n"
            "    print('ready', flush=True)\n    signal.pause()\n    time.sleep(0.3)\n    break"
        )
        begun.append(planned)
        process = children.begun(planned, [sys.executable, "-c", source])
        while "ready" not in (planned.directory / children.LOG).read_text():
            time.sleep(0.01)
        if len(begun) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return process

    with pytest.raises(KeyboardInterrupt, match="Stopped with 0 of 4 runs done, the others saved; the same command"):
        sweep.carried_out(plans, begin, 2)
    assert len(begun) == 2 and "each run saves first" in capfd.readouterr().err
    assert all((planned.directory / children.LOG).read_text().split() == ["ready", "saves"] for planned in begun)


TINY = """
from pathlib import Path
from jattn.models.decoder import DecoderConfig
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.sources.text import Text

text = Path(__file__).with_name("text")
RUNS = [
    Run(
        model=DecoderConfig(width=8, depth=1), source=Text((str(text),)), optimizer=AdamW(rate=rate), seed=seed,
        steps=30, batch=2, context=6, evaluate_every=10, checkpoint_every=4,
    )
    for rate in (0.01, 0.03, 0.1, 1e30) for seed in (0, 1, 2)
]
"""


def test_a_sweep_in_this_process_keeps_results_and_logs(tmp_path, capsys):
    (tmp_path / "text").write_bytes(bytes(range(256)) * 8)
    (held := {})["__file__"] = str(tmp_path / "runs.py")
    exec(TINY, held)
    # two runs whose compiled code is not alike are enough
    runs = [Run(**{**vars(run), "steps": 4}) for run in (held["RUNS"][0], held["RUNS"][-1])]
    swept = sweep.sweep(runs, tmp_path / "runs", tmp_path / "results")
    # what diverged is over, and says where
    assert not swept.failed and "diverged run 1" in capsys.readouterr().out
    assert swept.results[0]["reached"]["steps"] == 4 and swept.results[1]["reached"]["diverged"] <= 4
    assert "loss must stay finite, got nan" in (swept.plans[1].directory / children.LOG).read_text()
    file = swept.plans[0].result
    before, size = file.stat().st_mtime_ns, len(file.read_text())
    assert str(tmp_path) not in file.read_text() and size < 30_000
    log = swept.plans[0].directory / children.LOG
    assert "held-out loss" in log.read_text() and "nats per byte" not in capsys.readouterr().out
    again = sweep.sweep(list(reversed(runs)), tmp_path / "runs", tmp_path / "results")
    assert again.plans[1].result == file and file.stat().st_mtime_ns == before


def shown(table):
    """A table without what depends on the clock."""
    rows = [line.split() for line in table.splitlines()]
    at = rows[0].index("seconds") - len(rows[0])
    return [row[:at] + row[at + 1 :] for row in rows]


def last_table(text):
    return text[text.rindex("\nrun ") + 1 :]


@pytest.mark.slow
def test_a_sweep_killed_three_times_ends_as_if_nothing_had_happened(tmp_path):
    (tmp_path / "text").write_bytes(bytes(range(256)) * 8)
    (file := tmp_path / "sweeping.py").write_text(TINY)
    environment = {**os.environ, "PYTHONPATH": str(HOME), "JAX_PLATFORMS": "cpu"}
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

    def begun(place, log):
        places = ["--dir", str(tmp_path / place), "--results", str(tmp_path / place / "results"), "--jobs", "2"]
        with log.open("w") as out:
            words = [sys.executable, "-m", "jattn", "sweep", str(file), *places]
            return subprocess.Popen(words, env=environment, stdout=out, stderr=out)

    began = time.monotonic()
    assert begun("whole", tmp_path / "whole.log").wait(LONGEST_SECONDS) == 0
    length = time.monotonic() - began
    want = last_table((tmp_path / "whole.log").read_text())
    seed = int(os.environ.get("SWEEP_SEED", random.SystemRandom().randrange(10**6)))
    draw, seen = random.Random(seed), {}
    print(f"seed {seed}; an undisturbed sweep takes {length:.0f} s")
    print(want)
    for number in range(3):
        process = begun("killed", tmp_path / f"{number}.log")
        after = draw.uniform(2, length / 3)
        time.sleep(after)
        assert process.poll() is None, "a sweep was over before it was to be killed; choose another seed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        # a result written once is not written again
        for path in (tmp_path / "killed" / "results").glob("*.json"):
            seen.setdefault(path.name, path.stat().st_mtime_ns)
        print(f"kill {number + 1} after {after:.1f} s: {len(seen)} of 12 runs done")
    assert begun("killed", tmp_path / "last.log").wait(LONGEST_SECONDS) == 0
    got = last_table((tmp_path / "last.log").read_text())
    print(got)
    assert shown(got) == shown(want) and len(shown(got)) == 13
    results = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "killed" / "results").iterdir()}
    assert len(results) == 12 and all(results[name] == moment for name, moment in seen.items())
    for name in results:
        if "1e+30" in name:
            continue
        # trained to its end once: a second time would say that it is done, or go on after its last step
        log = (tmp_path / "killed" / Path(name).stem / children.LOG).read_text()
        rows = (tmp_path / "killed" / Path(name).stem / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(row)["step"] for row in rows] == list(range(1, 31))
        assert "done already" not in log and log.count("held-out loss  ") <= 1
    again = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True).stdout.split()
    assert not again, "no process may be left"
