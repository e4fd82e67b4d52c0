"""Softmax attention with a linear one beside it: the cross entropy written out, whose gradients it has, refusals."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout, Split
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.linear import LinearAttention
from jattn.mechanisms.mimicry import Mimicry
from jattn.part import Dims, Variables
from jattn.parts.decays.retention import Retention
from jattn.parts.features.favor import Favor
from jattn.parts.features.hedgehog import Hedgehog
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers.sparsemax import Sparsemax
from jattn.parts.positions.rotary import Rotary
from tests.support import compiled_attend as attend
from tests.support import float64, largest_intermediate  # noqa: F401

# more than a block of rows, and no multiple of one
TOKENS, WIDTH = 71, 6
CAUSAL = Mimicry(Attention(mask=Causal()), LinearAttention(Hedgehog()))
FULL = Mimicry(Attention(), LinearAttention(Hedgehog("exponential", 3), order="full"))


def qkv(queries=TOKENS, keys=TOKENS, dtype=float):
    random = np.random.default_rng(0)
    return [jnp.asarray(random.normal(size=(n, *each)), dtype)
            for n, each in ((queries, (4, WIDTH)), (keys, (2, WIDTH)), (keys, (2, 5)))]  # fmt: skip


def variables(mimicry, dtype=float):
    fresh = mimicry.init(jax.random.key(0), Dims(4, 2, 2, WIDTH, 5)).params
    # maps that start as the identity would hide a wrong one
    random = np.random.default_rng(1)
    return Variables(jax.tree.map(lambda x: jnp.asarray(x + 0.3 * random.normal(size=x.shape), dtype), fresh), {})


@functools.partial(jax.jit, static_argnums=0)
def distances(mimicry, made, query, key, value, layout=Layout()):
    """Of each row, as one call observes their sums."""
    out = attend(query, key, value, mimicry.teacher, layout=layout).out
    return mimicry.distances(mimicry.own(made), Split(query, key, value), layout, out)


def explicit(mimicry, maps, query, key, seen):
    """Cross entropy and the student's weights of each row and head, from all pairs."""
    rows, weights = [], []
    for head in range(4):
        own, held = query[:, head], key[:, head // 2]
        teacher = jnp.where(seen, jnp.exp(own @ held.T / np.sqrt(WIDTH)), 0)
        teacher = teacher / jnp.maximum(teacher.sum(-1, keepdims=True), 1e-300)
        asked, given = (x @ m for x, m in ((own, maps["query"][head]), (held, maps["key"][head // 2])))
        if mimicry.student.feature.function == "softmax":
            asked, given = (jnp.concatenate([jax.nn.softmax(u), jax.nn.softmax(-u)], -1) for u in (asked, given))
        else:
            asked, given = (jnp.exp(jnp.concatenate([u, -u], -1)) for u in (asked, given))
        student = jnp.where(seen, asked @ given.T, 0)
        student = student / jnp.maximum(student.sum(-1, keepdims=True), 1e-300)
        rows.append(-(teacher * jnp.log(jnp.where(seen, student, 1))).sum(-1))
        weights.append(student - teacher)
    return jnp.stack(rows, -1), jnp.stack(weights, 1)


# rows that see nothing, and rows and keys of other numbers
CASES = {
    "padded": (CAUSAL, (TOKENS, TOKENS), np.arange(TOKENS) % 5 != 0),
    "full": (FULL, (5, TOKENS), None),
}


@pytest.mark.parametrize("name", CASES)
def test_distances_are_those_of_all_pairs_with_their_gradients(name, float64):  # noqa: F811
    mimicry, sizes, valid = CASES[name]
    query, key, value = qkv(*sizes)
    made = variables(mimicry)
    seen = np.ones(sizes, bool) if mimicry is FULL else np.tril(np.ones(sizes, bool))
    seen = seen if valid is None else seen & valid[:, None] & valid[None]
    weigh = np.random.default_rng(2).normal(size=(2, sizes[0], 4))

    def found(params):
        rows = distances(mimicry, Variables(params, {}), query, key, value, Layout(valid=valid))
        return (weigh * jnp.stack([rows["cross_entropy"], rows["squared_error"]])).sum(), rows

    def wanted(params):
        rows, apart = explicit(mimicry, params["student"]["feature"], query, key, seen)
        values = jnp.repeat(value, 2, 1)
        error = jnp.square(jnp.einsum("ths,she->the", apart, values)).mean(-1)
        return (weigh * jnp.stack([rows, error])).sum(), {"cross_entropy": rows, "squared_error": error}

    (_, rows), gradients = jax.jit(jax.value_and_grad(found, has_aux=True))(made.params)
    (_, want), wanted_gradients = jax.jit(jax.value_and_grad(wanted, has_aux=True))(made.params)
    for one, other in zip(*map(jax.tree.leaves, ((rows, gradients), (want, wanted_gradients))), strict=True):
        # float64 on both sides
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)
    if valid is not None:
        assert not np.asarray(rows["cross_entropy"])[~valid].any()


def test_it_attends_as_the_teacher_and_observes_sums():
    query, key, value = (jnp.stack([x, 2 * x]) for x in qkv(dtype=jnp.float32))
    made, valid = variables(CAUSAL, jnp.float32), jnp.asarray([TOKENS, 9])
    found = attend(query, key, value, CAUSAL, variables=made, layout=Layout(valid=valid))
    teacher = attend(query, key, value, CAUSAL.teacher, layout=Layout(valid=valid))
    np.testing.assert_array_equal(found.out, teacher.out)
    np.testing.assert_array_equal(found.stats.entropy, teacher.stats.entropy)
    totals = {name: float(each.sum()) for name, each in found.stats.observed.items()}
    assert totals["rows"] == (TOKENS + 9) * 4
    # cross entropy is more than the entropy of what it is taken under
    assert totals["cross_entropy"] > float(teacher.stats.entropy.sum())
    for name in ("cross_entropy", "squared_error"):
        rows = (distances(CAUSAL, made, query[n], key[n], value[n], Layout(valid=valid[n]))[name] for n in range(2))
        # float32: sums of 300 numbers of order 1
        assert totals[name] == pytest.approx(sum(float(each.sum()) for each in rows), rel=1e-5)


def test_no_gradient_reaches_the_vectors():
    made = variables(CAUSAL, jnp.float32)

    def loss(vectors):
        return sum(each.sum() for each in attend(*vectors, CAUSAL, variables=made).stats.observed.values())

    assert not any(leaf.any() for leaf in jax.jit(jax.grad(loss))(qkv(dtype=jnp.float32)))


def test_later_tokens_change_no_earlier_row():
    given = qkv(dtype=jnp.float32)
    other = [x.at[40].mul(100) for x in given]
    made = variables(CAUSAL, jnp.float32)
    one, two = (distances(CAUSAL, made, *each) for each in (given, other))
    for name in one:
        np.testing.assert_array_equal(one[name][:40], two[name][:40])
        assert np.isfinite(two[name]).all() and (one[name][40:] != two[name][40:]).any()


def test_narrow_inputs_are_measured_in_float32():
    made = variables(CAUSAL, jnp.float32)
    narrow = qkv(dtype=jnp.bfloat16)
    wide = [x.astype(jnp.float32) for x in narrow]
    found, want = (distances(CAUSAL, made, *each)["cross_entropy"] for each in (narrow, wide))
    assert found.dtype == jnp.float32
    # the same numbers, multiplied in another order
    np.testing.assert_allclose(found, want, atol=1e-4)


def test_descent_on_fixed_vectors_lowers_the_cross_entropy_at_each_step():
    query, key, value = qkv(dtype=jnp.float32)

    @jax.jit
    def step(params):
        def loss(params):
            observed = attend(2 * query, 2 * key, value, CAUSAL, variables=Variables(params, {})).stats.observed
            return observed["cross_entropy"] / observed["rows"]

        cost, found = jax.value_and_grad(loss)(params)
        return cost, jax.tree.map(lambda x, g: x - g, params, found)

    params, costs = CAUSAL.init(jax.random.key(0), Dims(4, 2, 2, WIDTH, 5)).params, []
    for _ in range(30):
        cost, params = step(params)
        costs.append(float(cost))
    assert (np.diff(costs) < 0).all()
    # what no map can undercut, and a tenth of the way from the start to it
    entropy = float(attend(2 * query, 2 * key, value, CAUSAL.teacher).stats.entropy.mean())
    assert entropy < costs[-1] < costs[0] - (costs[0] - entropy) / 10


def test_the_gradient_holds_no_array_of_all_pairs():
    # one head, so that an array of all pairs would have 1009^2 elements
    tokens = 1009
    shape = jax.ShapeDtypeStruct((tokens, 1, WIDTH), jnp.float32)
    made = jax.eval_shape(lambda: CAUSAL.init(jax.random.key(0), Dims(1, 1, 1, WIDTH, WIDTH)))

    def gradient(query, key, value, params):
        def loss(params):
            return sum(attend(query, key, value, CAUSAL, variables=Variables(params, {})).stats.observed.values())

        return jax.grad(loss)(params)

    assert largest_intermediate(gradient, shape, shape, shape, made.params) < tokens**2


def test_what_cannot_be_imitated_is_refused():
    with pytest.raises(ValueError, match="softmax attention without scores, got Sparsemax"):
        dataclasses.replace(FULL, teacher=Attention(normalizer=Sparsemax()))
    with pytest.raises(ValueError, match="turn queries and keys as the teacher does, got Rotary and Unturned"):
        Mimicry(Attention(position=Rotary()), LinearAttention(Hedgehog()))
    for student in (LinearAttention(Favor()), LinearAttention(decay=Retention())):
        with pytest.raises(ValueError, match="no floor, and no decay, got"):
            Mimicry(Attention(), student)
    with pytest.raises(ValueError, match="keeps no decoding state"):
        CAUSAL.state(Dims(4, 2, 2, WIDTH, 5), jnp.float32, {})
