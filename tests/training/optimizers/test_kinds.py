"""Tests which arrays count as matrices of layers."""

import jax.numpy as jnp

from jattn.training.optimizers.kinds import labels


def test_names_and_axes_decide():
    params = {
        "embedding": {"table": jnp.ones((5, 4))},
        "head": {"table": jnp.ones((4, 5))},
        "kernels": {"beside": {"stack": {"repeat": {"0": {"feedforward": {"up": {"gain": jnp.ones(3)}}}}}}},
        "stack": {
            "first": {0: {"feedforward": {"up": jnp.ones((4, 8))}}},
            "repeat": {
                0: {
                    "feedforward": {"up": jnp.ones((3, 4, 8))},
                    "mixer": {
                        "projecting": {
                            "query": jnp.ones((3, 4, 4)),
                            "bias": jnp.ones((3, 2, 2)),
                            "offset": jnp.ones((3, 2, 4)),
                            "recurrence": {"transition": {"delta": jnp.ones((3, 4, 16))}},
                        },
                        "attending": {"position": {"table": jnp.ones((3, 4, 4))}},
                    },
                    "before_mixer": {"inner": {"scale": jnp.ones((3, 4))}},
                }
            },
        },
    }
    assert labels(params) == {
        "embedding": {"table": "rest"},
        "head": {"table": "head"},
        "kernels": {"beside": {"stack": {"repeat": {"0": {"feedforward": {"up": {"gain": "rest"}}}}}}},
        "stack": {
            "first": {0: {"feedforward": {"up": "matrix"}}},
            "repeat": {
                0: {
                    "feedforward": {"up": "matrix"},
                    "mixer": {
                        "projecting": {
                            "query": "matrix",
                            "bias": "rest",
                            "offset": "rest",
                            "recurrence": {"transition": {"delta": "rest"}},
                        },
                        "attending": {"position": {"table": "rest"}},
                    },
                    "before_mixer": {"inner": {"scale": "rest"}},
                }
            },
        },
    }
