"""Flax NNX layers: who owns weights, and what one layer hands to the next."""
