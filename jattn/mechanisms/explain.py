"""Says which implementation serves a call of `dot_product_attention`, and why each other one does not.

Source: Lefaudeux et al., "xFormers: A modular and hackable Transformer modelling library", 2022 (its dispatch names
the reason for which each operator was passed over); the signature is that of `jax.nn.dot_product_attention`.
"""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int

from jattn.mechanisms.call import IMPLEMENTATIONS, Given
from jattn.mechanisms.dot_product import refusals, resolved
from jattn.parts.masks import Mask

# of those that could serve a call as well
PASSED_OVER = {
    "tiled": "another is asked for by name, or serves this call on a GPU",
    "dense": "only by name, since its memory grows with queries times keys",
    "xla": "only by name, since its memory grows with queries times keys",
    "cudnn": "another is asked for by name",
    "tokamax": "only by name, since it is another library, and chooses its kernel itself",
}


class Explanation(NamedTuple):
    """The implementation that serves a call, None where the one asked for cannot, and why each other one does not."""

    implementation: str | None
    reasons: dict[str, str]

    def __str__(self) -> str:
        first = f"{self.implementation or 'Nothing'} serves this call."
        return "\n".join([first, *(f"{name} does not: {why}." for name, why in self.reasons.items())])


def explain(
    query: Float[Array, "*b t h d"],
    key: Float[Array, "*b s g d"],
    value: Float[Array, "*b s j e"],
    bias: Float[Array, "... #h #t #s"] | None = None,
    mask: Bool[Array, "... #h #t #s"] | Mask | None = None,
    *,
    scale: float | Float[Array, ""] | None = None,
    is_causal: bool = False,
    query_seq_lengths: Int[Array, "*b"] | None = None,
    key_value_seq_lengths: Int[Array, "*b"] | None = None,
    local_window_size: int | tuple[int, int] | None = None,
    implementation: str | None = None,
    return_residual: bool = False,
) -> Explanation:
    """What `dot_product_attention` would do with the same arguments; nothing is computed.

    Raises ValueError and TypeError as that does for arguments that no implementation serves.
    """
    call = resolved(
        Given(
            query,
            key,
            value,
            bias,
            mask,
            scale,
            is_causal,
            query_seq_lengths,
            key_value_seq_lengths,
            local_window_size,
            implementation,
            return_residual,
        )
    )
    asked, serves, reasons = call.options.implementation, None, {}
    for name in IMPLEMENTATIONS:
        unable = refusals(call._replace(options=call.options._replace(implementation=name)))
        if name == asked and not unable:
            serves = name
        else:
            reasons[name] = "; ".join(unable) or PASSED_OVER[name]
    return Explanation(serves, reasons)
