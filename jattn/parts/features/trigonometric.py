"""Sines and cosines of random projections, whose products are, on average, the exponentials of softmax.

Source: Rahimi, Recht, "Random Features for Large-Scale Kernel Machines", NeurIPS 2007, section 3; for attention:
Choromanski et al., "Rethinking Attention with Performers", ICLR 2021, arXiv:2009.14794, section 2.3.
Departs: no number is added to small denominators.
"""

import math

import jax.numpy as jnp

from jattn.part import Place, Side, part
from jattn.parts.features import Feature, Mapped, Role
from jattn.parts.features.favor import scaled
from jattn.parts.features.projections import Projection


@part
class Trigonometric(Feature):
    """Twice as many features as directions. Weights may be negative: good for short vectors, useless for long ones."""

    projection: Projection = Projection()

    def map(self, own: dict, side: Side, role: Role, place: Place) -> Mapped:
        vector, half = scaled(side.vector)
        projected = self.projection.onto(own["projection"], vector)
        share = math.log(projected.shape[-1]) / 2
        return jnp.concatenate([jnp.cos(projected), jnp.sin(projected)], -1), half - share
