"""The entropy of every row's weights, in the pass of the tiled engine and without values.

Source: Zhai et al., "Stabilizing Transformer Training by Preventing Attention Entropy Collapse", ICML 2023,
arXiv:2303.06296, section 3.
"""

from jaxtyping import Array, Float

from jattn.mechanisms import Layout, Mechanism
from jattn.mechanisms.attention import Attention, attend
from jattn.part import Variables


def attention_entropy(
    query: Float[Array, "*b t h d"],
    key: Float[Array, "*b s g d"],
    attention: Mechanism = Attention(),
    *,
    variables: Variables | None = None,
    layout: Layout | None = None,
) -> Float[Array, "*b t h"]:
    """In nats, with its gradient; 0 where a row sees no key. Arguments as in `attend`, memory linear in the length."""
    return attend(query, key, key[..., :0], attention, variables=variables, layout=layout).stats.entropy
