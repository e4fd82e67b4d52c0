"""Converts the softmax RUNS to each linear attention and tunes them, and softmax itself for as long.

python experiments/linear_conversion/measure.py [SEED ...] [--smoke]: trains what is not trained yet, and leaves a small
JSON a seed and arm in results/converted; what is there is left.
"""

import argparse
import dataclasses
import shutil
import sys
from pathlib import Path
from typing import Any

from jattn.training import checkpoint, convert, loop, metrics
from jattn.training.run import Run
from jattn.training.sweeps import listed, names, results, short

HERE = Path(__file__).parent
HOME = Path("runs") / HERE.name
RUN = listed.executed(HERE / "run.py")
CONVERTED = "converted"
ARMS = (RUN.SOFTMAX, *RUN.FEATURES)


def converted(trained: Run, tuned: Run, distill: int, home: Path, place: Path) -> dict[str, Any]:
    """What an arm's conversion and tuning reached from the run in `home`, trained in the directory `place`."""
    shutil.rmtree(place, ignore_errors=True)
    losses: dict[str, float] = {}
    if tuned.model == trained.model:
        summary = loop.fit(dataclasses.replace(tuned, init_from=str(home.absolute())), place)
    else:
        reached = convert.convert(home, trained, tuned, place, distill=distill)
        losses = {name: round(each, 5) for name, each in reached._asdict().items() if each is not None}
        summary = loop.resume(tuned, place)
    points = results.points(metrics.read(place))
    return {
        "digest": names.digest(trained), "tuned": names.digest(tuned), "distill": distill,
        "losses": losses | {"tuned": round(summary.held_out_loss, 5)},
        "machine": results.machine(), "versions": results.versions(),
        "points": [{name: x for name, x in point.items() if name != "entropy"} for point in points],
    }  # fmt: skip


def main(words: list[str]) -> int:
    """Converts what has not been converted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", nargs="*", type=int, help="all by default")
    parser.add_argument("--smoke", action="store_true", help="a few steps of the first seed")
    chosen = parser.parse_args(words)
    base, results_at = (HOME / "smoke", HOME / "smoke" / "results") if chosen.smoke else (HOME, HERE / "results")
    (results_at / CONVERTED).mkdir(parents=True, exist_ok=True)
    plans = dict(zip(RUN.CELLS, names.planned(RUN.RUNS, base, results_at), strict=True))
    for seed in RUN.SEEDS[:1] if chosen.smoke else chosen.seeds or RUN.SEEDS:
        planned = plans[RUN.SOFTMAX, RUN.STEPS, seed]
        shorten = short.shortened if chosen.smoke else lambda run: run
        trained = shorten(planned.run)
        files = {arm: results_at / CONVERTED / f"{arm.rstrip('+').lower()}-seed-{seed}.json" for arm in ARMS}
        missing = [arm for arm, file in files.items() if not file.exists()]
        if missing:
            begun = (planned.directory / checkpoint.RUN_FILE).is_file()
            (loop.resume if begun else loop.fit)(trained, planned.directory)
        for arm in missing:
            distill = min(RUN.DISTILL.get(arm, 0), trained.steps)
            place = base / f"converted-{arm}-{seed}"
            found = converted(trained, shorten(RUN.tuned(seed, arm)), distill, planned.directory, place)
            results.write(files[arm], found)
        print(*files.values(), sep="\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
