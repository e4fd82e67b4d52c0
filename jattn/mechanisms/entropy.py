"""The entropy of every row's weights, in the pass of the tiled engine and without values.

Source: Zhai et al., "Stabilizing Transformer Training by Preventing Attention Entropy Collapse", ICML 2023,
arXiv:2303.06296, section 3.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jattn.mechanisms import Layout, Mechanism
from jattn.mechanisms.attention import Attention, attend
from jattn.mechanisms.weights import attention_weights, chosen
from jattn.numerics import divide, x_log_x
from jattn.part import Variables


def attention_entropy(
    query: Float[Array, "*b t h d"],
    key: Float[Array, "*b s g d"],
    attention: Mechanism = Attention(),
    *,
    variables: Variables | None = None,
    layout: Layout | None = None,
    rows: slice | Int[np.ndarray, " r"] | None = None,
) -> Float[Array, "*b r h"]:
    """In nats, with its gradient; 0 where a row sees no key. Arguments as in `attend`, memory linear in the length.

    `rows` is what NumPy indexes an axis with, known when traced; None is all. A mechanism that makes no weights, as
    linear attention, has those of these rows made here, in memory that grows with r times s: a few rows, drawn or
    evenly apart, say what the entropy of a long text is. Weights below zero count by their size.
    """
    if isinstance(attention, Attention):
        found = attend(query, key, key[..., :0], attention, variables=variables, layout=layout).stats.entropy
        return found if rows is None else found[..., chosen(query.shape[-3], rows), :]
    size = jnp.abs(attention_weights(query, key, attention, variables=variables, layout=layout, rows=rows))
    share = divide(size, size.sum(-1, keepdims=True))
    return -x_log_x(share).sum(-1).swapaxes(-1, -2)
