"""Features that are positive and cheap: elu(x) + 1, x + 1 above 0 and exp(x) below.

Source: Katharopoulos, Vyas, Pappas, Fleuret, "Transformers are RNNs: Fast Autoregressive Transformers with Linear
Attention", ICML 2020, arXiv:2006.16236, equation 7.
"""

import jax

from jattn.part import Place, Side, part
from jattn.parts.features import Feature, Mapped, Role


@part
class Elu(Feature):
    """As many features as the width; there is nothing to choose."""

    def map(self, own: dict, side: Side, role: Role, place: Place) -> Mapped:
        return jax.nn.elu(side.vector) + 1, None
