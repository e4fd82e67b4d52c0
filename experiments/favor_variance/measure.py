"""Measures errors of random features: of single weights beside the paper's formulas, of attention as in Figure 4.

python experiments/favor_variance/measure.py [PART ...] [--smoke]: all parts or those named, each into its JSON.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import jattn
from jattn.features import Favor, Projection, Trigonometric
from jattn.part import Place, Side
from jattn.parts.features import Feature
from jattn.training.sweeps import measures

HERE = Path(__file__).parent
# of single weights: vectors of this width, as many directions
WIDTH, PAIRS = 8, 20
LENGTHS = (0.5, 1.0)
# draws of directions at once
CHUNK = 20_000
# of Figure 4, as are its length and its 15 samples
ATTENTION_WIDTH = 16
DIGITS = 6

FEATURES: dict[str, Feature] = {
    "trigonometric": Trigonometric(),
    "positive": Favor(floor=0),
    "hyperbolic": Favor(kernel="hyperbolic", floor=0),
}


class Setting(NamedTuple):
    """`draws` of directions for each pair; `scales` are deviations of the numbers in queries and keys of Figure 4."""

    draws: int
    length: int
    seeds: int
    counts: tuple[int, ...]
    scales: tuple[float, ...]


FULL = Setting(draws=1_000_000, length=4096, seeds=15, counts=(16, 32, 64, 128, 256), scales=(0.25, 0.5, 0.75, 1.0))
SMALL = Setting(draws=2000, length=50, seeds=2, counts=(8, 16), scales=(0.25,))


def of(feature: Feature, count: int, kind: str) -> Feature:
    """The feature with so many directions, drawn once."""
    return dataclasses.replace(feature, projection=Projection(count, kind, redraw=0))


def formulas(x: Float[np.ndarray, "p d"], y: Float[np.ndarray, "p d"], count: int) -> dict[str, np.ndarray]:
    """Lemma 2: mean squared errors of a weight e^(x.y) from so many independent directions."""
    weight = np.exp((x * y).sum(-1))
    apart, sum_ = (np.square(v).sum(-1) for v in (x - y, x + y))
    positive = np.exp(sum_) * weight**2 * -np.expm1(-sum_) / count
    return {
        "trigonometric": np.exp(sum_) / weight**2 * np.expm1(-apart) ** 2 / (2 * count),
        "positive": positive,
        "hyperbolic": positive * -np.expm1(-sum_) / 2,
    }


def bounds(x: Float[np.ndarray, "p d"], y: Float[np.ndarray, "p d"], count: int) -> dict[str, np.ndarray]:
    """Theorem 2: what orthogonal positive features may err at most, as corrected on arXiv and as printed before."""
    width, weight = x.shape[-1], np.exp((x * y).sum(-1))
    origin = np.exp(-(np.square(x) + np.square(y)).sum(-1) / 2)
    independent, share = formulas(x, y, count)["positive"], (1 - 1 / count) * 2 / (width + 2)
    return {
        "independent": independent,
        "corrected": independent - share * (weight - origin) ** 2,
        "conference": independent - share * weight**2,
    }


def pairs() -> Float[np.ndarray, "2 p d"]:
    """Vectors in random directions, of lengths from a half to 1: of longer ones a million draws say too little."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(2, PAIRS, WIDTH))
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True) * rng.uniform(0.5, 1, (2, PAIRS, 1))


def weights(feature: Feature, matrix: Float[Array, "r d"], x: Float[Array, "p d"], y: Float[Array, "p d"]) -> Array:
    """What the features make of e^(x.y), pair by pair."""
    own, place = {"projection": {"matrix": matrix}}, Place(np.arange(1), 1, 1)
    # a feature divides both sides by the fourth root of the width
    sides = [Side(v[:, None] * v.shape[-1] ** 0.25, None, None, None, None, len(v), {}) for v in (x, y)]
    (a, one), (b, other) = (feature.map(own, side, "key", place) for side in sides)
    return ((a * b).sum(-1) * jnp.exp(sum(level for level in (one, other) if level is not None)))[:, 0]


def errors(feature: Feature, x: np.ndarray, y: np.ndarray, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean squared errors of the pairs' weights over so many draws, and the standard errors of these means."""
    truth = np.exp((x * y).sum(-1))
    x, y = (jnp.asarray(v, jnp.float32) for v in (x, y))
    chunk = min(CHUNK, draws)

    @jax.jit
    def some(key: Array) -> Array:
        matrices = jax.vmap(lambda one: feature.projection.draw(one, x.shape[-1]))(jax.random.split(key, chunk))
        return jax.vmap(lambda matrix: weights(feature, matrix, x, y))(matrices)

    first, second = np.zeros(len(x)), np.zeros(len(x))
    for key in jax.random.split(jax.random.key(0), draws // chunk):
        squares = (np.asarray(some(key), np.float64) - truth) ** 2
        first, second = first + squares.sum(0), second + (squares**2).sum(0)
    number = draws // chunk * chunk
    mean = first / number
    return mean, np.sqrt((second / number - mean**2) / number)


def lemma_2(setting: Setting) -> list[dict]:
    """Independent directions beside the formulas."""
    x, y = pairs()
    found = []
    for name, feature in FEATURES.items():
        measured = errors(of(feature, WIDTH, "independent"), x, y, setting.draws)
        for pair, row in enumerate(zip(*measured, formulas(x, y, WIDTH)[name], strict=True)):
            found.append(
                {"feature": name, "pair": pair, **_rounded(zip(("error", "apart", "formula"), row, strict=True))}
            )
    return found


def theorem_2(setting: Setting) -> list[dict]:
    """Orthogonal directions beside both bounds."""
    x, y = pairs()
    error, apart = errors(of(FEATURES["positive"], WIDTH, "orthogonal"), x, y, setting.draws)
    columns = {"error": error, "apart": apart, **bounds(x, y, WIDTH)}
    return [
        {"pair": pair, **_rounded((name, column[pair]) for name, column in columns.items())} for pair in range(PAIRS)
    ]


def figure_2(setting: Setting) -> list[dict]:
    """Errors of trigonometric over those of positive features, of two vectors of one length, beside the formulas'.

    Where both are of length 1 and near each other, a million draws do not give the error of the positive ones.
    """
    found = []
    for length in LENGTHS:
        shares = np.array([0.1, 0.25, 0.5, 0.75, 0.95] if length < 1 else [0.5, 0.75, 0.95])
        x, y = np.zeros((2, len(shares), WIDTH))
        x[:, 0], y[:, 0], y[:, 1] = length, length * np.cos(np.pi * shares), length * np.sin(np.pi * shares)
        told = formulas(x, y, WIDTH)
        trigonometric, positive = (
            errors(of(FEATURES[name], WIDTH, "independent"), x, y, setting.draws)[0]
            for name in ("trigonometric", "positive")
        )
        for n, share in enumerate(shares):
            ratios = {
                "ratio": trigonometric[n] / positive[n],
                "formula": told["trigonometric"][n] / told["positive"][n],
            }
            found.append({"length": length, "half_turns": float(share), **_rounded(ratios.items())})
    return found


def figure_4(setting: Setting) -> list[dict]:
    """Mean squared errors of attention's output by seed; of hyperbolic features as many as of positive ones."""

    def drawn(seed: Array, scale: Array) -> list[Array]:
        keys = jax.random.split(jax.random.key(seed), 3)
        q, k, v = (jax.random.normal(key, (setting.length, 1, ATTENTION_WIDTH)) for key in keys)
        return [scale * q, scale * k, v]

    @jax.jit
    def exact(seed: Array, scale: Array) -> Array:
        return jattn.attend(*drawn(seed, scale)).out

    @functools.partial(jax.jit, static_argnums=0)
    def error(feature: Feature, seed: Array, scale: Array, truth: Array) -> Array:
        key = jax.random.fold_in(jax.random.key(seed), 1)
        return jnp.square(jattn.performer_attention(*drawn(seed, scale), key, feature, order="full").out - truth).mean()

    found = []
    truths = {(scale, seed): exact(seed, scale) for scale in setting.scales for seed in range(setting.seeds)}
    for name, kind, count in (
        (a, b, c) for a in FEATURES for b in ("independent", "orthogonal") for c in setting.counts
    ):
        feature = of(FEATURES[name], count // 2 if name == "hyperbolic" else count, kind)
        for scale in setting.scales:
            held = [float(error(feature, seed, scale, truths[scale, seed])) for seed in range(setting.seeds)]
            row = {"feature": name, "kind": kind, "count": count, "scale": scale}
            found.append({**row, "errors": [float(f"{each:.4g}") for each in held]})
    for scale in setting.scales:
        held = [float(jnp.square(truths[scale, seed]).mean()) for seed in range(setting.seeds)]
        found.append({"feature": "none", "scale": scale, "errors": [float(f"{each:.4g}") for each in held]})
    return found


def _rounded(columns) -> dict[str, float]:
    return {name: float(f"{value:.{DIGITS}g}") for name, value in columns}


PARTS: dict[str, Callable[[Setting], list[dict]]] = {
    "lemma_2": lemma_2,
    "theorem_2": theorem_2,
    "figure_2": figure_2,
    "figure_4": figure_4,
}

if __name__ == "__main__":
    sys.exit(measures.main(sys.argv[1:], HERE, PARTS, FULL, SMALL))
