"""Convolutions before attention: the sums written out, segments, padding, decoding, what parts project, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.delta import DeltaAttention
from jattn.mechanisms.linear import LinearAttention
from jattn.mechanisms.short_convolution import ShortConvolution
from jattn.part import Dims, Variables
from jattn.parts.features.elu import Elu
from jattn.parts.masks.causal import Causal
from tests.support import compiled_attend as attend

TOKENS, DIMS = 13, Dims(4, 2, 1, 6, 5)
random = np.random.default_rng(0)
QKV = [random.normal(size=(TOKENS, *each)).astype(np.float32) for each in ((4, 6), (2, 6), (1, 5))]
KERNELS = {
    name: random.normal(size=(4, *x.shape[1:])).astype(np.float32)
    for name, x in zip(("query", "key", "value"), QKV, strict=True)
}
INNER = LinearAttention(Elu())
CONVOLVED = ShortConvolution(INNER)


def convolved(heard=lambda t, u: True):
    """Sums over four tokens, token by token, of those that a row hears."""
    out = []
    for x, kernel in zip(QKV, KERNELS.values(), strict=True):
        rows = [sum(kernel[t - u] * x[u] for u in range(max(0, t - 3), t + 1) if heard(t, u)) for t in range(TOKENS)]
        out.append(np.stack([row + np.zeros_like(x[0]) for row in rows]))
    return out


def test_it_is_attention_of_what_was_summed():
    found = attend(*QKV, CONVOLVED, variables=Variables(KERNELS, {}))
    np.testing.assert_allclose(found.out, attend(*convolved(), INNER).out, atol=1e-5)


def test_it_starts_as_attention_alone():
    for inner in (INNER, Attention(mask=Causal())):
        attention = ShortConvolution(inner)
        fresh = attention.init(jax.random.key(0), DIMS)
        np.testing.assert_array_equal(attend(*QKV, attention, variables=fresh).out, attend(*QKV, inner).out)


def test_no_segment_hears_the_one_before():
    segments = np.repeat([3, 1, 3], [5, 2, 6])
    run = np.repeat([0, 1, 2], [5, 2, 6])
    layout = Layout(segments=segments)
    found = attend(*QKV, CONVOLVED, variables=Variables(KERNELS, {}), layout=layout)
    want = attend(*convolved(lambda t, u: run[t] == run[u]), INNER, layout=layout)
    np.testing.assert_allclose(found.out, want.out, atol=1e-5)


def test_padding_counts_as_nothing():
    valid = np.arange(TOKENS) % 5 != 2
    layout, variables = Layout(valid=jnp.asarray(valid)), Variables(KERNELS, {})
    junk = [np.where(valid[:, None, None], x, np.nan) for x in QKV]
    found = attend(*junk, CONVOLVED, variables=variables, layout=layout)
    want = attend(*convolved(lambda t, u: valid[u]), INNER, layout=layout)
    np.testing.assert_allclose(found.out, want.out, atol=1e-5)


@pytest.mark.parametrize(
    "inner",
    [pytest.param(INNER, id="linear"), pytest.param(Attention(mask=Causal()), id="exact", marks=pytest.mark.slow)],
)
def test_decoding_in_pieces_is_one_pass(inner):
    attention, segments = ShortConvolution(inner), np.repeat([3, 1], [8, 5])
    variables = Variables(KERNELS, {})
    want = attend(*QKV, attention, variables=variables, layout=Layout(segments=segments))
    dims = Dims(4, 2, 1, 6, 5, length=TOKENS)
    state, out = attention.state(dims, jnp.float32, attention.own(variables)), []
    for first, last in ((0, 1), (1, 6), (6, 7), (7, 13)):
        layout, piece = Layout(segments=segments[first:last]), [x[first:last] for x in QKV]
        found = attend(*piece, attention, variables=variables, layout=layout, state=state)
        state = found.state
        out.append(found.out)
    np.testing.assert_allclose(np.concatenate(out), want.out, atol=1e-5)


def test_what_the_attention_projects_reaches_it():
    attention = ShortConvolution(DeltaAttention())
    dims = Dims(4, 2, 1, 6, 5, model_width=8)
    variables = attention.init(jax.random.key(0), dims)
    assert variables.params["inner"]["kernel"].shape == (8, 2)
    x = jnp.asarray(random.normal(size=(TOKENS, 8)), jnp.float32)
    extra = attention.project(attention.own(variables), x)
    found = attend(*QKV, attention, variables=variables, layout=Layout(extra=extra))
    inner = DeltaAttention()
    beta = inner.project(inner.own(Variables(variables.params["inner"], {})), x)
    # a kernel of 1 now and 0 before changes no number, but two programs sum in orders of their own
    np.testing.assert_allclose(found.out, attend(*QKV, inner, layout=Layout(extra=beta)).out, rtol=1e-5, atol=1e-7)


def test_refusals():
    with pytest.raises(ValueError, match="size must be at least 2 tokens, got 1; the paper's is 4"):
        ShortConvolution(INNER, size=1)
    query, key, value = QKV
    with pytest.raises(ValueError, match="one line of tokens, got 13 queries and 12 keys; convolve self-attention"):
        attend(query, key[:12], value[:12], CONVOLVED, variables=Variables(KERNELS, {}))
    assert ShortConvolution(LinearAttention(order="full")).looks_ahead(DIMS) == "inner.order causal"
