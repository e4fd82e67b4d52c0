"""Which calls go through `jax.nn`, and why the others do not. What `jax.nn` computes is held beside ours elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import jax_nn
from jattn.mechanisms.call import Given, read
from jattn.parts.masks.causal import Causal

ABSENT = Given(*(None,) * len(Given._fields))


def reasons(implementation, dtype=jnp.bfloat16, value=(2, 9, 2, 8), **others):
    arrays = {"query": jnp.zeros((2, 7, 4, 8), dtype), "key": jnp.zeros((2, 9, 2, 8), dtype)}
    given = ABSENT._replace(**arrays, value=jnp.zeros(value, dtype), implementation=implementation, **others)
    return jax_nn.refusals(read(given))


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"value": (2, 9, 2, 6)}, "its values have the shape of its keys"),
        ({"value": (2, 9, 1, 8)}, "its values have the shape of its keys"),
        ({"mask": Causal()}, "its mask is an array, not an object"),
        ({"return_residual": True}, "its residual has no gradient, and the precision of the inputs"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
@pytest.mark.parametrize("implementation", jax_nn.FORMS)
def test_what_neither_form_serves_exactly(implementation, others, said):
    assert reasons(implementation, **others) == [said]


def test_float64_is_refused():
    with jax.enable_x64(True):
        assert reasons("xla", jnp.float64) == ["its softmax of float64 is taken in float32"]


def test_the_xla_form_serves_the_rest():
    lengths = np.array([0, 9])
    assert not reasons(
        "xla",
        bias=jnp.zeros((4, 7, 9)),
        mask=np.ones((7, 9), bool),
        scale=jnp.ones(()),
        query_seq_lengths=lengths,
        key_value_seq_lengths=lengths,
        local_window_size=2,
    )


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"scale": jnp.ones(())}, "known when it is compiled"),
        ({"bias": jnp.zeros((4, 7, 9), jnp.float32)}, "dtype of the query, bfloat16, not float32"),
        ({"local_window_size": 2, "key_value_seq_lengths": np.array([3, 9])}, "a window holds no key"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_what_cudnn_does_not_serve_exactly(others, said):
    (reason,) = reasons("cudnn", **others)
    assert said in reason


def test_cudnn_refuses_a_window_only_where_it_may_hold_no_key(monkeypatch):
    monkeypatch.setattr(jax_nn, "out", lambda call, sees: call.arrays.query)
    assert not reasons("cudnn", local_window_size=0)
    query = jnp.zeros((2, 12, 4, 8), jnp.bfloat16)
    given = ABSENT._replace(query=query, key=query[:, :9], value=query[:, :9], implementation="cudnn")
    for left, refused in ((3, False), (2, True)):
        # the last of 12 queries sees 3 tokens back the last of 9 keys
        assert bool(jax_nn.refusals(read(given._replace(local_window_size=(left, 0))))) is refused


def test_forward_mode_through_cudnn_names_dense(monkeypatch):
    monkeypatch.setattr(jax.nn, "dot_product_attention", lambda query, *_, **__: query)
    query = jnp.zeros((2, 7, 4, 8))

    def out(query):
        return jax_nn.out(read(ABSENT._replace(query=query, key=query, value=query, implementation="cudnn")), None)

    assert (jax.grad(lambda query: out(query).sum())(query) == 1).all()
    with pytest.raises(TypeError, match="pass implementation='dense'"):
        jax.jvp(out, (query,), (query,))


def test_what_jax_nn_says_itself_is_the_reason(monkeypatch):
    def refuse(call, sees):
        raise NotImplementedError("The head dim must be <= 128.\nMore.")

    monkeypatch.setattr(jax_nn, "out", refuse)
    assert reasons("cudnn") == ["The head dim must be <= 128"]
