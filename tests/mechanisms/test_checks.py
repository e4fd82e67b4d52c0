"""Refusals of `attend`: one sentence each, before any tile is traced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention, attend
from jattn.mechanisms.weights import attention_weights
from jattn.part import Dims
from jattn.parts.normalizers.sink import Sink
from jattn.parts.scores.neural import Neural
from jattn.parts.scores.t5_bias import T5Bias


def qkv(tokens=6):
    return [jax.random.normal(jax.random.key(n), (tokens, 2, width)) for n, width in enumerate((4, 4, 3))]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attention": Sink()}, "argument attention must be a mechanism, got Sink; build one"),
        ({"attention": Attention}, "got the class Attention and no Attention()"),
        ({"layout": {"mask": None}}, r"argument layout must be a Layout, got dict; build one, as in jattn.Layout\("),
        ({"variables": {"params": {}}}, r"argument variables must be what attention.init gives, got dict; pass"),
        ({"rng": 3}, "argument rng must be a key, got int; make one, as in jax.random.key"),
        ({"query": np.ones((6, 2, 4), int)}, "floating arrays, got int64 as query; cast it"),
        ({"value": [[[1.0]]]}, "floating arrays, got list as value; cast it"),
        ({"layout": Layout(bias=np.ones((2, 6, 6), bool))}, "added to the logits, got bool; .* pass as mask"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_things_of_another_kind_are_refused(change, said):
    vectors = dict(zip(("query", "key", "value"), qkv(), strict=True))
    with pytest.raises(TypeError, match=said):
        attend(**{**vectors, **change})


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        ({"mask": np.ones((6, 6), bool)}, ValueError, r"\(2, 6, 6\) for each example.*got \(6, 6\)"),
        ({"mask": np.ones((1, 6, 5), bool)}, ValueError, r"got \(1, 6, 5\)"),
        ({"bias": np.ones((3, 6, 6), np.float32)}, ValueError, r"A bias has the shape.*got \(3, 6, 6\)"),
        ({"mask": [[True]]}, TypeError, "A mask is an array, got list"),
        ({"positions": np.arange(5)}, ValueError, r"Positions hold one value .* 6 tokens .*got shape \(5,\)"),
        ({"segments": np.arange(5)}, ValueError, r"Segments hold .*got shape \(5,\)"),
        ({"valid": np.ones(5, bool)}, ValueError, r"valid hold .*got shape \(5,\)"),
        ({"positions": np.arange(6.0)}, TypeError, "Positions are whole numbers, got float"),
        ({"bias": np.ones((1, 6, 6), np.int32)}, TypeError, "A bias is floating.*got int32"),
        ({"valid": np.ones(6, np.float32)}, TypeError, "a length or a boolean row, got float32"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_data_of_a_wrong_shape_is_refused(data, error, said):
    with pytest.raises(error, match=said):
        attend(*qkv(), layout=Layout(**data))


@pytest.mark.parametrize(
    ("part_", "path"), [({"score": T5Bias()}, "score/0/table"), ({"normalizer": Sink()}, "normalizer/logit")]
)
def test_variables_that_are_absent_are_refused_before_a_tile_reads_them(part_, path):
    with pytest.raises(KeyError) as caught:
        attend(*qkv(), Attention(**part_))
    assert str(caught.value).startswith(f"A part reads its array {path!r}, which the variables lack; pass")
    assert len(caught.traceback) < 8


def test_one_dtype_for_query_key_and_value():
    q, k, v = qkv()
    with pytest.raises(TypeError, match="are of one dtype, got bfloat16, float32, float32; cast them"):
        attend(q.astype(jnp.bfloat16), k, v)


@pytest.mark.parametrize(
    ("attention", "other", "said"),
    [
        (Attention(T5Bias(32)), Attention(T5Bias(16)), r"'score/0/table' has the shape \(2, 32\) .*, got \(2, 16\)"),
        (Attention(Neural(2)), Attention(Neural(4)), r"'score/0/first_bias' has the shape \(2,\) .*, got \(4,\)"),
        (Attention(), Attention(normalizer=Sink()), "array 'normalizer/logit', which Softmax does not read"),
    ],
    ids=["buckets", "units", "surplus"],
)
def test_arrays_of_other_options_are_refused(attention, other, said):
    q, k, v = qkv()
    variables = other.init(jax.random.key(0), Dims.of(q, k, v))
    for call in (attend, lambda q, k, v, *args, **given: attention_weights(q, k, *args, **given)):
        with pytest.raises(ValueError, match=said):
            call(q, k, v, attention, variables=variables)


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        ({"segments": (None, np.zeros(6, int))}, ValueError, "Segments are those of both sides, got those of one"),
        ({"valid": (None, 5, 2)}, TypeError, r"Layout.valid is an array or a pair .* got a tuple of 3"),
        ({"positions": [0, 1, 2]}, TypeError, r"Layout.positions is an array or a pair .* got a list of 3"),
        ({"layer": 1.5}, TypeError, "Numbers of layers are whole numbers, got float"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_data_that_would_be_ignored_are_refused(data, error, said):
    with pytest.raises(error, match=said):
        attend(*qkv(), layout=Layout(**data))
