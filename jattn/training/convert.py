"""Turns a trained softmax model into one of linear attention that begins with the same weights.

Source: Choromanski et al., "Rethinking Attention with Performers", ICLR 2021, arXiv:2009.14794 (weights of a trained
Transformer under another attention, then a few steps); Zhang, Bhatia, Kumbong, Re, "The Hedgehog & the Porcupine", ICLR
2024, arXiv:2402.04347, section 4 (learned features are distilled first); Nahshan, Kampeas, Haleva, "Linear Log-Normal
Attention with Unbiased Concentration", ICLR 2024, arXiv:2311.13541, section 4 (deviations are measured).
"""

import dataclasses
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jattn.mechanisms import Layout, Mechanism, Split
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.linear import LinearAttention
from jattn.mechanisms.mimicry import Mimicry
from jattn.numerics import wide
from jattn.part import Attended, Rng, Variables, part
from jattn.parts.features import Feature
from jattn.parts.features.log_normal import LogNormal
from jattn.parts.masks import Full
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers.softmax import Softmax
from jattn.training import checkpoint, checks, evaluate, lock, loop, state
from jattn.training.objectives.distillation import Distillation
from jattn.training.objectives.penalized import Penalized
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.sharding import Mesh
from jattn.training.windows import batches

# of the new run's directory, where the run that distills lies
DISTILLATION = "distillation"
# the rate of the released LoLCATs configurations; what has no gradient must not decay
DISTILLING = AdamW(rate=1e-2, decay=0.0)
# steps are a tenth of those that trained the model, unless others are asked for
SHARE = 10
ORDERS = {Causal(): "causal", Full(): "full"}
# in the names of arrays, what belongs to the attention of a layer
ATTENDING = ".attending."


class Converted(NamedTuple):
    """Held-out losses in nats: of the softmax model, of the linear one as it begins, and of that once distilled.

    `mimicry` is the mean cross entropy of a row's weights, in nats on what is held out, once distilled. The last two
    are None where nothing was distilled.
    """

    softmax: float
    converted: float
    distilled: float | None = None
    mimicry: float | None = None


def linear(run: Run, feature: Feature) -> Run:
    """The run that tunes what `run` has trained under linear attention, for a tenth of its steps.

    Raises ValueError where the run's attention is more than softmax over all keys, or all keys so far.
    """
    was = run.model.attention
    if not isinstance(was, Attention) or [f.name for f in _attentions(run)] != ["attention"]:
        got = ", ".join(f"{f.name} {type(getattr(run.model, f.name)).__name__}" for f in _attentions(run))
        raise ValueError(
            f"A run that is converted must have one softmax attention in each layer, got {type(run.model).__name__} "
            f"with {got}; convert another run."
        )
    plain = was.score == () and was.scale is None and isinstance(was.normalizer, Softmax)
    if not plain or was.mask not in ORDERS:
        parts = [type(each).__name__ for each in (*was.score, was.normalizer, was.mask)]
        scale = [] if was.scale is None else [f"scale {was.scale}"]
        raise ValueError(
            f"An attention that is converted must be softmax over all keys or all keys so far, without scores and at "
            f"the default scale, got {', '.join(parts + scale)}; linear attention has no pairs for these to act on."
        )
    made = LinearAttention(feature, order=ORDERS[was.mask], position=was.position)
    model = dataclasses.replace(run.model, attention=made)
    return dataclasses.replace(run, model=model, steps=max(1, run.steps // SHARE), init_from=None)


def convert(trained: Path, began: Run, run: Run, directory: Path, *, distill: int = 0) -> Converted:
    """Writes a directory from which `jattn.training.loop.resume(run, directory)` tunes what `began` has reached.

    `trained` is the directory of the run `began`, and `run` what `linear` makes of it, perhaps with other options.
    Weights are those of the newest checkpoint; what the new attention has of its own is fresh, but for LLN's
    deviations, which are measured. `distill` counts the steps that first train its features, on the old attention's
    weights, in a run of their own under `distillation` of the new directory; the same call goes on with one that was
    stopped. Raises ValueError where the models do not fit, FileNotFoundError where nothing was trained.
    """
    checks.whole("convert", "distill", distill, 0, "0 distills nothing")
    began = dataclasses.replace(began, mesh=Mesh(data=1))
    alone = dataclasses.replace(run, mesh=Mesh(data=1))
    # what is refused leaves no trace
    loop.check_empty(directory)
    imitating = _imitating(began, alone, distill) if distill else None
    fresh = state.of_model(Variables(*state.fresh(alone)[:2]))
    reached = checkpoint.load(trained, began).state
    held = state.of_model(Variables(reached.params, reached.buffers))
    found = _fitted(held, fresh, alone)
    if isinstance(_feature(alone), LogNormal):
        found = _measured(began, held, found)
    losses = [evaluate.held_out_loss(began, held), evaluate.held_out_loss(alone, found)]
    if imitating is None:
        _begin(run, found, directory)
        return Converted(*losses)
    place = directory / DISTILLATION
    if not (place / checkpoint.RUN_FILE).is_file():
        _begin(imitating, _renamed(imitating, held, found), place)
    elif (place / checkpoint.RUN_FILE).read_text(encoding="utf-8") != imitating.to_json():
        raise FileExistsError(
            f"A conversion goes on with its own distillation, got another run in {str(place)!r}; name a new directory."
        )
    summary = loop.resume(imitating, place)
    reached = checkpoint.load(place, imitating).state
    taught = {name.replace(f"{ATTENDING}student.", ATTENDING): x for name, x in _named(reached.params).items()}
    found = found._replace(params=_replaced(found.params, taught))
    _begin(run, found, directory)
    return Converted(*losses, evaluate.held_out_loss(alone, found), summary.held_out_loss)


def _attentions(run: Run) -> list[dataclasses.Field]:
    return [f for f in dataclasses.fields(run.model) if isinstance(getattr(run.model, f.name), Mechanism)]


def _feature(run: Run) -> Feature:
    attention = run.model.attention
    if not isinstance(attention, LinearAttention):
        raise ValueError(
            f"A run is converted to linear attention, got {type(attention).__name__}; choose among its features."
        )
    return attention.feature


def _imitating(began: Run, run: Run, steps: int) -> Run:
    """The run that trains the new attention's features."""
    feature, attention = _feature(run), run.model.attention
    dims = run.model.projection.dims(run.model.width, run.model.heads, run.model.depth)
    if not jax.eval_shape(lambda: feature.init(jax.random.key(0), dims).params):
        raise ValueError(
            f"Distillation trains what features learn, got {type(feature).__name__}, which learn nothing; distill "
            f"Hedgehog features, or leave it out."
        )
    objective = began.objective.inner if isinstance(began.objective, Penalized) else began.objective
    return dataclasses.replace(
        began, model=dataclasses.replace(began.model, attention=Mimicry(began.model.attention, attention)),
        objective=Distillation(objective), optimizer=DISTILLING, steps=steps, seed=run.seed, init_from=None,
    )  # fmt: skip


def _begin(run: Run, variables: Variables, directory: Path) -> None:
    """Makes a directory of a run that has taken no step, with these arrays in its checkpoint."""
    fresh = state.fresh(dataclasses.replace(run, mesh=Mesh(data=1)))
    params, buffers = (_replaced(tree, _named(other)) for tree, other in zip(fresh[:2], variables, strict=True))
    loop.make(directory)
    with lock.held(directory):
        loop.check_empty(directory)
        checkpoint.write_run(directory, run)
        with checkpoint.Saver(directory, run) as saver:
            saver.save(fresh._replace(params=params, buffers=buffers), 0)


def _fitted(held: Variables, fresh: Variables, run: Run) -> Variables:
    """The fresh arrays with those of the trained model, which must be all but what the new attention has of its own."""
    there, here = (
        {name: x for name, x in _named(each._asdict()).items() if ATTENDING not in name} for each in (held, fresh)
    )
    if told := checkpoint.differs(there, here):
        raise ValueError(
            f"A run is converted to one of the same model but for its attention, got {told} in the new one; leave the "
            f"model's other options out."
        )
    return Variables(*(_replaced(tree, _named(other)) for tree, other in zip(fresh, held, strict=True)))


@part
class _Watched(Mechanism):
    """Attends as `inner` does and observes how many numbers queries and keys hold, their sums and sums of squares."""

    inner: Attention = Attention()

    def apply(self, own: dict, split: Split, layout: Layout, rng: Rng | None, state: Any) -> Attended:
        found = self.inner.apply(own["inner"], split, layout, rng, state)
        (_, _, *both, _, _, _), _ = self.inner.arguments(own["inner"], split, layout, None, None)
        observed = {role: _moments(side.vector, side.valid) for role, side in zip(("query", "key"), both, strict=True)}
        return found._replace(stats=found.stats._replace(observed=observed))


def _moments(vector: Float[Array, "n h d"], valid: Array | None) -> Float[Array, " 3"]:
    x = vector.astype(wide(vector.dtype))
    tokens = len(x) if valid is None else valid.sum()
    return jnp.stack([tokens * (x.size // len(x)), x.sum(), jnp.square(x).sum()])


def _measured(began: Run, held: Variables, found: Variables) -> Variables:
    """With the deviations that queries and keys of each layer have under the old attention, in a batch of training."""
    watched = dataclasses.replace(
        began, model=dataclasses.replace(began.model, attention=_Watched(began.model.attention))
    )
    batch = batches(began.source.train(began.context, began.seed), began.batch, began.seed)[0]
    forward, rng = state.forward(watched), state.key(began, state.STEPS)

    @jax.jit
    def observed(variables, batch):
        return began.objective(forward, variables, batch, rng)[1]["stats"].observed

    inner = {name.replace(ATTENDING, f"{ATTENDING}inner."): x for name, x in _named(held.buffers).items()}
    like = state.of_model(Variables({}, state.outline(watched).buffers)).buffers
    held = held._replace(buffers=_replaced(like, inner))
    fresh = {}
    seen = observed(held, batch)
    for role in ("query", "key"):
        # by layer, whether a batch was summed over or not
        count, total, squares = np.asarray(seen[role], float).reshape(len(seen[role]), -1, 3).sum(1).T
        fresh[role] = np.sqrt(squares / count - (total / count) ** 2)
    whole = began.model.depth - began.model.pruned

    def one(path, x):
        name = _name(path)
        if (match := re.search(r"\.feature\.(query|key)_deviation$", name)) is None:
            return x
        layer = re.search(r"\.last\.(\d+)\.", name)
        chosen = fresh[match[1]][:whole] if layer is None else fresh[match[1]][whole + int(layer[1])]
        return jnp.asarray(chosen, x.dtype).reshape(x.shape)

    return found._replace(buffers=jax.tree_util.tree_map_with_path(one, found.buffers))


def _renamed(imitating: Run, held: Variables, found: Variables) -> Variables:
    """The arrays of both attentions under the names that they have in the run that distills."""
    like = state.of_model(Variables(*state.outline(imitating)[:2]))
    made = []
    for tree, was, new in zip(like, held, found, strict=True):
        known = _named(was) | {
            name.replace(ATTENDING, f"{ATTENDING}{role}."): x
            for role, arrays in (("teacher", was), ("student", new))
            for name, x in _named(arrays).items()
        }
        made.append(_replaced(tree, known))
    return Variables(*made)


def _replaced(tree: dict, known: dict[str, Array]) -> dict:
    """The tree with the arrays that are known by name."""
    return jax.tree_util.tree_map_with_path(lambda path, x: known.get(_name(path), x), tree)


def _named(tree: Any) -> dict[str, Array]:
    return {_name(path): x for path, x in jax.tree_util.tree_leaves_with_path(tree)}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
