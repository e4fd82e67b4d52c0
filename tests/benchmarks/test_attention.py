"""What is timed beside each other computes the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.benchmarks import attention
from jattn.benchmarks.attention import BY_HAND, OURS, PEER, Case


def _results(case, direction):
    shape = (case.batch, case.length, 2, 8)
    *arrays, g_out = (jax.random.normal(jax.random.key(n), shape) for n in range(4))
    cotangents = (g_out, jax.random.normal(jax.random.key(4), shape[:3]))
    functions = attention.contenders(case)
    return {
        name: jax.jit(attention.directions(each)[direction])(arrays, cotangents) for name, each in functions.items()
    }


@pytest.mark.parametrize("mask", attention.MASKS)
@pytest.mark.parametrize("direction", ["forward", "gradient"])
def test_ours_equals_the_peer_and_what_one_writes_by_hand(mask, direction):
    # both in float32: a sum of 13 terms in another order
    case = Case(mask, 13, 1, 1, batch=2)
    plain, read = _results(case, direction), _results(case._replace(reads="entropy"), direction)
    attention.compare(mask, plain[PEER], plain[OURS])
    attention.compare(mask, read[BY_HAND], read[OURS])
    # the entropy and its cotangent count: the peer's results have none
    assert len(jax.tree.leaves(read[OURS])) == len(jax.tree.leaves(plain[OURS])) + 1


def test_the_literal_entropy_of_equal_logits_is_the_log_of_the_keys_seen():
    zero = jnp.zeros((1, 5, 1, 4))
    _, entropy = attention.literal(zero, zero, zero, jnp.tril(jnp.ones((5, 5), bool)))
    np.testing.assert_allclose(entropy[0, :, 0], np.log(np.arange(1, 6)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("wrong", [1.001, np.nan])
def test_a_wrong_result_is_not_timed(wrong):
    right = jnp.ones(3)
    attention.compare("case", (right, None), (right, None))
    with pytest.raises(FloatingPointError, match=r"^Results .* for case; mend the attention first\.$"):
        attention.compare("case", (right, None), (right * wrong, None))


def test_a_case_gives_each_direction_and_contender_a_row_with_its_memory(monkeypatch):
    # what is compared must be each pair that is timed
    pairs = []
    monkeypatch.setattr(attention, "compare", lambda title, *_: pairs.append(title))
    rows = attention.measure(attention.SMOKE)
    (case,) = attention.SMOKE
    assert [row.contender for row in rows] == [PEER, BY_HAND, OURS] * 2
    titles = [f"{case.mask}, {case.batch} of {case.length}, entropy, {each}" for each in ("forward", "gradient")]
    assert [row.case for row in rows[::3]] == titles == pairs
    assert all(row.temporary_bytes > 0 and row.milliseconds.low > 0 and row.peer == PEER for row in rows)
