"""Contenders take turns, and a ratio is of one round."""

import jax.numpy as jnp
import numpy as np

from jattn.benchmarks import Spread, turns


def test_contenders_take_turns_and_each_round_has_its_median(monkeypatch):
    # the clock is asked before and after each of three calls a round; calls of a take 1, 5, 2 seconds, of b 3
    lengths = iter([1, 5, 2, 3, 3, 3] * 2)
    ticks = iter([tick for length in lengths for tick in (0, length)])
    monkeypatch.setattr(turns.time, "perf_counter", lambda: next(ticks))
    order = []
    contenders = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    taken = turns.interleaved(contenders, rounds=2, turns=3)
    assert taken == {"a": [2000.0, 2000.0], "b": [3000.0, 3000.0]}
    assert "".join(order) == "aabb" + "aaaabbbb" * 2


def test_a_ratio_is_that_of_one_round_and_not_of_two_medians():
    # the machine is three times slower in the second round, for both
    taken = {"peer": [2.0, 6.0, 4.0], "own": [1.0, 3.0, 8.0]}
    peer, own = turns.rows("case", taken, "peer", {"own": 7}, {"own": "words"})
    assert peer.ratio == (1, 1, 1) and peer.temporary_bytes is None and peer.note == ""
    assert own.milliseconds == Spread(3, 1, 8) and own.ratio == Spread(0.5, 0.5, 2)
    assert own[4:7] == ("peer", 7, "words") and own.case == "case"


def test_temporary_memory_is_that_of_the_program_and_grows_with_it():
    def outer(x):
        # XLA must hold the product of n x n to sort it
        return jnp.sort(x[:, None] * x[None], axis=1)[:, 0]

    call, small = turns.compiled(outer, jnp.arange(32.0))
    _, large = turns.compiled(outer, jnp.arange(64.0))
    np.testing.assert_array_equal(call(jnp.arange(32.0)), np.zeros(32))
    assert small >= 4 * 32**2 and large >= 4 * 64**2 and large > 2 * small
