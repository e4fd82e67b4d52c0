"""Calls through tokamax beside the dense engine, and through a stand-in that is harsher than it to empty rows."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import tokamax
from jattn.mechanisms.call import Given, read
from jattn.mechanisms.dot_product import dot_product_attention
from jattn.parts.masks.causal import Causal

ABSENT = Given(*(None,) * len(Given._fields))
T, S, H, G = 7, 9, 4, 2


def draw(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def given(dtype=jnp.float32, keys=S, value_heads=G, **others):
    shapes = {"query": (T, H, 8), "key": (keys, G, 8), "value": (keys, value_heads, 5)}
    arrays = {name: draw(2, *shape, seed=n) for n, (name, shape) in enumerate(shapes.items())}
    arrays = {name: x.astype(dtype) for name, x in arrays.items()}
    return ABSENT._replace(**arrays, implementation="tokamax", **others)


def kernel(query, key, value, bias, mask, *, scale, is_causal, key_value_seq_lengths, local_window_size):
    """tokamax's arguments; a row without keys is 0/0, in its output and in every gradient."""
    key, value = (jnp.repeat(x, H // G, axis=-2) for x in (key, value))
    keys = np.arange(key.shape[1])
    ahead = keys - np.arange(T)[:, None]
    seen = True if mask is None else mask
    seen = seen & (ahead <= 0) if is_causal else seen
    if key_value_seq_lengths is not None:
        seen = seen & (keys < key_value_seq_lengths[:, None, None, None])
    if local_window_size is not None:
        seen = seen & (ahead >= -local_window_size[0]) & (ahead <= local_window_size[1])
    logits = (8**-0.5 if scale is None else scale) * jnp.einsum("bthd,bshd->bhts", query, key)
    logits = jnp.where(seen, logits if bias is None else logits + bias, -jnp.inf)
    weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True)))
    return jnp.einsum("bhts,bshd->bthd", weights / weights.sum(-1, keepdims=True), value)


@pytest.fixture(params=["tokamax", "stand-in"])
def served(request, monkeypatch):
    if request.param == "stand-in":
        monkeypatch.setattr(tokamax, "library", lambda: types.SimpleNamespace(dot_product_attention=kernel))
    else:
        pytest.importorskip("tokamax", reason="it is in the extra `bench`")
    # both add masks of several ranks
    with jax.numpy_rank_promotion("allow"):
        yield


# rows 2 and 5 see no key, row 0 none that is not in its future
MASK = np.random.default_rng(3).random((2, H, T, S)) < 0.6
MASK[:, :, [2, 5]] = False
MASK[:, :, 0, 0] = False
CASES = {
    "scale": {"scale": 0.3, "key_value_seq_lengths": np.array([0, 9])},
    "bias": {"bias": draw(H, T, S, seed=4), "is_causal": True, "query_seq_lengths": np.array([3, 0])},
    "bias of the keys": {
        "bias": draw(2, 1, 1, S, seed=4),
        "mask": MASK[0, 0],
        "key_value_seq_lengths": np.array([2, 9]),
    },
    "mask of heads": {"mask": MASK, "is_causal": True},
    "window": {"keys": T, "mask": MASK[:, :1, :, :T], "local_window_size": (3, 1)},
}


def both_ways(arguments: Given, implementation):
    """The output, and gradients of a sum that reads every number of it, of all arrays that are floating."""
    arrays = [x for x in arguments[:4] if x is not None]
    fixed = arguments._replace(implementation=implementation)[len(arrays) :]

    @jax.jit
    def of(*arrays):
        out, pull = jax.vjp(lambda *x: dot_product_attention(*x, **dict(zip(names, fixed, strict=True))), *arrays)
        return out, *pull(draw(*out.shape, seed=8).astype(out.dtype))

    names = Given._fields[len(arrays) :]
    return of(*arrays)


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_the_dense_engine(case, served):
    got, want = (both_ways(given(**CASES[case]), name) for name in ("tokamax", "dense"))
    assert len(got) == 4 + ("bias" in CASES[case])
    # two float32 results, each some units in the last place off
    for a, b in zip(want, got, strict=True):
        np.testing.assert_allclose(a, b, atol=4e-6)


def test_bfloat16_comes_back_as_bfloat16_rounded_a_few_times(served):
    got, want = both_ways(given(jnp.bfloat16), "tokamax"), both_ways(given(jnp.bfloat16), "dense")
    for a, b in zip(want, got, strict=True):
        assert b.dtype == jnp.bfloat16
        a, b = (np.asarray(x, np.float32) for x in (a, b))
        # inputs, weights, their gradients and results are rounded to 8 bits, once each in either
        assert np.abs(a - b).max() <= 8 * 2.0**-8 * np.abs(a).max()


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"mask": Causal()}, "its mask is an array, not an object"),
        ({"value_heads": 1}, "its values have as many heads as its keys"),
        ({"scale": jnp.ones(())}, "its scale is a number that is known when it is compiled"),
        ({"return_residual": True}, "it returns no residual"),
        ({"dtype": jnp.float16}, "its products of float16 need a GPU"),
        ({"local_window_size": 2}, "its windows are those of as many queries as keys"),
        (
            {"keys": T, "local_window_size": 2, "key_value_seq_lengths": np.array([3, 7])},
            "its gradient is not known to be finite where a window holds no key",
        ),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_what_it_does_not_serve_exactly(others, said):
    assert tokamax.refusals(read(given(**others))) == [said]


def test_float64_is_refused():
    with jax.enable_x64(True):
        assert tokamax.refusals(read(given(jnp.float64))) == ["its kernels sum float64 in float32"]


def test_where_it_is_not_installed_the_refusal_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokamax", None)
    needs = r"it needs tokamax, which is not installed; pip install \"jattn\[bench\]\" brings it; leave it out"
    with pytest.raises(ValueError, match=f"^implementation='tokamax' cannot serve this call: {needs}[^.]*\\.$"):
        dot_product_attention(*given()[:3], implementation="tokamax")


def test_what_it_says_itself_is_the_reason(monkeypatch):
    def refuse(*_, **__):
        raise NotImplementedError("Only 128 wide.\nMore.")

    monkeypatch.setattr(tokamax, "library", lambda: types.SimpleNamespace(dot_product_attention=refuse))
    assert tokamax.refusals(read(given())) == ["Only 128 wide"]


def test_forward_mode_names_dense(served):
    with pytest.raises(TypeError, match="pass implementation='dense'"):
        jax.jvp(lambda q: dot_product_attention(q, *given()[1:3], implementation="tokamax"), *2 * [given()[:1]])
