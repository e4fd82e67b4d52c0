"""Trains the RUNS and keeps, over training, the least entropy of every head beside what Theorem 3.1 allows.

python experiments/entropy_bound/measure.py [--smoke]: a small JSON a run in results/rows; what is there is left.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from jattn.layers.buffers import arrays
from jattn.layers.flow import Flow
from jattn.mechanisms import Layout
from jattn.mechanisms.entropy_bound import entropy_lower_bound
from jattn.part import Variables
from jattn.training import disk, metrics, state
from jattn.training.run import Run
from jattn.training.step import training_step
from jattn.training.sweeps import listed, names, results, short
from jattn.training.windows import batches, stream

HERE = Path(__file__).parent
SMOKE = Path("runs") / HERE.name / "smoke"
ROWS = "rows"
# of a run's steps, when it is looked at
MOMENTS = (0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)
WINDOWS = 4
DIGITS = 6


class Layer(NamedTuple):
    """What decides the logits of a layer, and what its attention says of itself."""

    inputs: Float[np.ndarray, "b t m"]
    query: Float[np.ndarray, "m h d"]
    key: Float[np.ndarray, "m h d"]
    entropy: Float[np.ndarray, "b t h"]


def looker(run: Run) -> Callable[[Variables, Int[np.ndarray, "b t"]], list[Layer]]:
    """The layers of a run's model, from its variables and some windows."""
    graph = nnx.graphdef(nnx.eval_shape(lambda: state.network(run)))
    heads = run.model.heads

    @jax.jit
    def looked(variables: Variables, tokens: Int[Array, "b t"]) -> list[Layer]:
        model = nnx.merge(graph, *state.of_model(variables)).folded()
        repeated, weights = nnx.split(model.stack.repeat[0])
        x, found = model.embedding(tokens, model.dtype, None), []
        for number in range(run.model.depth):
            block = nnx.merge(repeated, jax.tree.map(lambda leaf, n=number: leaf[n], weights))
            own = arrays(block.mixer.projecting).params
            query, key = (own[name].reshape(own[name].shape[0], heads, -1) for name in ("query", "key"))
            inputs = block.before_mixer(x)
            x, _, record = block(x, Flow(Layout()))
            found.append(Layer(inputs, query, key, record.stats.entropy))
        return found

    def wide(variables: Variables, tokens: Int[np.ndarray, "b t"]) -> list[Layer]:
        layers = jax.device_get(looked(variables, tokens))
        return [Layer(*(np.asarray(part, np.float64) for part in layer)) for layer in layers]

    return wide


def entropies(logits: Float[np.ndarray, "... s"]) -> Float[np.ndarray, "..."]:
    """In nats, of rows that hold -inf where a key is not seen."""
    shifted = logits - logits.max(-1, keepdims=True)
    weights = np.exp(shifted)
    mass = weights.sum(-1)
    return np.log(mass) - (weights * np.where(weights > 0, shifted, 0)).sum(-1) / mass


def bound(norm: Float[np.ndarray, "... t"], keys: Int[np.ndarray, " t"]) -> Float[np.ndarray, "... t"]:
    """Theorem 3.1 for rows of so many keys, in float64."""
    with jax.enable_x64(True):
        rows = [np.asarray(entropy_lower_bound(norm[..., n], int(count))) for n, count in enumerate(keys)]
    return np.stack(rows, -1)


def measured(layer: Layer) -> dict[str, list[float]]:
    """Of each head, over all windows and rows: least entropies, bounds, and the least distance of the two.

    "unmasked" rows see all tokens, "causal" ones those before them and themselves. `theorem` is the bound from the
    norms of W_K W_Q^T and of X X^T, `own` that from the norm of the row's logits about their mean, the proof's last
    step. A row of one key, whose entropy and bound are 0, is left out.
    """
    tokens = layer.inputs.shape[1]
    scale = layer.query.shape[-1] ** -0.5
    query, key = (np.einsum("btm,mhd->bhtd", layer.inputs, kernel) for kernel in (layer.query, layer.key))
    logits = np.einsum("bhtd,bhsd->bhts", query, key) * scale
    product = np.linalg.norm(np.einsum("mhd,nhd->hmn", layer.query, layer.key), 2, (1, 2))
    # the largest eigenvalue of the Gram matrix of the first tokens is the norm of their X X^T
    grams = np.cumsum(layer.inputs[..., :, None] * layer.inputs[..., None, :], 1)
    inputs = np.linalg.eigvalsh(grams)[..., -1]
    found: dict[str, Any] = {"product": product, "norm": product * inputs[:, -1].max() * scale}
    seen = np.tril(np.ones((tokens, tokens), bool))
    for name, mask in (("unmasked", np.ones_like(seen)), ("causal", seen)):
        keys = mask.sum(-1)
        entropy = entropies(np.where(mask, logits, -np.inf))
        norms = inputs[:, keys - 1]
        theorem = bound(product[None, :, None] * norms[:, None, :] * scale, keys)
        mean = (logits * mask).sum(-1) / keys
        own = bound(np.linalg.norm(np.where(mask, logits - mean[..., None], 0), axis=-1), keys)
        kept = {
            f"{name} entropy": entropy,
            f"{name} theorem": theorem,
            f"{name} own": own,
            f"{name} above theorem": entropy - theorem,
            f"{name} above own": entropy - own,
        }
        found |= {what: each[..., keys > 1].min((0, 2)) for what, each in kept.items()}
    told = np.moveaxis(layer.entropy, -1, 1)
    found["instrument"] = np.abs(told - entropy).max((0, 2))
    return {name: [float(f"{head:.{DIGITS}g}") for head in value] for name, value in found.items()}


def trained(run: Run) -> dict[str, Any]:
    """Trains a run as `jattn train` does, and looks at it at its moments."""
    examples = run.source.train(run.context, run.seed)
    coming = stream(batches(examples, run.batch, run.seed), 0, 0)
    held_out = run.source.held_out(run.context)
    chosen = np.linspace(0, len(held_out) - 1, WINDOWS).astype(int)
    tokens = np.stack([held_out[int(n)]["tokens"][: run.context] for n in chosen]).astype(np.int32)
    reached, step, look, points = state.fresh(run), training_step(run), looker(run), []
    moments = sorted({round(share * run.steps) for share in MOMENTS})
    loss = None
    for number in range(run.steps + 1):
        if number in moments:
            layers = [measured(layer) for layer in look(Variables(reached.params, reached.buffers), tokens)]
            points.append({"step": number} | {name: [layer[name] for layer in layers] for name in layers[0]})
        if number < run.steps:
            reached, shown = step(reached, next(coming))
            loss = shown.loss
    loss = metrics.finite(run.steps, loss, HERE)
    return {
        "digest": names.digest(run), "loss": round(loss, DIGITS), "machine": results.machine(),
        "versions": results.versions(), "points": points,
    }  # fmt: skip


def main(words: list[str]) -> int:
    """Measures what has not been measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few steps of the first run of each arm")
    smoke = parser.parse_args(words).smoke
    held = listed.executed(HERE / "run.py")
    runs = [short.shortened(run) for run in held.RUNS[: len(held.ARMS)]] if smoke else held.RUNS
    home = (SMOKE if smoke else HERE) / "results" / ROWS
    home.mkdir(parents=True, exist_ok=True)
    for run in runs:
        file = home / f"{names.digest(run)[: names.DIGITS]}.json"
        if not file.exists():
            found = trained(run)
            lines = ",\n".join(f"  {json.dumps(point)}" for point in found.pop("points"))
            head = ",\n".join(f'"{name}": {json.dumps(value)}' for name, value in found.items())
            disk.write(file, f'{{\n{head},\n"points": [\n{lines}\n]\n}}\n')
        print(file.relative_to(home.parents[2] if smoke else HERE), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
