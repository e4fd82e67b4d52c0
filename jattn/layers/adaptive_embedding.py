"""Frequent tokens have wide vectors and rare ones narrow, on the way in and, by the same tables, on the way out.

Source: Baevski and Auli, "Adaptive Input Representations for Neural Language Modeling", ICLR 2019, arXiv:1809.10853,
section 3; Joulin, Cisse, Grangier, Jegou, "Efficient softmax approximation for GPUs", ICML 2017, arXiv:1609.04309,
section 4 (the first band and, in its place, each of the others as one more choice); which projections are shared, and
fresh arrays, as in fairseq (`AdaptiveInput`, `AdaptiveSoftmax` with `tie_proj`).
Departs: all log-probabilities are made, also those that no objective will read.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.layers.axes import Axes
from jattn.layers.embeddings import looked_up
from jattn.layers.product import product


def check_bands(owner: str, vocabulary: int, width: int, cutoffs: tuple[int, ...], factor: int) -> None:
    """Refuses bands without a token, and vectors without a number."""
    if not cutoffs or list(cutoffs) != sorted(set(cutoffs)) or cutoffs[0] < 1 or cutoffs[-1] >= vocabulary:
        raise ValueError(
            f"{owner}.cutoffs must rise between 0 and the vocabulary, {vocabulary}, got {cutoffs}; the most frequent "
            f"tokens come first, as in (20000, 60000), and without bands an embedding is 'tied'."
        )
    if factor < 1 or width // factor ** len(cutoffs) < 1:
        raise ValueError(
            f"{owner}.factor must be at least 1 and leave the rarest tokens a vector, got {factor} for a width of "
            f"{width} and {len(cutoffs) + 1} bands; use a smaller one."
        )


class AdaptiveEmbedding(nnx.Module):
    """Tokens below the first of the `cutoffs` have vectors of the whole width, each next band ones `factor` narrower.

    A projection widens each band's vectors; for logits those of the narrow bands narrow what is compared. A token is
    its widened vector times `scale`, by default the root of the width.

    Logits are log-probabilities over the whole vocabulary, in float32, so that every objective reads them: in the first
    band by a softmax of its tokens and of the other bands, in another the band's own and that of a softmax within it.
    They take the memory of any other logits, 4 v t bytes of t tokens, 6.6 GB of 6144 tokens and 267,735 words, though
    their products are fewer.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        cutoffs: tuple[int, ...] = (20_000, 60_000),
        factor: int = 4,
        scale: float | None = None,
        *,
        rngs: nnx.Rngs,
    ):
        check_bands("AdaptiveEmbedding", vocabulary, width, cutoffs, factor)
        self.scale = width**0.5 if scale is None else scale
        self.edges = (0, *cutoffs, vocabulary)
        widths = [width // factor**band for band in range(len(cutoffs) + 1)]
        xavier = jax.nn.initializers.xavier_uniform()
        self.tables = nnx.List([
            nnx.Param(jax.random.normal(rngs.params(), (stop - start, each)) * each**-0.5, axes=("vocabulary", "width"))
            for (start, stop), each in zip(pairwise(self.edges), widths, strict=True)
        ])  # fmt: skip
        self.projections = nnx.List([
            nnx.Param(xavier(rngs.params(), (each, width)), axes=(None, "width")) for each in widths
        ])  # fmt: skip
        # a logit of each band but the first
        self.bands = nnx.Param(xavier(rngs.params(), (width, len(cutoffs))), axes=("width", None))

    def __call__(self, tokens: Int[Array, "..."], dtype: DTypeLike, axes: Axes | None = None) -> Float[Array, "... m"]:
        found = []
        for start, stop, table in zip(self.edges[:-1], self.edges[1:], self.tables, strict=True):
            inside = (tokens >= start) & (tokens < stop)
            row = looked_up(table[...], jnp.clip(tokens - start, 0, stop - start - 1), dtype, axes)
            found.append(jnp.where(inside[..., None], row, 0))
        # one product, for all but one band are 0
        kernel = jnp.concatenate([projection[...] for projection in self.projections])
        return product(jnp.concatenate(found, -1), kernel) * jnp.asarray(self.scale, dtype)

    def logits(self, x: Float[Array, "... m"]) -> Float[Array, "... v"]:
        """Each token's log-probability, in float32."""
        first = product(x, self.tables[0][...].T, jnp.float32)
        chosen = jax.nn.log_softmax(jnp.concatenate([first, product(x, self.bands[...], jnp.float32)], -1))
        found = [chosen[..., : self.edges[1]]]
        for band in range(1, len(self.tables)):
            narrow = product(x, self.projections[band][...].T)
            within = jax.nn.log_softmax(product(narrow, self.tables[band][...].T, jnp.float32))
            found.append(within + chosen[..., self.edges[1] + band - 1, None])
        return jnp.concatenate(found, -1)
