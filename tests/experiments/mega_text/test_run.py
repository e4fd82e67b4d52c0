"""What `run.py` compares: models of nearly as many numbers, as the page tells them, all on one grid."""

from pathlib import Path

import jax

from jattn.training import state
from jattn.training.sweeps import listed

FOLDER = Path(__file__).parents[3] / "experiments" / "mega_text"
RUN = listed.executed(FOLDER / "run.py")


def test_models_have_as_many_numbers_as_the_page_says():
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for arm in RUN.MODELS:
        outline = state.outline(RUN.CELLS[arm, RUN.RATES[0], RUN.SEEDS[0]])
        numbers = sum(leaf.size for leaf in jax.tree.leaves(outline.params))
        assert f"| {arm} | {numbers:,} |" in page


def test_models_have_the_same_grid():
    grids = [{(r.optimizer, r.seed, r.steps) for (a, *_), r in RUN.CELLS.items() if a == arm} for arm in RUN.MODELS]
    assert all(grid == grids[0] and len(grid) == len(RUN.RATES) * len(RUN.SEEDS) for grid in grids)
