"""What `measure.py` reads: a model by its definition, weights that are another run's, directions of another draw."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from jattn.part import Variables
from jattn.training import state
from jattn.training.sweeps import listed

FOLDER = Path(__file__).parents[3] / "experiments" / "favor_backward_compatible"
measure = listed.executed(FOLDER / "measure.py")
RUN = measure.RUN


def small(seed=0):
    return dataclasses.replace(
        RUN.RUNS[0], model=dataclasses.replace(RUN.MODEL, width=8, depth=1), context=12, batch=2, seed=seed
    )


def test_a_model_that_knows_nothing_is_read_as_such():
    run = small()
    fresh = state.fresh(run)
    # a head that begins at 0: all bytes are as likely, and the first of them is guessed
    found = measure.reader(run, 3)(Variables(fresh.params, fresh.buffers))
    assert found == {"loss": pytest.approx(np.log(256), abs=1e-5), "accuracy": 0.0}


def test_performers_begin_with_the_weights_and_their_own_directions():
    run = small()
    params = state.fresh(run).params
    tuning = RUN.tuned(run, "kept", 1e-3)
    begun = measure.begun(tuning, params)
    for ours, other in zip(jax.tree.leaves(begun.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(ours, other)
    assert jax.tree.structure(begun.params) == jax.tree.structure(state.fresh(tuning).params)
    first, second = (jax.tree.leaves(each) for each in (begun.buffers, measure.anew(tuning)))
    assert first and all((a != b).any() for a, b in zip(first, second, strict=True))


@pytest.mark.slow
def test_smoke_reads_every_arm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert measure.main(["--smoke"]) == 0
    (file,) = (tmp_path / measure.SMOKE / "results" / measure.READ).iterdir()
    # softmax once; two arms, two weights, before and after, and after with other directions
    assert file.read_text().count('"loss"') == 1 + 2 * 2 * 3
    before = file.stat().st_mtime_ns
    assert measure.main(["--smoke"]) == 0 and file.stat().st_mtime_ns == before
