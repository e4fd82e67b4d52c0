"""The matrix of every linear map of Flax: what the layer computes on basis vectors, one after the other."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.kernels import kernels

LAYERS = {
    "linear": (nnx.Linear(5, 3, use_bias=False, rngs=nnx.Rngs(0)), (5,)),
    "to heads": (nnx.LinearGeneral(5, (2, 3), use_bias=False, rngs=nnx.Rngs(0)), (5,)),
    "from heads": (nnx.LinearGeneral((2, 3), 5, axis=(-2, -1), use_bias=False, rngs=nnx.Rngs(0)), (2, 3)),
    "einsum": (nnx.Einsum("bm,hmd->bhd", (2, 5, 3), rngs=nnx.Rngs(0)), (5,)),
    "einsum from heads": (nnx.Einsum("bhd,mhd->bm", (5, 2, 3), rngs=nnx.Rngs(0)), (2, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_matrix_is_what_the_layer_computes(name):
    layer, given = LAYERS[name]
    (kernel,) = kernels(layer).values()
    each = np.eye(np.prod(given), dtype=np.float32).reshape(-1, *given)
    np.testing.assert_allclose(kernel.matrix(), layer(jnp.asarray(each)).reshape(len(each), -1), rtol=1e-6)
    np.testing.assert_array_equal(kernel.array(kernel.matrix()), layer.kernel[...])


def test_a_letter_on_all_sides_counts_maps():
    layer = nnx.Einsum("bhd,hde->bhe", (2, 3, 4), rngs=nnx.Rngs(0))
    (kernel,) = kernels(layer).values()
    assert kernel.maps == 1
    np.testing.assert_array_equal(kernel.matrix(), layer.kernel[...])


def test_of_a_convolution_all_taps_are_inputs():
    layer = nnx.Conv(6, 8, (3,), rngs=nnx.Rngs(0))
    (kernel,) = kernels(layer).values()
    np.testing.assert_array_equal(kernel.matrix(), layer.kernel[...].reshape(18, 8))


def test_layers_stacked_by_flax_are_maps_apart():
    make = nnx.vmap(lambda rngs: nnx.LinearGeneral(5, (2, 3), rngs=rngs))
    layer = make(nnx.Rngs(0).split(4))
    (kernel,) = kernels(nnx.List([layer])).values()
    assert kernel.matrix().shape == (4, 5, 6)
