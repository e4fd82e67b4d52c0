"""Functions without what they close over."""

import jax
import jax.numpy as jnp
import pytest

from jattn import closures

TABLE = jnp.arange(3.0)


class Lookup:
    """Its bound method is equal to itself whatever the table is."""

    def __init__(self, table):
        self.table = table

    def read(self, number):
        return self.table[number]


def test_what_a_function_closes_over_is_an_argument():
    made, arrays, out = closures.closed(lambda n: TABLE[n] + 1, {"number": jnp.int32})
    (array,) = arrays.values()
    assert array is TABLE and out.shape == ()
    assert made({"0": 10 * TABLE}, jnp.int32(2)) == 21


def test_equal_functions_with_other_arrays_are_equal_and_read_the_new_ones():
    lookup = Lookup(TABLE)
    first, arrays, _ = closures.closed(lookup.read, {"number": jnp.int32})
    lookup.table = 5 + TABLE
    second, later, _ = closures.closed(lookup.read, {"number": jnp.int32})
    assert first == second and hash(first) == hash(second)
    assert (first(arrays, jnp.int32(1)), first(later, jnp.int32(1))) == (1, 6)


def test_functions_that_compute_otherwise_differ():
    calls = iter([1.0, 2.0])

    def changing(n):
        return n + next(calls)

    first, second = (closures.closed(changing, {"number": jnp.float32})[0] for _ in range(2))
    assert first != second


@pytest.mark.parametrize("table", [TABLE, jnp.arange(3)])
def test_traced_arrays_are_found_and_differentiated(table):
    def through(weights):
        made, arrays, _ = closures.closed(lambda n: weights[n] * table[n], {"number": jnp.int32})
        assert len(arrays) == 2
        return made(arrays, jnp.int32(2))

    assert (jax.jit(jax.grad(through))(jnp.ones(3)) == jnp.array([0.0, 0.0, 2.0])).all()


def test_a_function_is_named_as_it_was_written():
    assert closures.named(Lookup.read) == "Lookup.read"


def test_a_function_written_in_place_is_the_same_at_every_call():
    made = [closures.closed(lambda n: TABLE[n] + 1, {"number": jnp.int32})[0] for _ in range(2)]
    assert made[0] == made[1] and hash(made[0]) == hash(made[1])
