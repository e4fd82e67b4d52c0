"""Directions: orthogonal in blocks, of the right lengths, uniform on the sphere, drawn anew when they are due."""

import functools
import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.part import Dims, Variables
from jattn.parts.features.projections import Projection

WIDTH = 8


@functools.cache
def draws(projection: Projection, number: int, width: int = WIDTH) -> np.ndarray:
    """So many independent draws."""
    keys = jax.random.split(jax.random.key(0), number)
    return np.asarray(jax.jit(jax.vmap(lambda key: projection.draw(key, width)))(keys), float)


@pytest.mark.parametrize("kind", ["orthogonal", "givens", "hadamard"])
def test_blocks_are_orthogonal_and_differ(kind):
    rows = draws(Projection(2 * WIDTH + 3, kind, ortho_scaling=1), 1)[0]
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), math.sqrt(WIDTH), atol=1e-5)
    blocks = rows[:WIDTH], rows[WIDTH : 2 * WIDTH], rows[2 * WIDTH :]
    for block in blocks:
        np.testing.assert_allclose(block @ block.T / WIDTH, np.eye(len(block)), atol=1e-5)
    assert np.abs(blocks[0] - blocks[1]).max() > 0.1


@pytest.mark.parametrize("kind", ["orthogonal", "independent"])
def test_lengths_and_signs_are_those_of_gaussian_vectors(kind):
    found = draws(Projection(WIDTH, kind), 20_000)
    want = math.sqrt(2) * math.gamma((WIDTH + 1) / 2) / math.gamma(WIDTH / 2)
    assert abs(np.linalg.norm(found, axis=2).mean() / want - 1) < 0.01
    # each of 64 signs within 4 standard errors
    assert np.abs(np.sign(found).mean(0)).max() < 4 * len(found) ** -0.5


def test_rows_beyond_a_block_begin_another():
    rows = draws(Projection(WIDTH + 1, "orthogonal", ortho_scaling=1), 2)
    assert rows.shape == (2, WIDTH + 1, WIDTH)
    assert np.abs(rows[:, :-1] @ rows[:, -1:].swapaxes(1, 2)).max() > 0.1


def test_hadamard_of_another_width_is_cut_from_the_next_power_of_two():
    rows = draws(Projection(12, "hadamard"), 2000, 6)
    assert rows.shape == (2000, 12, 6)
    # on average each column of a row has the square 1: 24000 rows, whose squares deviate by less than 3
    np.testing.assert_allclose(np.square(rows).mean((0, 1)), 1, atol=4 * 3 * 24_000**-0.5)


@pytest.mark.parametrize("width", [3, 6, 12])
def test_rows_of_one_length_have_it_where_columns_are_cut_off_too(width):
    rows = draws(Projection(16, "hadamard", ortho_scaling=1), 50, width)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=2), math.sqrt(width), atol=1e-5)


def test_structured_rows_spread_over_the_sphere():
    # at this width each row of either kind has every entry near 0 on average
    for kind in ("givens", "hadamard"):
        rows = draws(Projection(WIDTH, kind, ortho_scaling=1), 2000)
        assert np.abs(rows.mean(0)).max() < 8 * 2000**-0.5, kind


def test_it_changes_when_it_is_due():
    projection = Projection(5, redraw=3)
    first = projection.init(jax.random.key(1), Dims(1, 1, 1, WIDTH, WIDTH)).buffers
    step = jax.jit(lambda held, step: projection.refreshed(Variables({}, held), {}, jax.random.key(2), step))
    for number in range(10):
        after = step(first, jnp.asarray(number))["matrix"]
        assert (after == first["matrix"]).all() == (number not in (3, 6, 9)), number
    never = Projection(5, redraw=0)
    held = never.refreshed(Variables({}, first), {}, jax.random.key(2), jnp.asarray(3))["matrix"]
    assert (held == first["matrix"]).all()


# the directions after each of ten steps of training, on one device and on eight, evaluated and cut off or not
TRAINED = """
import chex
chex.set_n_cpu_devices(8)
import dataclasses, shutil, sys
from pathlib import Path
import jax
import jax.numpy as jnp
import numpy as np
import jattn
from jattn.models.decoder import DecoderConfig
from jattn.training import checkpoint, loop, state
from jattn.training.run import Run
from jattn.training.sharding import Mesh
from jattn.training.step import training_step

directions = jattn.features.Projection(5, redraw=3)
attention = jattn.LinearAttention(jattn.features.Favor(directions))
run = Run(
    model=DecoderConfig(width=8, depth=2, heads=2, attention=attention), steps=10, batch=8, context=8,
    evaluate_every=1, checkpoint_every=5, mesh=Mesh(data=1),
)

def held(buffers):
    (leaf,) = [x for path, x in jax.tree.leaves_with_path(buffers) if "projection" in jax.tree_util.keystr(path)]
    return np.asarray(leaf)

drawn = []
for mesh in (run.mesh, Mesh(data=2, fsdp=2, tensor=2)):
    there = dataclasses.replace(run, mesh=mesh)
    now, step = state.fresh(there), training_step(there)
    drawn.append([held(now.buffers)])
    for number in range(run.steps):
        now, _ = step(now, {"tokens": jnp.full((8, 9), number, jnp.int32)})
        drawn[-1].append(held(now.buffers))
np.testing.assert_array_equal(*drawn)
assert drawn[0][0].shape[0] == 2 and (drawn[0][0][0] != drawn[0][0][1]).all()
for number in range(run.steps):
    changed = drawn[0][number + 1] != drawn[0][number]
    assert changed.all() if number in (3, 6, 9) else not changed.any(), number
home = Path(sys.argv[1])
loop.fit(run, home)
copy = home.with_name("copy")
shutil.copytree(home, copy)
shutil.rmtree(copy / checkpoint.FOLDER / "10")
there = dataclasses.replace(run, mesh=Mesh(data=8))
loop.resume(there, copy)
for found in (checkpoint.load(home, run), checkpoint.load(copy, there)):
    np.testing.assert_array_equal(held(found.state.buffers), drawn[0][-1])
np.testing.assert_array_equal(held(checkpoint.load(home, run, 5).state.buffers), drawn[0][5])
print("equal")
"""


@pytest.mark.slow
def test_training_redraws_on_any_devices_and_evaluation_never(tmp_path):
    command = [sys.executable, "-c", TRAINED, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.stdout.splitlines()[-1:] == ["equal"], done.stderr


def test_refusals():
    for count in (0, -4):
        with pytest.raises(ValueError, match=f"count must be at least 1, got {count}"):
            Projection(count)
    with pytest.raises(
        ValueError, match="kind must be one of orthogonal, independent, givens, hadamard, got 'fourier'"
    ):
        Projection(kind="fourier")
    with pytest.raises(ValueError, match="ortho_scaling must be 0 or 1, got 2; 0 is for lengths of Gaussian"):
        Projection(ortho_scaling=2)
    with pytest.raises(ValueError, match="redraw must be at least 0 steps, got -1; 0 keeps the first draw"):
        Projection(redraw=-1)
    with pytest.raises(ValueError, match="turn two rows, got heads of width 1"):
        Projection(kind="givens").draw(jax.random.key(0), 1)
