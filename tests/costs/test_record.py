"""A cost's summary, by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from jattn.costs.count import cost
from jattn.costs.operation import Operation
from jattn.costs.record import Cost

HEADS = Operation("softmax", (2, 12, 8, 8))
MADE = Cost((
    (HEADS, 3), (Operation("exp", (2, 12, 8, 8), "", "softmax"), 3), (Operation("exp", (8, 5)), 1),
    (Operation("product", (12, 8, 4, 8), "secret x secret"), 2),
))  # fmt: skip


def test_axes_before_the_last_two_multiply_in():
    # 3 calls of 2 texts of 12 heads
    assert MADE.shapes("softmax") == {(8, 8): 72}
    assert MADE.shapes("product") == {(8, 4, 8): 24}
    assert MADE.shapes("exp") == {(8, 5): 1}


def test_totals_count_what_stands_inside_too():
    assert MADE.total("exp") == 3 * 2 * 12 * 64 + 40
    assert MADE.total("product", "secret x public") == 0
    assert MADE.flops == 2 * 2 * 12 * 8 * 4 * 8


def test_its_text_is_one_line():
    assert repr(MADE) == "Cost(72 softmax of 8x8; 1 exp of 8x5; 1.229e+04 FLOPs of products)"


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        MADE.calls = ()
    assert hash(MADE) == hash(dataclasses.replace(MADE))


def test_parts_add_up():
    x = jax.ShapeDtypeStruct((3, 4), jnp.float32)
    one, other, both = cost(jnp.exp, x), cost(jnp.tanh, x), cost(lambda x: jnp.tanh(jnp.exp(x)), x)
    assert one.plus(other) == both and both.minus(one) == other
