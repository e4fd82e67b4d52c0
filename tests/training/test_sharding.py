"""A run on a mesh of devices is the run on one, and what a mesh does not divide is refused."""

import dataclasses
import json
import subprocess
import sys

import chex
import jax
import pytest

from jattn import catalogue
from jattn.part import Variables
from jattn.training import checkpoint, sharding, state
from jattn.training.run import Run
from jattn.training.sharding import Mesh

# a run's losses over 20 steps on one device and on each mesh, how far they and the entropies are apart, and shardings
TRAINED = """
import chex
chex.set_n_cpu_devices(8)
import dataclasses, json, sys
import jax
import jax.numpy as jnp
import numpy as np
import jattn
from jattn.layers.heads.grouped import Grouped
from jattn.layers.reparametrizations.sigma_reparam import SigmaReparam
from jattn.models.decoder import DecoderConfig
from jattn.training import state
from jattn.training.objectives.next_token import NextToken
from jattn.training.objectives.penalized import Penalized
from jattn.training.run import Run
from jattn.training.sharding import Mesh
from jattn.training.step import training_step

attention = jattn.Attention(
    jattn.scores.T5Bias(), jattn.masks.Causal() & jattn.masks.Window(left=(3, 40, 9, 20)), dropout=0.1,
    position=jattn.positions.Rotary(),
)
model = DecoderConfig(width=16, depth=2, heads=4, projection=Grouped(key_heads=2), attention=attention)
if sys.argv[3] == "reparametrized":
    model = dataclasses.replace(model, reparametrization=SigmaReparam())
objective = {"plain": NextToken(), "reparametrized": Penalized()}[sys.argv[3]]
run = Run(model=model, objective=objective, steps=20, batch=8, context=36, accumulate=int(sys.argv[1]))
text = np.random.default_rng(0).integers(0, 20, (20, 8, 37)).astype(np.int32)


def trained(mesh):
    here = dataclasses.replace(run, mesh=mesh)
    reached, step, losses = state.fresh(here), training_step(here), []
    for tokens in text:
        reached, shown = step(reached, {"tokens": tokens})
        losses.append(float(shown.loss))
    return np.array(losses), np.asarray(shown.entropy), reached

plain, entropy, _ = trained(Mesh(data=1))
assert plain[-1] < plain[0] - 0.3
found = []
for sizes in json.loads(sys.argv[2]):
    losses, mine, reached = trained(Mesh(*sizes))
    up = reached.params["stack"]["repeat"][0]["feedforward"]["up"]
    assert all(len(leaf.sharding.device_set) == np.prod(sizes) for leaf in jax.tree.leaves(reached))
    share = up.addressable_shards[0].data.size / up.size
    off = float(np.abs(losses / plain - 1).max()), float(np.abs(mine - entropy).max())
    found.append((*off, share))
print(json.dumps(found))
"""


def trained(accumulate, meshes, kind="plain"):
    done = subprocess.run(
        [sys.executable, "-c", TRAINED, str(accumulate), json.dumps(meshes), kind],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("accumulate", "meshes"),
    [
        (1, [(1, 2, 2, 2)]),
        pytest.param(1, [(8, 1, 1), (1, 8, 1), (4, 1, 1), (1, 4, 1), (2, 1, 1), (1, 2, 1)], marks=pytest.mark.slow),
        pytest.param(1, [(1, 1, 2), (4, 1, 2), (1, 4, 2), (2, 1, 2), (2, 2, 2), (2, 4, 1)], marks=pytest.mark.slow),
        pytest.param(1, [(1, 1, 1, 2), (1, 1, 1, 4), (2, 1, 1, 4), (1, 1, 2, 4), (4, 1, 1, 2)], marks=pytest.mark.slow),
        pytest.param(2, [(2, 2, 1), (1, 2, 2), (4, 1, 1)], marks=pytest.mark.slow),
    ],
)
def test_losses_and_entropies_are_those_of_one_device(accumulate, meshes):
    for mesh, (loss, entropy, share) in zip(meshes, trained(accumulate, meshes), strict=True):
        assert loss < 1e-5 and entropy < 1e-4, mesh
        assert share == 1 / (mesh[1] * mesh[2]), mesh


@pytest.mark.slow
def test_kernels_that_are_made_and_what_objectives_learn_are_those_of_one_device():
    meshes = [(2, 2, 2), (1, 4, 2), (1, 2, 2, 2)]
    for mesh, (loss, entropy, share) in zip(meshes, trained(1, meshes, "reparametrized"), strict=True):
        assert loss < 1e-5 and entropy < 1e-4, mesh
        assert share == 1 / (mesh[1] * mesh[2]), mesh


def test_one_device_is_no_mesh():
    assert sharding.axes(Mesh()) is None and state.shardings(Run()) is None
    assert all(len(leaf.sharding.device_set) == 1 for leaf in jax.tree.leaves(state.fresh(Run())))


@pytest.mark.parametrize(
    ("sizes", "count", "words"),
    [
        ({"data": 3}, 8, "must multiply to a number that divides the 8 devices at hand, got --mesh.data 3"),
        ({"fsdp": 3}, 8, "divides the 8 devices at hand, got --mesh.data -1, --mesh.fsdp 3"),
        ({"data": 4, "tensor": 4}, 8, "divides the 8 devices"),
    ],
)
def test_a_mesh_that_the_devices_do_not_fill_is_refused(sizes, count, words):
    with pytest.raises(ValueError, match=words):
        Mesh(**sizes).over(count)


def test_what_is_left_goes_to_the_axis_of_minus_one():
    assert Mesh(fsdp=2).over(8) == {"data": 4, "fsdp": 2, "tensor": 1, "context": 1}
    assert Mesh(data=2, tensor=-1).over(8) == {"data": 2, "fsdp": 1, "tensor": 4, "context": 1}
    assert Mesh(data=2).over(8) == {"data": 2, "fsdp": 1, "tensor": 1, "context": 1}


@pytest.mark.parametrize(
    ("sizes", "words"), [({"data": 0}, "Mesh.data"), ({"fsdp": -1}, "at most, got it for data and")]
)
def test_sizes_that_are_none_are_refused(sizes, words):
    with pytest.raises(ValueError, match=words):
        Mesh(**sizes)


REFUSED = """
import chex
chex.set_n_cpu_devices(8)
import contextlib, io, json, sys
from jattn.cli import main

found = []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as told:
        code = main(["train", "--smoke", *words])
    found.append((code, told.getvalue()))
print(json.dumps(found))
"""
UNDIVIDED = {
    "divides the 8 devices": ["--mesh.data", "3"],
    "Run.batch must be a multiple of the 8 parts into which --mesh.data and --mesh.fsdp split": ["--batch", "12"],
    "The mesh splits heads into 4 parts, by tensor, got 2; use": ["--mesh.data", "1", "--mesh.tensor", "4"],
    "splits width into 4 parts, got 6 in": ["--mesh.data", "1", "--mesh.fsdp", "4", "--model.width", "6"],
    "splits tokens into 8 parts, by context, got 60": ["--mesh.data", "1", "--mesh.context", "8", "--context", "60"],
}


def test_what_the_mesh_does_not_divide_is_one_sentence_and_leaves_no_run(tmp_path):
    runs = [["--dir", str(tmp_path / str(n)), *options] for n, options in enumerate(UNDIVIDED.values())]
    command = [sys.executable, "-c", REFUSED, json.dumps(runs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for words, (code, told) in zip(UNDIVIDED, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert code == 2 and words in told.splitlines()[-1], told
    assert not any(tmp_path.iterdir())


RESUMED = """
import chex
chex.set_n_cpu_devices(8)
import dataclasses, shutil, sys
from pathlib import Path
import chex
import jax
import numpy as np
from jattn.models.decoder import DecoderConfig
from jattn.training import checkpoint, loop, metrics
from jattn.training.run import Run
from jattn.training.sharding import Mesh

home = Path(sys.argv[1])
run = Run(
    model=DecoderConfig(width=8, depth=1, heads=2), steps=6, batch=8, context=16, evaluate_every=100,
    checkpoint_every=3, mesh=Mesh(data=2, fsdp=2, tensor=2),
)
loop.fit(run, home)
before = metrics.read(home)
assert (home / "run.json").exists()
for mesh in (Mesh(data=1), Mesh(data=1, fsdp=4), Mesh(data=8)):
    there = dataclasses.replace(run, mesh=mesh)
    restored, mine = (checkpoint.load(home, one, step=3).state for one in (there, run))
    chex.assert_trees_all_equal(jax.device_get(restored), jax.device_get(mine))
    copy = home.with_name(str(mesh.fsdp) + str(mesh.data))
    shutil.copytree(home, copy)
    shutil.rmtree(copy / checkpoint.FOLDER / "6")
    loop.resume(there, copy)
    after = metrics.read(copy)
    np.testing.assert_allclose([row["loss"] for row in after], [row["loss"] for row in before], rtol=1e-5)
print("equal")
"""


def test_a_run_goes_on_on_another_mesh(tmp_path):
    command = [sys.executable, "-c", RESUMED, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.stdout.splitlines()[-1:] == ["equal"], done.stderr
    # here is one device alone
    home = tmp_path / "run"
    run = checkpoint.read_run(home, catalogue.find)
    run = dataclasses.replace(run, mesh=Mesh(data=1))
    like = Variables(*state.shapes(run)[:2])
    reached = checkpoint.load(home, run).state
    chex.assert_trees_all_equal(checkpoint.weights(home, like), Variables(reached.params, reached.buffers))
