"""Random directions that features project on: drawn once, kept beside what is learned, drawn anew as training goes.

Source: Choromanski et al., "Rethinking Attention with Performers", ICLR 2021, arXiv:2009.14794, section 2.4
(orthogonal), figure 5 (drawn anew), appendix B.2 (Givens, Hadamard), appendix A.3 (256 directions).
Departs: rows of orthogonal blocks are uniform on the sphere, where the released code keeps the signs of Householder's
QR, which biases exponentials by some 14 %; every block has a key of its own, where released Givens blocks are alike;
rotations turn two different rows by any angle, where they may coincide and turn by up to pi; directions change by an
explicit key every 1000 training steps, where the released code draws from a sum of the data in each call. Structured
blocks are held as matrices, whose products are quicker at the widths of heads.
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from jattn.part import Dims, Part, part


def independent(rng: Array, width: int) -> Float[Array, "d d"]:
    """Rows of length 1, each uniform on the sphere and independent of the others."""
    rows = jax.random.normal(rng, (width, width))
    return rows / jnp.linalg.norm(rows, axis=1, keepdims=True)


def orthogonal(rng: Array, width: int) -> Float[Array, "d d"]:
    """Uniform among all orthogonal matrices (Haar)."""
    q, r = jnp.linalg.qr(jax.random.normal(rng, (width, width)))
    # QR is unique once the diagonal of R is positive; as LAPACK gives it, entry (0, 0) of Q is never positive
    return (q * jnp.where(jnp.diagonal(r) < 0, -1, 1)[None]).T


def givens(rng: Array, width: int) -> Float[Array, "d d"]:
    """d ceil(ln d) rotations, each of two rows by a random angle."""
    turns = width * math.ceil(math.log(width))
    keys = jax.random.split(rng, 3)
    one = jax.random.randint(keys[0], (turns,), 0, width)
    other = (one + jax.random.randint(keys[1], (turns,), 1, width)) % width
    angle = jax.random.uniform(keys[2], (turns,), minval=-math.pi, maxval=math.pi)
    rotation = jnp.stack([jnp.cos(angle), jnp.sin(angle), -jnp.sin(angle), jnp.cos(angle)], -1).reshape(-1, 2, 2)

    def turn(block, given):
        pair, rotation = given
        return block.at[pair].set(jnp.matmul(rotation, block[pair], precision=lax.Precision.HIGHEST)), None

    return lax.scan(turn, jnp.eye(width), (jnp.stack([one, other], -1), rotation))[0]


def hadamard(rng: Array, width: int) -> Float[Array, "d d"]:
    """Three factors, each random signs and then a normalized Hadamard matrix; the width is a power of two."""
    matrix = np.ones((1, 1), np.float32)
    while len(matrix) < width:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    first, second, third = (matrix / math.sqrt(width))[None].astype(np.float32) * jax.random.rademacher(
        rng, (3, 1, width), jnp.float32
    )
    product = jnp.matmul(first, second, precision=lax.Precision.HIGHEST)
    return jnp.matmul(product, third, precision=lax.Precision.HIGHEST)


BLOCKS = {"orthogonal": orthogonal, "independent": independent, "givens": givens, "hadamard": hadamard}

# what is shorter is what rounding left of 0: squares of lengths are multiples of a power of the width
LEAST = 1e-4


@part
class Projection(Part):
    """`count` directions, in blocks of as many as the width, each block orthogonal in all kinds but "independent".

    `ortho_scaling` 0 gives rows the lengths of Gaussian vectors, so that exponentials are unbiased for "orthogonal" and
    "independent"; no bias of "hadamard" was measured, and "givens", whose rows are not uniform on the sphere, is off by
    a few percent (5 in the worst of 20 pairs, at 8 directions of width 8). 1 gives all rows the square root of the
    width, which is the regularized kernel SMREG. `redraw` counts training steps from one draw to the next; 0 keeps the
    first. Blocks of "hadamard" are of the next power of two, less the columns beyond the width: they are orthogonal
    where there are none.
    """

    count: int = 256
    kind: Literal["orthogonal", "independent", "givens", "hadamard"] = "orthogonal"
    ortho_scaling: Literal[0, 1] = 0
    redraw: int = 1000

    def __post_init__(self):
        if self.count < 1:
            raise ValueError(f"Projection.count must be at least 1, got {self.count}; the paper takes 256 features.")
        if self.kind not in BLOCKS:
            raise ValueError(
                f"Projection.kind must be one of {', '.join(BLOCKS)}, got {self.kind!r}; the default is orthogonal."
            )
        if self.ortho_scaling not in (0, 1):
            raise ValueError(
                f"Projection.ortho_scaling must be 0 or 1, got {self.ortho_scaling!r}; 0 is for lengths of Gaussian "
                f"vectors, 1 is SMREG."
            )
        if self.redraw < 0:
            raise ValueError(f"Projection.redraw must be at least 0 steps, got {self.redraw}; 0 keeps the first draw.")

    def buffers(self, rng: Array, dims: Dims) -> dict:
        return {"matrix": self.draw(rng, dims.key_width)}

    def refresh(self, own: dict, observed: dict, rng: Array, step: Int[Array, ""]) -> dict:
        if not self.redraw:
            return {}
        due = (step > 0) & (step % self.redraw == 0)
        kept = own["matrix"]
        return {"matrix": lax.cond(due, lambda: self.draw(rng, kept.shape[1]).astype(kept.dtype), lambda: kept)}

    def draw(self, rng: Array, width: int) -> Float[Array, "r d"]:
        """Fresh rows for vectors of that width."""
        if self.kind == "givens" and width < 2:
            raise ValueError(f"Rotations turn two rows, got heads of width {width}; use kind='orthogonal'.")
        full = 2 ** math.ceil(math.log2(width)) if self.kind == "hadamard" else width
        turned, lengths = jax.random.split(rng)
        keys = jax.random.split(turned, -(-self.count // full))
        rows = jax.vmap(lambda key: BLOCKS[self.kind](key, full))(keys).reshape(-1, full)[: self.count]
        if not self.ortho_scaling:
            scale = jnp.linalg.norm(jax.random.normal(lengths, rows.shape), axis=1, keepdims=True)
            return (scale * rows)[:, :width]
        if full > width:
            rows = rows[:, :width]
            left = jnp.linalg.norm(rows, axis=1, keepdims=True)
            # a row may lie in the columns that are left out, as one in 16 of width 3: then any direction is as good
            some = jax.random.rademacher(lengths, rows.shape, rows.dtype) / math.sqrt(width)
            rows = jnp.where(left > LEAST, rows / jnp.where(left > LEAST, left, 1), some)
        return math.sqrt(width) * rows

    def onto(self, own: dict, vector: Float[Array, "c h d"]) -> Float[Array, "c h r"]:
        """The products with every direction."""
        # they are exponents: a TPU would round them to three digits
        return jnp.einsum("chd,rd->chr", vector, own["matrix"].astype(vector.dtype), precision=lax.Precision.HIGHEST)
