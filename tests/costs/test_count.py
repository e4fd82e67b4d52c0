"""Counts of small functions, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AbstractMesh, PartitionSpec

from jattn.costs.count import cost

SECRETS, PUBLIC = "secret x secret", "secret x public"


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


def calls(function, *arguments, **who):
    """Each kind with its operands and shape, to how often it is called."""
    found = cost(function, *arguments, **who)
    assert not found.open_loops and not found.a_turn
    return {(op.kind, op.operands, op.shape): count for op, count in found.calls if not op.within}


def test_products_have_their_sizes_and_flops():
    # batch 2, rows 3, sums of 4, columns 5
    found = cost(lambda a, b: jnp.einsum("brk,bkc->brc", a, b), shape(2, 3, 4), shape(2, 4, 5))
    assert [(op.kind, op.operands, op.shape, count) for op, count in found.calls] == [
        ("product", SECRETS, (2, 3, 4, 5), 1)
    ]
    assert found.flops == 2 * 2 * 3 * 4 * 5


def test_a_convolution_is_a_product_of_patches():
    # 4 patches of 2 x 2 in 3 colors, to 5 features
    def patches(image, kernel):
        return lax.conv_general_dilated(image, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    assert calls(patches, shape(1, 4, 4, 3), shape(2, 2, 3, 5)) == {("product", SECRETS, (1, 4, 12, 5)): 1}


def test_sums_and_moves_are_free():
    assert calls(lambda x, y: (x + y - 1).T.reshape(6).sum() + x[1, 0], shape(2, 3), shape(2, 3)) == {}


def test_operands_tell_who_pays():
    x, y, weight = shape(4), shape(4), shape(4)

    def function(x, y, weight):
        return x * y + x * weight + x * 3 + (weight * weight + x / weight)

    # what depends on weights alone: free where they are public or one party's, and so is their reciprocal
    assert calls(function, x, y, weight) == {
        ("multiplication", SECRETS, (4,)): 3, ("multiplication", PUBLIC, (4,)): 1,
        ("division", "secret / secret", (4,)): 1,
    }  # fmt: skip
    assert calls(function, x, y, weight, owned=(2,)) == {
        ("multiplication", SECRETS, (4,)): 3, ("multiplication", PUBLIC, (4,)): 1,
    }  # fmt: skip
    assert calls(function, x, y, weight, public=(2,)) == {
        ("multiplication", SECRETS, (4,)): 1, ("multiplication", PUBLIC, (4,)): 3,
    }  # fmt: skip


def test_powers_are_products():
    # x^2: 1; x^3: 2; x^7 = x x^2 x^4: 4; 1 / x^2: 1 and a division
    assert calls(lambda x: (x**2, x**3, x**7, x**-2), shape(4)) == {
        ("multiplication", SECRETS, (4,)): 1 + 2 + 4 + 1, ("division", "public / secret", (4,)): 1,
    }  # fmt: skip


def test_comparisons_have_kinds():
    def function(x, y):
        return jax.nn.relu(x), jnp.maximum(x, y), x.max(-1), x > y, jnp.where(x > y, x, y), jnp.clip(x, 0.5, 2.0)

    found = calls(function, shape(2, 8), shape(2, 8))
    assert found[("row_max", "", (2, 8))] == 1
    # one comparison serves itself and the choice; two bounds are two
    assert [found[(kind, "", (2, 8))] for kind in ("relu", "max", "comparison", "select")] == [1, 1 + 2, 1, 1]
    assert len(found) == 5


def test_public_masks_are_free():
    mask = np.tri(4) > 0
    assert calls(lambda x: jnp.where(mask, x, 0), shape(4, 4)) == {}


def test_equal_operations_count_once_and_unread_ones_not_at_all():
    def function(x):
        jnp.tanh(x)
        return jnp.exp(x) + jnp.exp(x)

    assert calls(function, shape(3)) == {("exp", "", (3,)): 1}


def test_calls_are_opened():
    @jax.custom_vjp
    def ruled(x):
        return jnp.tanh(x)

    ruled.defvjp(lambda x: (jnp.tanh(x), None), lambda _, g: (g,))

    @jax.custom_jvp
    def forward_ruled(x):
        return jnp.exp(x)

    forward_ruled.defjvp(lambda x, t: (forward_ruled(x[0]), t[0]))
    found = calls(lambda x: ruled(forward_ruled(jax.checkpoint(jax.jit(jnp.sin))(x))), shape(3))
    assert found == {(kind, "", (3,)): 1 for kind in ("tanh", "exp", "sin")}


def test_scans_count_turn_by_turn():
    def function(x, rows):
        def turn(carry, row):
            # the inner loop takes 3 turns of each of 5
            return lax.fori_loop(0, 3, lambda _, y: jnp.exp(y), carry) + row, jnp.tanh(row)

        return lax.scan(turn, x, rows)

    assert calls(function, shape(4), shape(5, 4)) == {("exp", "", (4,)): 15, ("tanh", "", (4,)): 5}


def test_a_carry_becomes_secret_by_a_secret():
    # the second carry is public in the first turn alone
    def function(x):
        return lax.fori_loop(0, 3, lambda _, both: (both[0], jnp.exp(both[1]) + both[0]), (x, jnp.zeros(4)))[1]

    assert calls(function, shape(4)) == {("exp", "", (4,)): 3}


def test_loops_between_known_numbers_count_their_turns():
    # 0, 3, 6, 9: four turns below 10
    def function(x):
        return lax.while_loop(lambda c: c[0] < 10, lambda c: (c[0] + 3, jnp.exp(c[1])), (0, x))[1]

    assert calls(function, shape(4)) == {("exp", "", (4,)): 4}


def test_other_loops_are_unknown():
    def function(x, turns):
        return lax.fori_loop(0, turns, lambda _, y: jnp.exp(y), jnp.tanh(x))

    found = cost(function, shape(4), shape(dtype=jnp.int32), public=(1,))
    (exp, turns), ((tanh, once),) = found.a_turn[0], found.calls
    assert (exp.kind, turns, tanh.kind, once, found.open_loops) == ("exp", 1, "tanh", 1, 1)
    assert "1 loops of unknown length" in repr(found)


def test_loops_on_public_numbers_are_no_concern():
    def function(x, turns):
        return x + lax.fori_loop(0, turns, lambda n, y: jnp.exp(y) + n, 0.0)

    assert calls(function, shape(4), shape(dtype=jnp.int32), public=(1,)) == {}


def test_a_secret_condition_runs_all_branches_and_a_public_one_the_costlier():
    def function(condition, x):
        return lax.cond(condition, lambda x: jnp.exp(jnp.exp(x)), lambda x: jnp.tanh(x) + jnp.exp(x), x)

    branch = shape(dtype=jnp.bool_)
    assert calls(function, branch, shape(4), public=(0,)) == {("exp", "", (4,)): 2, ("tanh", "", (4,)): 1}
    # both, and a choice between their results
    found = calls(function, branch, shape(4))
    assert [found[(kind, "", (4,))] for kind in ("exp", "tanh", "select")] == [3, 1, 1]


def test_all_devices_count_under_shard_map():
    mesh = AbstractMesh((4,), ("data",))
    spec = PartitionSpec("data")
    sharded = jax.shard_map(jnp.exp, mesh=mesh, in_specs=spec, out_specs=spec)
    assert calls(sharded, shape(8, 3)) == {("exp", "", (2, 3)): 4}


def test_look_ups_by_secret_numbers_are_named():
    table, tokens = shape(10, 4), shape(3, dtype=jnp.int32)

    def look_up(table, tokens):
        return table.at[tokens].get(mode="promise_in_bounds", wrap_negative_indices=False)

    assert calls(look_up, table, tokens) == {("secret index", "", (3, 4)): 1}
    assert calls(look_up, table, tokens, public=(1,)) == {}


def test_what_no_rule_knows_keeps_its_name():
    assert calls(jnp.sort, shape(7)) == {("sort", "", (7,)): 1}


def test_what_a_function_closes_over_is_public():
    weight = jnp.arange(12.0).reshape(3, 4)
    assert calls(lambda x: x @ weight, shape(2, 3)) == {("product", PUBLIC, (1, 2, 3, 4)): 1}


def test_what_is_no_function_and_no_array_is_refused():
    with pytest.raises(TypeError, match="A cost is that of a function, got 3; give it first"):
        cost(3, shape(3))
    with pytest.raises(TypeError, match="got 'a' among the arguments; close over"):
        cost(jnp.add, "a", shape(3))


@pytest.mark.parametrize("who", [{"public": (2,)}, {"owned": (-1,)}, {"public": (0,), "owned": (0,)}])
def test_wrong_numbers_of_arguments_are_refused(who):
    with pytest.raises(ValueError, match="takes numbers of arguments below 2, each once, got .*; count from 0"):
        cost(jnp.add, shape(3), shape(3), **who)
