"""What `measure.py` reads: the same bytes at every length, the loss and entropy of these alone."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from jattn.part import Variables
from jattn.training import state
from jattn.training.sweeps import listed

FOLDER = Path(__file__).parents[3] / "experiments" / "entropy_abf"
measure = listed.executed(FOLDER / "measure.py")
RUN = measure.RUN


def test_windows_of_every_length_end_with_the_same_bytes():
    text = np.arange(5000)
    held = {length: measure.windows(text, length, 7) for length in RUN.LENGTHS}
    for length, each in held.items():
        assert each.shape == (7, length + 1)
        np.testing.assert_array_equal(each[:, -measure.SCORED :], held[RUN.CONTEXT][:, -measure.SCORED :])
    assert held[max(RUN.LENGTHS)][0, 0] == 0 and held[RUN.CONTEXT][-1, -1] == 4999


def test_pieces_of_unequal_size_give_the_mean_of_all_windows(monkeypatch):
    run = dataclasses.replace(RUN.RUNS[0], model=dataclasses.replace(RUN.MODEL, width=8, depth=1, heads=1))
    reached = state.fresh(run)
    # a head that begins at 0 tells every window the same
    params = jax.tree.map(lambda x: x + 0.5 * jax.random.normal(jax.random.key(1), x.shape), reached.params)
    held = Variables(params, reached.buffers)
    tokens = measure.windows(np.random.default_rng(0).integers(0, 256, 3000), RUN.CONTEXT, 3)
    read = measure.reader(run, "as shipped")
    monkeypatch.setattr(measure, "TOKENS", 2 * tokens.shape[1])
    found, single = read(held, tokens), [read(held, tokens[n : n + 1])["loss"] for n in range(3)]
    assert np.ptp(single) > 1e-3 and found["loss"] == pytest.approx(np.mean(single), abs=2e-5)
    assert len(found["entropy"]) == 1


@pytest.mark.slow
def test_smoke_reads_by_every_arm_with_and_without_steps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert measure.main(["--smoke"]) == 0
    (file,) = (tmp_path / measure.SMOKE / "results" / measure.READ).iterdir()
    assert file.read_text().count('"loss"') == 4 * 2 * 2
    before = file.stat().st_mtime_ns
    assert measure.main(["--smoke"]) == 0 and file.stat().st_mtime_ns == before
