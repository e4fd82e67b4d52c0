"""A layer's recurrence: examples apart, tokens that are not valid, and devices that share a training step of Mega."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh

from jattn.layers.axes import Axes
from jattn.layers.flow import Flow
from jattn.layers.recurring import recur
from jattn.mechanisms import Layout
from jattn.mechanisms.recurrence import Recurrence
from jattn.part import Dims
from jattn.parts.transitions.damped_ema import DampedEma

RECURRENCE = Recurrence(DampedEma(2))
OWN = RECURRENCE.own(RECURRENCE.init(jax.random.key(0), Dims(1, 1, 1, 3, 3, 3)))
X = np.random.default_rng(0).normal(size=(2, 3, 7, 3)).astype(np.float32)
AXES = Axes(AbstractMesh((2, 2), ("a", "b")), (("batch", ("a",)), ("time", ("b",))))


def heard(x, layout=Layout()):
    return jax.jit(lambda x: recur(RECURRENCE, OWN, x, Flow(layout))[0])(x)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_examples_lengths_and_rows_of_any_batch_are_heard_alone(rank):
    x = X.reshape(6, 7, 3) if rank == 2 else X if rank == 3 else X[1, 2]
    batch = x.shape[:-2]
    lengths = np.resize([7, 4, 0, 5, 6, 2], batch).astype(np.int32)
    rows = np.arange(7) < lengths[..., None]
    segments = np.broadcast_to(np.array([0, 0, 0, 1, 1, 0, 0]), rows.shape)
    got = heard(x, Layout(valid=jnp.asarray(lengths), segments=jnp.asarray(segments)))
    # of a pair that of the keys counts
    pair = (jnp.ones(rows.shape, bool), jnp.asarray(rows))
    np.testing.assert_array_equal(heard(x, Layout(valid=pair, segments=jnp.asarray(segments))), got)
    for place in np.ndindex(*batch):
        want = RECURRENCE.apply(OWN, jnp.asarray(x[place]), jnp.asarray(rows[place]), jnp.asarray(segments[place]))[0]
        np.testing.assert_allclose(got[place], want, atol=1e-6)


def test_data_of_one_row_are_shared_by_the_batch():
    row = jnp.arange(7) >= 2
    np.testing.assert_array_equal(
        heard(X, Layout(valid=row)), heard(X, Layout(valid=jnp.broadcast_to(row, X.shape[:-1])))
    )


@pytest.mark.parametrize(("shape", "word"), [((3, 8, 3), "batch"), ((4, 7, 3), "time")])
def test_what_the_mesh_does_not_divide_is_refused(shape, word):
    with pytest.raises(
        ValueError, match=f"The mesh splits {word} into 2 parts, by [ab], got {3 if word == 'batch' else 7}"
    ):
        recur(RECURRENCE, OWN, jnp.ones(shape), Flow(axes=AXES))


def test_a_memory_is_refused():
    with pytest.raises(ValueError, match="goes along the tokens that attend, got a flow.memory"):
        recur(RECURRENCE, OWN, jnp.ones((4, 3)), Flow(memory=jnp.ones((4, 3))))


TRAINED = """
import chex
chex.set_n_cpu_devices(4)
import dataclasses, json, sys
import jax
import numpy as np
import jattn
from jattn.layers.heads.mega import Mega
from jattn.layers.heads.smoothed import Smoothed
from jattn.mechanisms.recurrence import Recurrence
from jattn.models.decoder import DecoderConfig
from jattn.parts.transitions.damped_ema import DampedEma
from jattn.training import state
from jattn.training.run import Run
from jattn.training.sharding import Mesh
from jattn.training.step import training_step

meshes, kind = json.loads(sys.argv[1])
ema, chunk = Recurrence(DampedEma(4)), jattn.masks.Causal() & jattn.masks.BlockDiagonal(12)
config = {
    "mega": DecoderConfig(
        width=16, depth=2, heads=1, projection=Mega(8, 32, ema, dropout=0.1, value_dropout=0.1),
        attention=jattn.Attention(jattn.scores.RotaryBias(), chunk, dropout=0.1),
    ),
    "smoothed": DecoderConfig(width=16, depth=2, heads=4, projection=Smoothed(recurrence=ema)),
}[kind]
run = Run(model=config, steps=6, batch=8, context=40)
text = np.random.default_rng(0).integers(0, 20, (6, 8, 41)).astype(np.int32)


def trained(mesh):
    here = dataclasses.replace(run, mesh=mesh)
    reached, step, losses = state.fresh(here), training_step(here), []
    for tokens in text:
        reached, shown = step(reached, {"tokens": tokens})
        losses.append(float(shown.loss))
    return np.array(losses), reached

plain, _ = trained(Mesh(data=1))
assert plain[-1] < plain[0] - 0.01, plain
found = []
for sizes in meshes:
    losses, reached = trained(Mesh(*sizes))
    assert all(len(leaf.sharding.device_set) == 4 for leaf in jax.tree.leaves(reached))
    found.append(float(np.abs(losses / plain - 1).max()))
print(json.dumps(found))
"""
MESHES = [(4, 1, 1, 1), (1, 4, 1, 1), (1, 1, 4, 1), (1, 2, 2, 1), (1, 1, 1, 4), (2, 1, 1, 2)]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "meshes"), [("mega", MESHES), ("smoothed", [(1, 2, 2, 1), (1, 1, 2, 2)])])
def test_losses_on_four_devices_are_those_of_one(kind, meshes):
    command = [sys.executable, "-c", TRAINED, json.dumps([meshes, kind])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert max(json.loads(done.stdout)) < 1e-5, dict(zip(meshes, json.loads(done.stdout), strict=True))
