"""Tests a whole run: what it leaves, that it repeats, and that it stops or refuses where it must."""

import json

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from jattn import catalogue
from jattn.models.decoder import DecoderConfig
from jattn.part import Variables, part
from jattn.training import checkpoint, evaluate, loop, metrics
from jattn.training.objectives.next_token import NextToken
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.sources.text import Text


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    text = tmp_path_factory.mktemp("text") / "text"
    text.write_bytes(bytes(range(256)) * 8)
    return Run(
        model=DecoderConfig(width=8, depth=1),
        source=Text((str(text),)),
        optimizer=AdamW(),
        steps=5,
        batch=2,
        context=6,
        evaluate_every=2,
        checkpoint_every=3,
    )


@pytest.fixture(scope="module")
def done(run, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run") / "new"
    return loop.fit(run, directory)


def test_a_run_leaves_its_files(run, done):
    directory = done.directory
    left = {path.name for path in directory.iterdir()}
    assert left == {"run.json", "metrics.jsonl", "checkpoints", "loss.png", "entropy.png"}
    assert checkpoint.read_run(directory, catalogue.find) == run
    rows = metrics.read(directory)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["step"] for row in rows if "heldout_loss" in row] == [2, 4, 5]
    assert np.shape(rows[0]["entropy"]) == (1, 2)
    assert f"jattn sample --dir {directory}" in str(done)


def test_the_last_checkpoint_gives_the_loss_that_was_told(run, done):
    last = checkpoint.load(done.directory, run)
    assert last.step == 5
    assert evaluate.held_out_loss(run, Variables(last.params, last.buffers)) == pytest.approx(done.held_out_loss)
    assert checkpoint.load(done.directory, run, 3).step == 3
    with pytest.raises(FileNotFoundError, match=r"of \[3, 5\], got 4"):
        checkpoint.load(done.directory, run, 4)


def test_the_same_run_repeats_bit_for_bit(run, done, tmp_path, capsys):
    again = loop.fit(run, tmp_path)
    assert capsys.readouterr().out.splitlines()[0] == repr(run)
    assert again.held_out_loss == done.held_out_loss
    one, two = (checkpoint.load(summary.directory, run) for summary in (done, again))
    chex.assert_trees_all_equal(one, two)
    shown = [[{**row, "tokens_per_second": 0} for row in metrics.read(s.directory)] for s in (done, again)]
    assert shown[0] == shown[1]


def test_a_directory_that_holds_a_run_is_left_alone(run, done):
    before = (done.directory / "run.json").stat().st_mtime_ns
    with pytest.raises(FileExistsError, match="must hold no other run"):
        loop.fit(run, done.directory)
    assert (done.directory / "run.json").stat().st_mtime_ns == before


def test_what_is_refused_leaves_no_trace(run, tmp_path):
    with pytest.raises(FileNotFoundError):
        loop.fit(Run(**{**vars(run), "source": Text((str(tmp_path / "none"),))}), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@part
class Breaks(NextToken):
    """Gives a NaN once the loss has moved."""

    def __call__(self, forward, variables, batch, rng):
        loss, terms = super().__call__(forward, variables, batch, rng)
        # the head starts at 0, so that the first step alone is finite
        moved = jnp.any(variables.params["head"]["table"] != 0)
        return jnp.where(moved, jnp.nan, loss), terms


@pytest.mark.parametrize("every", [1, 9])
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_what_was_good(run, tmp_path, every):
    broken = Run(**{**vars(run), "objective": Breaks(), "checkpoint_every": every})
    with pytest.raises(FloatingPointError, match="got nan at step 2"):
        loop.fit(broken, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1]
    if every == 1:
        assert checkpoint.load(tmp_path, broken).step == 1
