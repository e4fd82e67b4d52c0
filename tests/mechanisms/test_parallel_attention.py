"""Attention over pieces against weights written out in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms.attention import Attention
from jattn.mechanisms.parallel_attention import parallel_attention
from jattn.parts.normalizers.sigmoid import Sigmoid
from tests.support import compiled_attend as attend
from tests.support import float64, largest_intermediate  # noqa: F401

LENGTHS = (7, 9, 6)
# compiles fastest; the contracts hold that the tiled engine gives the same
DENSE = Attention(implementation="dense")


@functools.partial(jax.jit, static_argnames="kept")
def call(query, pieces, always=(), kept=None):
    return parallel_attention(query, pieces, DENSE, always=always, kept=kept)


def made(lengths=LENGTHS, seed=0):
    """A query of 5 rows and 2 heads, pieces of these lengths, and a sink of one key."""
    rng = np.random.default_rng(seed)
    query = jnp.asarray(2 * rng.normal(size=(5, 2, 4)))
    pieces = [tuple(jnp.asarray(rng.normal(size=(n, 2, 4))) for _ in range(2)) for n in (*lengths, 1)]
    return query, pieces[:-1], pieces[-1:]


def weights(query, pieces):
    """Softmax over the keys of all pieces: for each piece "h t s"."""
    exp = [np.exp(np.einsum("thd,shd->hts", query, key) / 2) for key, _ in pieces]
    total = sum(each.sum(-1, keepdims=True) for each in exp)
    return [each / total for each in exp]


def by_definition(query, pieces, always, kept):
    """The output and the entropy when in each row all but the best pieces get 0 and the rest is renormalized."""
    every = weights(query, [*pieces, *always])
    for h, t in np.ndindex(2, len(query)):
        sums = [np.sort(each[h, t])[-5:].sum() for each in every[: len(pieces)]]
        for number in np.argsort(sums)[: len(pieces) - kept]:
            every[number][h, t] = 0
    every = np.concatenate(every, -1)
    every /= every.sum(-1, keepdims=True)
    value = np.concatenate([value for _, value in [*pieces, *always]])
    entropy = -np.where(every > 0, every * np.log(np.where(every > 0, every, 1)), 0).sum(-1)
    return np.einsum("hts,she->the", every, value), entropy.T


def joined(pieces):
    return tuple(jnp.concatenate(each) for each in zip(*pieces, strict=True))


def assert_same(one, other, fields=("entropy", "log_normalizer", "max_logit", "visible")):
    # float64: sums of some tens of terms in another order
    np.testing.assert_allclose(one.out, other.out, rtol=1e-12, atol=1e-13)
    for name in fields:
        np.testing.assert_allclose(getattr(one.stats, name), getattr(other.stats, name), rtol=1e-12, atol=1e-13)


def test_one_piece_is_full_attention(float64):  # noqa: F811
    query, pieces, _ = made((11,))
    want = attend(query, *pieces[0], DENSE)
    assert_same(call(query, pieces), want)
    assert_same(call(query, pieces, kept=1), want)


def test_all_pieces_kept_is_no_selection_and_that_is_attention_over_all_keys(float64):  # noqa: F811
    query, pieces, sink = made()
    whole = call(query, pieces, always=sink)
    assert_same(whole, attend(query, *joined(pieces + sink), DENSE))
    assert_same(call(query, pieces, always=sink, kept=len(pieces)), whole)


@pytest.mark.parametrize("kept", [1, 2])
def test_the_best_pieces_of_each_row_stay_and_are_renormalized(kept, float64):  # noqa: F811
    query, pieces, sink = made()
    found = call(query, pieces, always=sink, kept=kept)
    out, entropy = by_definition(query, pieces, sink, kept)
    np.testing.assert_allclose(found.out, out, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(found.stats.entropy, entropy, rtol=1e-12)
    # rows choose differently
    assert len(np.unique(found.stats.visible)) > 1


@pytest.mark.parametrize("kept", [None, 1, 2])
def test_rows_sum_to_one(kept, float64):  # noqa: F811
    query, pieces, sink = made()
    pieces, sink = ([(key, jnp.ones_like(value)) for key, value in each] for each in (pieces, sink))
    np.testing.assert_allclose(call(query, pieces, always=sink, kept=kept).out, 1, rtol=1e-12)


def test_sinks_are_never_dropped(float64):  # noqa: F811
    query, pieces, sink = made()
    # of less weight than any piece, and told apart by its value
    sink = [(0.01 * sink[0][0], jnp.ones_like(sink[0][1]))]
    pieces = [(key, jnp.zeros_like(value)) for key, value in pieces]
    whole, some = (call(query, pieces, always=sink, kept=kept).out for kept in (None, 1))
    assert (some > whole).all() and (whole > 0).all()


def test_pieces_that_are_alike_lose_the_log_of_their_number_in_entropy(float64):  # noqa: F811
    query, (piece, *_), _ = made((9,))
    whole, some = (call(query, [piece] * 3, kept=kept).stats.entropy for kept in (None, 1))
    np.testing.assert_allclose(whole - some, np.log(3), rtol=1e-12)


def test_a_hard_choice_of_the_top_piece_never_spreads_rows_wider_where_pieces_differ_by_a_shift(float64):  # noqa: F811
    # one more coordinate of the keys moves all logits of a piece alike, so that each is spread alike within
    query, (piece, *_), _ = made((9,))
    query = query.at[..., -1].set(1)
    pieces = [(piece[0].at[..., -1].add(shift), piece[1]) for shift in (0.0, 3.0, -2.0)]
    whole, some = (call(query, pieces, kept=kept).stats for kept in (None, 1))
    assert (some.entropy < whole.entropy).all()
    # the shift of 3 wins everywhere
    np.testing.assert_allclose(some.max_logit, whole.max_logit, rtol=1e-12)


def test_gradients_are_those_of_the_pieces_that_stay(float64):  # noqa: F811
    query, pieces, _ = made()
    query, pieces = query[:1, :1], [(key[:, :1], value[:, :1]) for key, value in pieces]

    @jax.jit
    def loss(keys):
        found = call(query, [(key, value) for key, (_, value) in zip(keys, pieces, strict=True)], kept=1)
        return (found.out**2).sum() + found.stats.entropy.sum()

    keys = [key for key, _ in pieces]
    found = jax.grad(loss)(keys)
    moved = [bool(jnp.abs(each).sum() > 0) for each in found]
    assert sum(moved) == 1
    best = moved.index(True)
    step = 1e-5 * np.random.default_rng(1).normal(size=keys[best].shape)
    ends = [loss([key + sign * step if n == best else key for n, key in enumerate(keys)]) for sign in (1, -1)]
    # the error of central differences is of second order in a step of 1e-5
    np.testing.assert_allclose(ends[0] - ends[1], 2 * (found[best] * step).sum(), rtol=1e-6)


def test_no_array_has_every_pair():
    query = jnp.zeros((1009, 1, 4))
    pieces = [(jnp.zeros((1009, 1, 4)),) * 2] * 2
    assert largest_intermediate(lambda q: parallel_attention(q, pieces, kept=1).out, query) < 1009**2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kept": 5}, "at most the number of pieces, 3, got 5"),
        ({"kept": 0}, "at least 1"),
        ({"attention": Attention(normalizer=Sigmoid())}, "normalizer Sigmoid"),
        ({"pieces": []}, "at least 1 piece, got none"),
        ({"top": 0}, "TopK.keys must be at least 1"),
    ],
)
def test_what_cannot_be_joined_is_refused(options, told):
    query, pieces, _ = made()
    with pytest.raises(ValueError, match=told):
        parallel_attention(**({"query": query, "pieces": pieces, "kept": 1} | options))
