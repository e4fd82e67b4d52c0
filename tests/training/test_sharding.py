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
from jattn.engines import visits

accumulate, meshes, kind = json.loads(sys.argv[1])
if kind == "dealt":
    # shares of as few tokens are dealt in zigzag, where they are even
    visits.STEERED_FROM = 8
import jax
import jax.numpy as jnp
import numpy as np
import jattn
from jattn.layers.heads.grouped import Grouped
from jattn.layers.reparametrizations.sigma_reparam import SigmaReparam
from jattn.models.decoder import DecoderConfig
from jattn.part import part
from jattn.training import state
from jattn.training.objectives import Objective
from jattn.training.objectives.next_token import NextToken, cross_entropy
from jattn.training.objectives.penalized import Penalized
from jattn.training.run import Run
from jattn.training.sharding import Mesh
from jattn.training.step import training_step


@part
class Packed(Objective):
    mean = False

    def __call__(self, forward, variables, batch, rng):
        tokens, segments, valid = (batch[name] for name in ("tokens", "segments", "valid"))
        layout = jattn.Layout(segments=segments[:, :-1], valid=valid[:, :-1])
        logits, record, _ = forward(variables, tokens[:, :-1], rng, layout)
        told = valid[:, 1:] & (segments[:, 1:] == segments[:, :-1])
        return cross_entropy(logits, tokens[:, 1:]).mean(where=told), {"stats": record.stats}


# as many heads as the meshes need
most = max(sizes[2] for sizes in meshes)
heads, key_heads = max(4, most), max(2, most)
attention = jattn.Attention(
    jattn.scores.T5Bias(), jattn.masks.Causal() & jattn.masks.Window(left=(3, 40, 9, 20) * (heads // 4)),
    dropout=0.1, position=jattn.positions.Rotary(),
)
model = DecoderConfig(width=16, depth=2, heads=heads, projection=Grouped(key_heads=key_heads), attention=attention)
if kind == "reparametrized":
    model = dataclasses.replace(model, reparametrization=SigmaReparam())
objective = {"plain": NextToken(), "reparametrized": Penalized()}.get(kind, Packed())
context = 40
run = Run(model=model, objective=objective, steps=20, batch=8, context=context, accumulate=accumulate)
text = np.random.default_rng(0).integers(0, 20, (20, 8, context + 1)).astype(np.int32)
example, place = np.indices((8, context + 1))
packing = {} if isinstance(objective, NextToken | Penalized) else {
    # pieces of 13 tokens, in each example across other borders of shards
    "segments": ((place + 3 * example) // 13).astype(np.int32),
    # of the second example all shards but the first hold nothing, or all but the second of eight
    "valid": place < np.array([41, 9, 33, 41, 20, 41, 41, 41])[:, None],
}


def trained(mesh):
    here = dataclasses.replace(run, mesh=mesh)
    reached, step, losses = state.fresh(here), training_step(here), []
    for tokens in text:
        reached, shown = step(reached, {"tokens": tokens, **packing})
        losses.append(float(shown.loss))
    return np.array(losses), np.asarray(shown.entropy), reached

plain, entropy, _ = trained(Mesh(data=1))
assert plain[-1] < plain[0] - 0.3
found = []
for sizes in meshes:
    losses, mine, reached = trained(Mesh(*sizes))
    up = reached.params["stack"]["repeat"][0]["feedforward"]["up"]
    assert all(len(leaf.sharding.device_set) == np.prod(sizes) for leaf in jax.tree.leaves(reached))
    share = up.addressable_shards[0].data.size / up.size
    off = float(np.abs(losses / plain - 1).max()), float(np.abs(mine - entropy).max())
    found.append((*off, share))
print(json.dumps(found))
"""


def trained(accumulate, meshes, kind):
    command = [sys.executable, "-c", TRAINED, json.dumps([accumulate, meshes, kind])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("kind", "accumulate", "meshes"),
    [
        ("packed", 1, [(1, 2, 2, 2)]),
        *(
            pytest.param(kind, accumulate, meshes, marks=pytest.mark.slow)
            for kind, accumulate, meshes in [
                ("packed", 1, [(2, 1, 1, 1), (4, 1, 1, 1), (8, 1, 1, 1)]),
                ("packed", 1, [(1, 2, 1, 1), (1, 4, 1, 1), (1, 8, 1, 1)]),
                ("packed", 1, [(1, 1, 2, 1), (1, 1, 4, 1), (1, 1, 8, 1)]),
                ("dealt", 1, [(1, 1, 1, 2), (1, 1, 1, 4), (1, 1, 1, 8)]),
                ("packed", 1, [(2, 2, 2, 1), (2, 2, 1, 2), (4, 1, 2, 1), (1, 4, 2, 1)]),
                ("dealt", 1, [(1, 1, 2, 4), (4, 1, 1, 2), (1, 2, 1, 4), (2, 1, 4, 1)]),
                ("plain", 1, [(1, 2, 2, 2), (1, 1, 1, 8), (2, 1, 1, 4)]),
                ("plain", 2, [(2, 2, 1, 1), (1, 2, 2, 1), (4, 1, 1, 1)]),
                ("reparametrized", 1, [(2, 2, 2, 1), (1, 4, 2, 1), (1, 2, 2, 2)]),
            ]
        ),
    ],
)
def test_losses_and_entropies_are_those_of_one_device(kind, accumulate, meshes):
    for mesh, (loss, entropy, share) in zip(meshes, trained(accumulate, meshes, kind), strict=True):
        assert loss < 1e-5 and entropy < 1e-4, mesh
        assert share == 1 / (mesh[1] * mesh[2]), mesh


# the same of the other models, whose examples are made up
OTHERS = """
import chex
chex.set_n_cpu_devices(8)
import dataclasses, json, sys

name, meshes = json.loads(sys.argv[1])
import jax
import numpy as np
from jattn.models.decoder import DecoderConfig
from jattn.models.encoder import EncoderConfig
from jattn.models.encoder_decoder import EncoderDecoderConfig
from jattn.models.vision_transformer import VisionTransformerConfig
from jattn.training import state
from jattn.training.objectives.classification import Classification
from jattn.training.objectives.masked_tokens import MaskedTokens
from jattn.training.objectives.target_given_source import TargetGivenSource
from jattn.training.run import Run
from jattn.training.sharding import Mesh
from jattn.training.sources.transduction import Transduction
from jattn.training.step import training_step

sizes = {"width": 16, "depth": 2, "heads": 4}
random = np.random.default_rng(0)


def images(step):
    label = random.integers(3, size=8).astype(np.int32)
    noise = random.normal(size=(8, 8, 8, 1)).astype(np.float32)
    return {"inputs": noise + label[:, None, None, None], "label": label}


def texts(step):
    return {"tokens": random.integers(0, 20, (8, 41)).astype(np.int32)}


strings = Transduction(symbols=15).train(14, 0)


def pairs(step):
    rows = [strings[8 * step + n] for n in range(8)]
    # the boundary in front is cut off, so that a context axis divides the target too
    return {key: np.stack([row[key][..., : 15] if key == "tokens" else row[key] for row in rows]) for key in rows[0]}


run, batch = {
    "vision, class token": (
        Run(model=VisionTransformerConfig(**sizes, classes=3), objective=Classification()), images,
    ),
    "vision, mean": (
        Run(model=VisionTransformerConfig(**sizes, classes=3, pool="mean"), objective=Classification()), images,
    ),
    "encoder": (
        Run(model=EncoderConfig(**sizes, vocabulary=264), objective=MaskedTokens(share=0.5)), texts,
    ),
    "encoder-decoder": (Run(model=EncoderDecoderConfig(**sizes), objective=TargetGivenSource()), pairs),
    "decoder, adaptive": (
        Run(
            model=DecoderConfig(
                **sizes, vocabulary=264, embedding="adaptive", cutoffs=(8, 16), factor=2, feedforward="biased",
                dropout=0.1, hidden_dropout=0.1, last_gains="none",
            ),
        ),
        texts,
    ),
    "encoder, numbers": (
        Run(
            model=EncoderConfig(
                **sizes, reads="numbers", classes=3, classifier_width=8, feedforward="biased", dropout=0.1
            ),
            objective=Classification(),
        ),
        images,
    ),
}[name]
batches = [batch(step) for step in range(20)]


def trained(mesh):
    here = dataclasses.replace(run, steps=20, batch=8, mesh=mesh)
    reached, step, losses = state.fresh(here), training_step(here), []
    for each in batches:
        reached, shown = step(reached, each)
        losses.append(float(shown.loss))
    return np.array(losses), np.asarray(shown.entropy), reached

plain, entropy, _ = trained(Mesh(data=1))
found = []
for each in meshes:
    losses, mine, reached = trained(Mesh(*each))
    assert all(len(leaf.sharding.device_set) == np.prod(each) for leaf in jax.tree.leaves(reached))
    found.append((float(np.abs(losses / plain - 1).max()), float(np.abs(mine - entropy).max())))
print(json.dumps([float(plain[0] - plain[-5:].mean()), found]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "meshes"),
    [
        ("vision, class token", [(2, 2, 2, 1), (1, 4, 2, 1), (8, 1, 1, 1)]),
        ("vision, mean", [(1, 2, 2, 2), (2, 1, 1, 4), (1, 8, 1, 1)]),
        ("encoder", [(2, 2, 2, 1), (1, 2, 2, 2), (1, 1, 4, 2)]),
        ("encoder-decoder", [(2, 2, 2, 1), (1, 2, 2, 2), (2, 1, 4, 1)]),
        ("decoder, adaptive", [(2, 2, 2, 1), (1, 2, 2, 2), (1, 1, 4, 2)]),
        ("encoder, numbers", [(2, 2, 2, 1), (1, 2, 2, 2)]),
    ],
)
def test_losses_of_the_other_models_are_those_of_one_device(name, meshes):
    command = [sys.executable, "-c", OTHERS, json.dumps([name, meshes])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    learned, found = json.loads(done.stdout.splitlines()[-1])
    assert learned > 0.1
    for mesh, (loss, entropy) in zip(meshes, found, strict=True):
        assert loss < 1e-5 and entropy < 1e-4, (mesh, loss, entropy)


# how far losses, and what batch norms keep, are apart on four devices and on one
BATCH_NORMS = """
import chex
chex.set_n_cpu_devices(4)
import dataclasses, json
import jax
import numpy as np
from jattn.models.decoder import DecoderConfig
from jattn.training import state
from jattn.training.run import Run
from jattn.training.sharding import Mesh
from jattn.training.step import training_step

run = Run(model=DecoderConfig(width=16, depth=1, heads=2, norm="batch"), steps=20, batch=4, context=8)
# examples that are unlike: statistics of one device are not those of all
text = np.random.default_rng(0).integers(0, 20, (2, 4, 9)).astype(np.int32) + 30 * np.arange(4)[None, :, None]

def trained(mesh):
    here = dataclasses.replace(run, mesh=mesh)
    reached, step, losses = state.fresh(here), training_step(here), []
    for tokens in text.astype(np.int32):
        reached, shown = step(reached, {"tokens": tokens})
        losses.append(float(shown.loss))
    kept = {name: x for name, x in reached.buffers.items() if name != state.OBSERVED}
    return losses, jax.tree.map(np.asarray, kept)

plain = trained(Mesh(data=1))
# of the first step: later ones differ by what Adam makes of rounded gradients
assert plain[1]["norm"]["steps"] == 1
off = []
for mesh in (Mesh(data=4), Mesh(2, 2), Mesh(1, 2, 1, 2)):
    apart = jax.tree.map(lambda a, b: float((np.abs(np.subtract(a, b)) / np.abs(a).max()).max()), plain, trained(mesh))
    off.append(max(jax.tree.leaves(apart)))
print(json.dumps(off))
"""


@pytest.mark.slow
def test_statistics_of_batch_norms_are_those_of_all_devices():
    done = subprocess.run([sys.executable, "-c", BATCH_NORMS], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert max(json.loads(done.stdout.splitlines()[-1])) < 1e-5


# temporaries of a step over 65,536 tokens
LONG = """
import chex
chex.set_n_cpu_devices(8)
import json
import jax
import jattn
from jattn.models.decoder import DecoderConfig
from jattn.planning import plan
from jattn.training.run import Run
from jattn.training.sharding import Mesh

model = DecoderConfig(width=128, depth=2, heads=2)
run = Run(model=model, batch=1, context=65536, remat="block")
found = []
for devices in (1, 2, 4, 8):
    made = plan.plan(run, Mesh(1, 1, 1, devices))
    kinds = {each.kind for each in made.collectives}
    assert "all-gather" not in kinds and ("collective-permute" in kinds) == (devices > 1), kinds
    found.append(made.temporaries)
print(json.dumps(found))
"""


@pytest.mark.slow
def test_memory_of_a_step_falls_with_the_devices_of_a_context_axis():
    done = subprocess.run([sys.executable, "-c", LONG], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert all(more >= 1.8 * less for more, less in zip(found, found[1:], strict=False)), found


def test_one_device_is_no_mesh():
    assert sharding.axes(Mesh()) is None and state.shardings(Run()) is None
    assert all(len(leaf.sharding.device_set) == 1 for leaf in jax.tree.leaves(state.fresh(Run())))


@pytest.mark.parametrize(
    ("sizes", "count", "words"),
    [
        ({"data": 3}, 8, "must multiply to a number that divides the 8 devices at hand, got --mesh.data 3"),
        ({"fsdp": 3}, 8, "divides the 8 devices at hand, got --mesh.data -1, --mesh.fsdp 3"),
        ({"data": 4, "tensor": 4}, 8, "divides the 8 devices"),
        ({"data": 2, "tensor": 4}, 1, "or simulate 8 by XLA_FLAGS=--xla_force_host_platform_device_count=8"),
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
import dataclasses, json, shutil, sys
from pathlib import Path
import chex
import jax
import numpy as np
from jattn.mechanisms.linear import LinearAttention
from jattn.models.decoder import DecoderConfig
from jattn.parts.features.log_normal import LogNormal
from jattn.training import checkpoint, loop, metrics
from jattn.training.run import Run
from jattn.training.sharding import Mesh

home = Path(sys.argv[1])
run = Run(
    # it measures queries and keys of all devices, and keeps what it measured
    model=DecoderConfig(width=8, depth=1, heads=2, attention=LinearAttention(LogNormal())), steps=6, batch=8,
    context=16, evaluate_every=100, checkpoint_every=3, mesh=Mesh(data=2, fsdp=2, tensor=2),
)
loop.fit(run, home)
before = metrics.read(home)
assert (home / "run.json").exists()
for data, fsdp in json.loads(sys.argv[2]):
    mesh = Mesh(data=data, fsdp=fsdp)
    there = dataclasses.replace(run, mesh=mesh)
    restored, mine = (checkpoint.load(home, one, step=3).state for one in (there, run))
    chex.assert_trees_all_equal(jax.device_get(restored), jax.device_get(mine))
    copy = home.with_name(str(mesh.fsdp) + str(mesh.data))
    shutil.copytree(home, copy)
    shutil.rmtree(copy / checkpoint.FOLDER / "6")
    loop.resume(there, copy)
    after = metrics.read(copy)
    np.testing.assert_allclose([row["loss"] for row in after], [row["loss"] for row in before], rtol=1e-5)
    kept = [jax.tree.leaves(checkpoint.load(*each, step=6).state.buffers) for each in ((home, run), (copy, there))]
    assert len(kept[0]) == 4
    for one, other in zip(*kept):
        np.testing.assert_allclose(one, other, rtol=1e-4)
print("equal")
"""


# sizes of the axes data and fsdp
@pytest.mark.parametrize(
    "meshes", [[(1, 4)], pytest.param([(1, 1), (8, 1)], marks=pytest.mark.slow)], ids=["4", "1, 8"]
)
def test_a_run_goes_on_on_another_mesh(meshes, tmp_path):
    command = [sys.executable, "-c", RESUMED, str(tmp_path / "run"), json.dumps(meshes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.stdout.splitlines()[-1:] == ["equal"], done.stderr
    # here is one device alone
    home = tmp_path / "run"
    run = checkpoint.read_run(home, catalogue.find)
    run = dataclasses.replace(run, mesh=Mesh(data=1))
    like = state.of_model(Variables(*state.shapes(run)[:2]))
    reached = checkpoint.load(home, run).state
    of_model = state.of_model(Variables(reached.params, reached.buffers))
    assert len(jax.tree.leaves(of_model.buffers)) == 2
    chex.assert_trees_all_equal(checkpoint.weights(home, like), of_model)


def test_devices_that_a_mesh_leaves_unused_are_told(monkeypatch):
    monkeypatch.setattr(jax, "devices", lambda: [None] * 8)
    assert sharding.spare(Mesh()) is None and sharding.spare(Mesh(2, 2, -1)) is None
    assert sharding.spare(Mesh(1, 2)) == "uses 2 of 8 devices; --mesh.data -1 takes all"
