"""Some rows at a time: what all rows at once give, their gradients, and no more of them in memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines.rows import over_rows
from jattn.part import Side
from tests.support import largest_intermediate

ROWS = 4


def side(tokens, **fields):
    vector = jnp.asarray(np.random.default_rng(0).normal(size=(tokens, 2, 3)), jnp.float32)
    numbers = np.arange(tokens)
    return Side(vector, numbers, numbers, None, None, tokens, {})._replace(**fields)


def pairs(key):
    """For each row the softmax over all keys, its largest key, and the number of tokens."""

    def some(query):
        weights = jax.nn.softmax(jnp.einsum("thd,shd->hts", query.vector, key), -1)
        return jnp.square(weights).sum(-1).T, query.position, jnp.full(len(query.position), query.length)

    return some


@pytest.mark.parametrize("tokens", [1, 4, 11])
def test_blocks_give_what_all_rows_give(tokens):
    query = side(tokens)
    found, position, length = over_rows(pairs(query.vector), query, ROWS)
    np.testing.assert_allclose(found, pairs(query.vector)(query)[0], rtol=1e-6)
    np.testing.assert_array_equal(position, np.arange(tokens))
    assert (length == tokens).all()

    def loss(vector, rows):
        # weighed, so that rows in a wrong place would show
        return (
            over_rows(pairs(vector), query._replace(vector=vector), rows)[0] * jnp.arange(2 * tokens).reshape(-1, 2)
        ).sum()

    one, other = (jax.grad(loss)(query.vector, rows) for rows in (ROWS, tokens))
    # float32: a dozen products of order 1
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_no_gradient_holds_all_pairs():
    tokens = 512

    def loss(query):
        return over_rows(pairs(query.vector), query, ROWS)[0].sum()

    given = side(tokens)
    assert largest_intermediate(jax.grad(lambda v: loss(given._replace(vector=v))), given.vector) < tokens**2
    assert largest_intermediate(jax.grad(lambda v: pairs(v)(given)[0].sum()), given.vector) >= tokens**2


def test_rows_keep_their_segment_and_extra():
    query = side(6, segment=np.arange(6) // 4, valid=np.arange(6) != 2, extra={"gate": np.arange(6.0)})
    segment, valid, gate = over_rows(lambda some: (some.segment, some.valid, some.extra["gate"]), query, ROWS)
    np.testing.assert_array_equal(segment, query.segment)
    np.testing.assert_array_equal(valid, query.valid)
    np.testing.assert_array_equal(gate, query.extra["gate"])
