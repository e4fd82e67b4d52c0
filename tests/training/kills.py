"""Kills a run again and again with SIGKILL, goes on with it, and compares every number with an undisturbed run.

    python tests/training/kills.py --kills 20 --seed 1

Moments are uniform, by the seed, from the first file that a run writes to its end. What was under way when a kill
struck is read off the directory afterwards, which nobody changes any more.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

HOME = Path(__file__).parents[2]
# a state of 10 MB, so that a save takes as long as several steps
OPTIONS = (
    "--model.width 128 --model.depth 4 --context 16 --batch 2 --steps 150 --checkpoint-every 2 --evaluate-every 50"
).split()
LONGEST_SECONDS = 600


class Kill(NamedTuple):
    """Its moment in seconds, the steps written and saved by then, whether a save was under way, and how it ended."""

    seconds: float
    written: int
    saved: int
    saving: bool
    same: bool


def train(*words: str, log: Path) -> subprocess.Popen:
    """A run in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(HOME), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "jattn", "train", *words]
    with log.open("a") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=file)


def rows(directory: Path) -> list[dict]:
    """The numbers of each step, but for what depends on the clock."""
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "tokens_per_second"} for line in lines]


def appears(path: Path) -> float:
    """Waits for a file; the moment."""
    end = time.monotonic() + LONGEST_SECONDS
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"{path} must appear within {LONGEST_SECONDS} seconds, and did not.")
        time.sleep(0.002)
    return time.monotonic()


def ended(process: subprocess.Popen, log: Path) -> None:
    """Waits for a run that must end well."""
    if code := process.wait(LONGEST_SECONDS):
        raise RuntimeError(f"A run must end with 0, got {code}:\n{log.read_text()[-2000:]}")


def killed(directory: Path, words: list[str], after: float, want: list[dict]) -> Kill:
    """Begins a run, kills it so long after its first file, goes on with it, and compares."""
    log = directory.with_suffix(".log")
    process = train(*words, "--dir", str(directory), log=log)
    began = appears(directory / "run.json")
    time.sleep(max(0.0, began + after - time.monotonic()))
    process.kill()
    process.wait()
    metrics, folder = directory / "metrics.jsonl", directory / "checkpoints"
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    written = metrics.read_text().count("\n") if metrics.exists() else 0
    saved = max((int(name) for name in names if name.isdigit()), default=0)
    ended(train("--resume", str(directory), log=log), log)
    return Kill(after, written, saved, any("tmp" in name for name in names), rows(directory) == want)


def main(kills: int, seed: int, place: Path) -> list[Kill]:
    """Runs once undisturbed, then once for each kill."""
    draw = random.Random(seed)
    (text := place / "text").write_text("".join(draw.choice("aeionrst ,.\n") for _ in range(20_000)))
    words = [*OPTIONS, "--text", str(text)]
    print(f"seed {seed}", flush=True)
    for name in ("warm", "whole"):
        # the first of the two compiles for all
        process = train(*words, "--dir", str(place / name), log=place / f"{name}.log")
        began = appears(place / name / "run.json")
        ended(process, place / f"{name}.log")
        length = time.monotonic() - began
    want, found = rows(place / "whole"), []
    same = rows(place / "warm") == want and len(want) == 150
    print(f"a run takes {length:.1f} s; twice undisturbed: {'same' if same else 'OTHER'} numbers", flush=True)
    for number in range(kills):
        found.append(kill := killed(place / str(number), words, draw.uniform(0, length), want))
        print(
            f"kill {number + 1:2} at {kill.seconds:5.1f} s: {kill.written:3} steps written, {kill.saved:3} saved"
            f"{', a save under way' if kill.saving else ''}: {'same' if kill.same else 'OTHER'} numbers",
            flush=True,
        )
    good, saving = sum(kill.same for kill in found), sum(kill.saving for kill in found)
    print(f"{good} of {kills} went on to the same numbers; {saving} struck while a save was under way")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = main(chosen.kills, chosen.seed, Path(place))
    sys.exit(not all(kill.same for kill in found))
