"""Results of the sweep as a verdict by rules that came before it, a table of the grid, and a picture.

python experiments/mega_text/report.py [--smoke]: renews report.png and the part of README.md between its marks.
"""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jattn.training.sweeps import listed, reports
from jattn.training.sweeps.reports import Found, Verdict

HERE = Path(__file__).parent
RUN = listed.executed(HERE / "run.py")
PIXELS = listed.executed(HERE.parent / "mega_pixels" / "report.py")
MEGA, CHUNK, TRANSFORMER, S4D = RUN.MODELS
# shares of the held-out passages
LEARNED, AHEAD, MATCH = 0.1, 0.03, 0.02
OPEN = Verdict(None, "not all there")


def commonest() -> float:
    """The share of the held-out passages that are of the commonest kind."""
    passages = RUN.SOURCE.held_out(RUN.CONTEXT)
    counts = np.bincount([passages[number]["label"] for number in range(len(passages))])
    return float(counts.max() / counts.sum())


GUESS = commonest()


@functools.cache
def counted(size: int) -> float:
    """The share of the held-out passages that naive Bayes is right on by how often each `size` bytes are in a kind.

    It reads every scene that is trained on; a tenth is added to each count.
    """
    read, passages = RUN.SOURCE.train(RUN.CONTEXT, 0), RUN.SOURCE.held_out(RUN.CONTEXT)
    counts = np.full((RUN.READS["classes"], 256**size), 0.1)
    for scene, kind in zip(read.texts, read.labels, strict=True):
        counts[kind] += np.bincount(joined(np.frombuffer(scene, np.uint8), size), minlength=counts.shape[1])
    logs = np.log(counts / counts.sum(1, keepdims=True))
    told = (passages[number] for number in range(len(passages)))
    right = [logs[:, joined(each["inputs"][: each["valid"]], size)].sum(1).argmax() == each["label"] for each in told]
    return float(np.mean(right))


def joined(text: np.ndarray, size: int) -> np.ndarray:
    """Each `size` bytes that follow one another as one number."""
    runs = np.lib.stride_tricks.sliding_window_view(text.astype(np.int64), size)
    return runs @ 256 ** np.arange(size)


def learned(grid: Any) -> Verdict:
    """Mega is right more often than who always says the commonest kind."""
    held, told = grid.above(MEGA, GUESS + LEARNED)
    return Verdict(held, f"{told}, the commonest kind {GUESS:.1%}")


# committed before the first run; a rule that was not held stays and is told
RULES: dict[str, Callable[[Any], Verdict]] = {
    "1. Mega is right on at least 10 points more than the commonest kind": learned,
    "2. Mega is right on at least 3 points more than the Transformer": lambda grid: grid.ahead(
        MEGA, TRANSFORMER, AHEAD
    ),
    "3. Mega-chunk is right on at most 2 points less than Mega": lambda grid: grid.ahead(CHUNK, MEGA, -MATCH),
    "4. S4D is right on at least 3 points more than the Transformer": lambda grid: grid.ahead(S4D, TRANSFORMER, AHEAD),
    "5. Mega is right on at least as many as S4D": lambda grid: grid.ahead(MEGA, S4D, 0),
}


def text(found: Found) -> str:
    """Verdict, the grid, the commonest kind and machine, as Markdown."""
    grid = PIXELS.Grid(RUN, found)
    verdicts = {name: OPEN if found.missing else rule(grid) for name, rule in RULES.items()}
    lines = [*reports.judged(verdicts, found.missing), "", "### Held-out passages that are right, by seed", ""]
    lines += [*grid.table(), "", f"Of the held-out passages {GUESS:.1%} are of the commonest kind."]
    lines += [f"Naive Bayes is right on {counted(1):.1%} by single bytes, and on {counted(2):.1%} by pairs of bytes."]
    return "\n".join([*lines, "", "### Machine", "", *reports.machines(found.held)])


def picture(found: Found) -> Figure:
    """What `Grid.drawn` draws of passages."""
    return PIXELS.Grid(RUN, found).drawn(GUESS, "passages")


if __name__ == "__main__":
    sys.exit(reports.main(sys.argv[1:], HERE, text, picture))
