"""The norms in front of each half of a block: statistics in float32, the result in the dtype of the input.

Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019, arXiv:1910.07467, equation 4; Ba et
al., "Layer Normalization", 2016, arXiv:1607.06450, section 3; Qin et al., "Scaling TransNormer to 175 Billion
Parameters", 2023, arXiv:2307.14995 (SRMSNorm, without gains); Nguyen and Salazar, "Transformers without Tears", IWSLT
2019, arXiv:1910.05895 (ScaleNorm), by the mean square as in Mega's released code; Ioffe and Szegedy, "Batch
Normalization", ICML 2015, arXiv:1502.03167, section 3.
Departs: the running averages of the batch norm weigh the steps that there were, not the zeros and ones before them.
"""

from typing import Any, Literal, get_args

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from jattn.layers.buffers import Buffer
from jattn.numerics import divide, known, wide
from jattn.part import Rng

Kind = Literal["rms", "layer", "scale", "batch", "simple_rms", "none"]
Gains = Literal["learned", "none"]
# under the root
EPSILON = 1e-6
# share of the running averages that a step leaves as it was
MOMENTUM = 0.9


def simple_rms(
    x: Float[Array, "... m"], epsilon: float = EPSILON, gain: float | Float[Array, ""] = 1.0
) -> Float[Array, "... m"]:
    """x divided by the root of its mean square: of length sqrt(m), whatever its own, times one number."""
    kind = wide(x.dtype)
    square = jnp.square(x.astype(kind)).mean(-1, keepdims=True)
    return (gain * x.astype(kind) * lax.rsqrt(square + epsilon)).astype(x.dtype)


def moments(x: Float[Array, "... m"]) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
    """Mean and variance of each feature over all axes in front, in at least float32."""
    kind, over = wide(x.dtype), tuple(range(x.ndim - 1))
    mean = x.mean(over, dtype=kind)
    # E x^2 - (E x)^2 cancels where the mean is large
    return mean, jnp.square(x.astype(kind) - _across(mean, x)).mean(over)


class Norm(nnx.Module):
    """With a learned gain for each feature, "scale" with one for all; "layer" and "batch" have learned shifts too,
    "simple_rms" neither, and "none" changes nothing. With `gains` "none" any kind learns neither.

    "batch" is over all tokens of a batch, padded ones included, on all devices: with `rng`, which is in training, by
    the statistics of the batch, and without by the running averages of earlier steps, which `refresh` renews from what
    `observed` gave. `epsilon` stands beside the mean square or the variance.
    """

    def __init__(self, kind: Kind, width: int, epsilon: float = EPSILON, gains: Gains = "learned", *, rngs: nnx.Rngs):
        if kind not in get_args(Kind):
            raise ValueError(f"A norm must be one of {', '.join(get_args(Kind))}, got {kind!r}; 'rms' is the default.")
        if not epsilon > 0:
            raise ValueError(f"A norm's epsilon must be above 0, got {epsilon}; {EPSILON} is the default.")
        if gains not in get_args(Gains):
            raise ValueError(f"A norm's gains must be 'learned' or 'none', got {gains!r}; 'learned' is the default.")
        self.kind = kind
        self.epsilon = epsilon
        # fast variance, E x^2 - (E x)^2, cancels where the mean is large
        options: dict[str, Any] = {"epsilon": epsilon, "use_fast_variance": False, "use_scale": gains == "learned"}
        if kind == "rms":
            self.inner = nnx.RMSNorm(width, **options, rngs=rngs)
        elif kind == "layer":
            self.inner = nnx.LayerNorm(width, use_bias=gains == "learned", **options, rngs=rngs)
        else:
            self.inner = None
        learned = kind in ("scale", "batch") and gains == "learned"
        self.gain = nnx.Param(jnp.ones(() if kind == "scale" else width)) if learned else None
        self.shift = nnx.Param(jnp.zeros(width)) if learned and kind == "batch" else None
        if kind == "batch":
            self.mean, self.variance = Buffer(jnp.zeros(width)), Buffer(jnp.ones(width))
            self.steps = Buffer(jnp.zeros((), jnp.int32))

    def __call__(self, x: Float[Array, "... m"], rng: Array | Rng | None = None) -> Float[Array, "... m"]:
        if self.inner is not None:
            return self.inner(x).astype(x.dtype)
        if self.kind == "batch":
            return self._batch(x, *(self._kept() if rng is None else moments(x)))
        if self.kind == "none":
            return x
        return simple_rms(x, self.epsilon, 1.0 if self.gain is None else self.gain[...])

    def observed(self, x: Float[Array, "... m"], rng: Array | Rng | None) -> dict:
        """The tokens that a call with these arguments sees, the sum of each feature beyond its running mean, and the
        sum of squares of that; empty where a call sees none or needs none."""
        if self.kind != "batch" or rng is None:
            return {}
        mean, variance = lax.stop_gradient(moments(x))
        count = jnp.asarray(x.size // x.shape[-1], mean.dtype)
        beyond = mean - self.mean[...]
        return {"count": count, "total": count * beyond, "squares": count * (variance + jnp.square(beyond))}

    def refresh(self, observed: dict) -> None:
        """Renews the running averages from what a step observed, if anything; sums of several calls are one."""
        if self.kind != "batch" or not observed:
            return
        count, steps = observed["count"], self.steps[...]
        beyond = divide(observed["total"], count)
        # what does not vary may be a rounding below 0
        variance = jnp.maximum(divide(observed["squares"], count) - jnp.square(beyond), 0)
        # as the reference has it, the average is of what the batch says about the variance of all there is
        variance *= count / jnp.maximum(count - 1, 1)
        # of n steps the last one weighs (1 - momentum) / (1 - momentum^n): before the first there was nothing
        share = jnp.where(steps > 0, (1 - MOMENTUM) / (1 - MOMENTUM ** (steps + 1.0)), 1)
        share = jnp.where(count > 0, share, 0).astype(beyond.dtype)
        self.mean[...] += share * beyond
        self.variance[...] = (1 - share) * self.variance[...] + share * variance
        self.steps[...] = steps + (count > 0)

    def _kept(self) -> tuple[Array, Array]:
        steps = known(self.steps[...])
        if steps is not None and steps == 0:
            raise ValueError(
                "A batch norm evaluates by the averages of training, got a model that no step has refreshed; train it, "
                "or give rng= to use the statistics of the batch."
            )
        return self.mean[...], self.variance[...]

    def _batch(self, x: Array, mean: Array, variance: Array) -> Array:
        factor = lax.rsqrt(variance + self.epsilon)
        if self.gain is not None:
            factor *= self.gain[...]
        y = (x.astype(factor.dtype) - _across(mean, x)) * _across(factor, x)
        return (y if self.shift is None else y + _across(self.shift[...], x)).astype(x.dtype)


def _across(vector: Float[Array, " m"], x: Float[Array, "... m"]) -> Float[Array, "... m"]:
    return vector[(None,) * (x.ndim - 1)]
