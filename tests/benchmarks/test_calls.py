"""What is timed is held to the definition, and what differs is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.benchmarks import calls
from jattn.benchmarks.calls import FORWARD, GRADIENT, Call
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.linear import LinearAttention
from jattn.parts.features.favor import Favor
from jattn.parts.features.projections import Projection
from jattn.parts.masks.causal import Causal
from jattn.parts.scores.t5_bias import T5Bias

SMALL = Call(13, heads=2, width=8, batch=2)


def _found(call, direction=GRADIENT):
    return calls.made(calls.ours(call), call, direction).turn()


def test_long_calls_are_checked_at_a_part_of_their_length_with_documents_as_long():
    assert Call(5000).checked().length == 1250 and Call(2048).checked() == Call(2048)
    assert Call(131072, attention=LinearAttention()).checked().length == 256
    packed = Call(8192, documents=64).checked()
    assert (packed.length, packed.documents) == (2048, 16)


def test_documents_are_of_one_length():
    segments = calls.inputs(SMALL._replace(length=12, documents=3)).segments
    np.testing.assert_array_equal(segments, np.repeat([0, 1, 2], 4))


@pytest.mark.parametrize(
    "call",
    [
        SMALL._replace(documents=3),
        SMALL._replace(attention=Attention(mask=Causal(), score=T5Bias(), dropout=0.1)),
        SMALL._replace(dtype="bfloat16"),
    ],
    ids=["documents", "learned and dropped", "bfloat16"],
)
def test_ours_equals_the_definition(call):
    right = calls.reference(call)
    found = _found(call)
    calls.check("ours", right, found)
    # output, three gradients, and what the call adds
    assert len(jax.tree.leaves(found)) == len(jax.tree.leaves(right.wanted)) == 4 + len(call.attention.score)
    # twice the rounding of the dtype at most, of values that are about 1
    assert all(0 < most < 20 * float(jnp.finfo(call.dtype).eps) for most in jax.tree.leaves(right.allowed))


@pytest.mark.slow
def test_linear_attention_is_held_to_all_products():
    call = SMALL._replace(attention=LinearAttention(Favor(Projection(5))), documents=2)
    right, (out, grads) = calls.reference(call), _found(call)
    calls.check("ours", right, (out, grads))
    with pytest.raises(FloatingPointError, match="for wrong; mend it first"):
        calls.check("wrong", right, (jax.tree.map(lambda x: 1.0001 * x, out), grads))


def test_an_entropy_that_is_read_is_a_result_with_a_cotangent():
    read, plain = _found(SMALL._replace(reads="entropy")), _found(SMALL)
    assert read[0][1].shape == (2, 13, 2) and plain[0][1] is None
    assert not np.allclose(read[1][0], plain[1][0])


def test_a_forward_pass_is_held_to_values_alone():
    calls.check("ours", calls.reference(SMALL), _found(SMALL, FORWARD))
    assert _found(SMALL, FORWARD)[1] is None


@pytest.mark.parametrize("wrong", [1.001, np.nan])
@pytest.mark.parametrize("leaf", range(4))
def test_a_wrong_value_or_gradient_is_refused(leaf, wrong):
    right = calls.reference(SMALL)
    leaves, tree = jax.tree.flatten(_found(SMALL))
    leaves[leaf] = leaves[leaf] * wrong
    with pytest.raises(FloatingPointError, match=r"^What is timed must first .* for other; mend it first\.$"):
        calls.check("other", right, jax.tree.unflatten(tree, leaves))
