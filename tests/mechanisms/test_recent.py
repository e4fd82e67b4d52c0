"""The last tokens behind one another: what is kept, and what a call sees of it."""

import jax.numpy as jnp
import numpy as np

from jattn.mechanisms import Layout, Split, recent
from jattn.part import Dims


def call(first, tokens):
    key = jnp.arange(first, first + tokens, dtype=jnp.float32)[:, None, None]
    return Split(jnp.zeros((tokens, 2, 1)), key, 10 * key)


def test_new_tokens_push_out_the_oldest():
    kept, length = recent.start(Dims(2, 1, 1, 1, 1), jnp.float32, 3), 0
    for tokens, want in ((2, [0, 0, 1]), (1, [0, 1, 2]), (5, [5, 6, 7])):
        before = kept
        kept, split, layout = recent.behind(kept, call(length, tokens), Layout(), length)
        length += tokens
        assert split.key[:, 0, 0].tolist() == [*before.key[:, 0, 0], *range(length - tokens, length)]
        assert kept.key[:, 0, 0].tolist() == want and kept.value[:, 0, 0].tolist() == [10 * x for x in want]
        assert layout.positions[0].tolist() == list(range(length - tokens, length))
        assert layout.positions[1].tolist()[-tokens:] == layout.positions[0].tolist() and layout.segments is None
        assert layout.valid[0].all() and layout.valid[1].tolist() == [*before.valid, *[True] * tokens]
    assert kept.position.tolist() == [5, 6, 7] and kept.valid.all()


def test_data_of_a_call_are_kept_with_its_tokens():
    kept = recent.start(Dims(2, 1, 1, 1, 1), jnp.float32, 2)
    given = Layout(positions=np.array([4, 0, 1]), segments=np.array([7, 8, 8]), valid=jnp.int32(2))
    kept, _, layout = recent.behind(kept, call(0, 3), given, 0)
    assert kept.position.tolist() == [0, 1] and kept.segment.tolist() == [8, 8] and kept.valid.tolist() == [True, False]
    assert layout.segments[0].tolist() == [7, 8, 8] and layout.segments[1].tolist() == [0, 0, 7, 8, 8]
    assert layout.valid[0].tolist() == [True, True, False]
