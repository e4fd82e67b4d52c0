"""What `run.py` compares: decoders of the page's sizes, and chunks that part questions from pairs as it says."""

from pathlib import Path

import jax
import numpy as np

from jattn.training import state
from jattn.training.sweeps import listed

FOLDER = Path(__file__).parents[3] / "experiments" / "mega_recall"
RUN = listed.executed(FOLDER / "run.py")


def test_models_have_as_many_numbers_as_the_page_says():
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for arm in RUN.ARMS:
        outline = state.outline(RUN.CELLS[arm, RUN.RATES[0]])
        numbers = sum(leaf.size for leaf in jax.tree.leaves(outline.params))
        assert f"| {arm} | {numbers:,} |" in page


def test_all_but_the_model_is_that_of_associative_recall():
    theirs = RUN.RECALL.CELLS
    for (arm, rate), run in RUN.CELLS.items():
        other = theirs["exact", 1, rate]
        changed = {name for name in vars(run) if getattr(run, name) != getattr(other, name)}
        assert changed == (set() if arm == "exact" else {"model"})
    assert len(RUN.RUNS) == 2 * len(RUN.ARMS)


def test_questions_share_a_chunk_of_12_with_two_pairs_and_one_of_8_with_none():
    for example in range(20):
        asked = np.flatnonzero(RUN.RECALL.SOURCE.held_out(RUN.RECALL.CONTEXT)[example]["scored"])
        for size, pairs in ((12, 2), (8, 0)):
            (chunk,) = set(asked // size)
            assert sum(2 * pair // size == (2 * pair + 1) // size == chunk for pair in range(8)) == pairs
