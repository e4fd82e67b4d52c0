"""Parts: init by name and key, buffers and refresh, what an absent array says."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms.attention import Attention
from jattn.part import Dims, Own, Part, Place, Variables, by_head, part, scope
from jattn.parts.masks import Full, Other
from jattn.parts.normalizers.sink import Sink
from jattn.parts.scores import Score
from jattn.parts.scores.soft_cap import SoftCap
from jattn.parts.scores.t5_bias import T5Bias

DIMS = Dims(4, 2, 2, 8, 8, model_width=6)


@part
class Counted(Score):
    """Holds a count and a float that `refresh` moves, as FAVOR+ or sigmaReparam will."""

    inner: Part = T5Bias()

    def params(self, rng, dims):
        return {"gain": jax.random.normal(rng, (dims.heads,))}

    def buffers(self, rng, dims):
        return {"count": jnp.zeros((), jnp.int32), "drawn": jax.random.normal(rng, (2,))}

    def refresh(self, own, observed, rng, step):
        return {"count": own["count"] + 1, "drawn": jax.random.normal(rng, (2,))}

    def pairs(self, own, logits, tile):
        return logits * own["drawn"][0]


def test_init_nests_by_field_name_and_leaves_empty_parts_out():
    params, buffers = Attention(score=(Counted(), T5Bias()), normalizer=Sink()).init(jax.random.key(0), DIMS)
    assert set(params) == {"score", "normalizer"} and set(params["score"]) == {"0", "1"}
    assert set(params["score"]["0"]) == {"gain", "inner"} and set(params["normalizer"]) == {"logit"}
    assert buffers == {"score": {"0": buffers["score"]["0"]}} and set(buffers["score"]["0"]) == {"count", "drawn"}
    assert Attention().init(jax.random.key(0), DIMS) == Variables({}, {})


def test_init_depends_on_the_key_and_the_name_alone():
    attention = Attention(score=(T5Bias(), T5Bias()))
    once, again = (attention.init(jax.random.key(3), DIMS) for _ in range(2))
    chex.assert_trees_all_equal(once, again)
    other = attention.init(jax.random.key(4), DIMS)
    tables = [v.params["score"][n]["table"] for v, n in ((once, "0"), (once, "1"), (other, "0"))]
    assert not np.array_equal(tables[0], tables[1]) and not np.array_equal(tables[0], tables[2])
    alone = Attention(score=T5Bias()).init(jax.random.key(3), DIMS)
    np.testing.assert_array_equal(alone.params["score"]["0"]["table"], tables[0])


def test_refresh_walks_to_every_part_and_leaves_the_given_tree_alone():
    attention = Attention(score=(T5Bias(), Counted()))
    variables = attention.init(jax.random.key(0), DIMS)
    kept = jax.tree.map(np.asarray, variables.buffers)
    fresh = jax.jit(attention.refreshed)(variables, {}, jax.random.key(1), jnp.int32(5))
    chex.assert_trees_all_equal(variables.buffers, kept)
    assert fresh["score"]["1"]["count"] == 1
    assert not np.array_equal(fresh["score"]["1"]["drawn"], kept["score"]["1"]["drawn"])
    assert jax.tree.structure(fresh) == jax.tree.structure(kept)


def test_refresh_may_not_invent_buffers():
    class Inventor(Counted):
        def refresh(self, own, observed, rng, step):
            return {"new": jnp.zeros(())}

    inventor = Inventor()
    with pytest.raises(ValueError, match=r"Inventor.refresh may return its own buffers .*got \['new'\]"):
        inventor.refreshed(inventor.init(jax.random.key(0), DIMS), {}, jax.random.key(1), 0)


def test_absent_array_is_refused_by_its_path():
    own = Attention(score=Counted()).own(None)
    with pytest.raises(KeyError, match="score/0/inner/table"):
        own["score"]["0"]["inner"]["table"]
    with pytest.raises(KeyError, match="score/0/gain"):
        own["score"]["0"]["gain"]


def test_own_arrays_survive_transformations_with_their_path():
    own = Own({"a": jnp.ones(2)}, "score/0")
    out = jax.jit(lambda own: jax.tree.map(lambda x: x + 1, own))(own)
    assert isinstance(out, Own) and out.path == "score/0"
    np.testing.assert_array_equal(out["a"], 2)


def test_dims_read_shapes_and_name_what_is_missing():
    q, k, v = jnp.zeros((3, 5, 4, 8)), jnp.zeros((3, 7, 2, 8)), jnp.zeros((3, 7, 1, 6))
    assert Dims.of(q, k, v, model_width=32) == Dims(4, 2, 1, 8, 6, model_width=32)
    with pytest.raises(ValueError, match="T5Bias needs the size 'depth'"):
        DIMS.need("depth", T5Bias())


def test_scope_shows_flat_names_and_a_parts_own_alone():
    extra = {"time": 1, "score": {"0": {"gate": 2}, "1": {"gate": 3}}}
    assert scope(extra, "score/1") == {"time": 1, "gate": 3}
    assert scope(extra, "normalizer") == {"time": 1}


def test_by_head_stays_numpy_where_the_number_is():
    assert isinstance(by_head((1, 2, 3), np.array([2, 0])), np.ndarray)
    np.testing.assert_array_equal(jax.jit(lambda h: by_head((1, 2, 3), h))(jnp.array([2, 0])), [3, 1])


def test_parts_hash_compare_and_print():
    assert Attention(score=T5Bias()) == Attention(score=(T5Bias(),)) and hash(T5Bias()) == hash(T5Bias())
    assert repr(T5Bias(buckets=16)) == "T5Bias(buckets=16, farthest=128, sides='past')"
    assert Place(np.arange(2), 2, 1).layer == 0


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: SoftCap("x"), "SoftCap.cap must be a number, got 'x'"),
        (lambda: SoftCap(jnp.ones(2)), "SoftCap.cap must be a number, got an array"),
        (lambda: T5Bias(buckets=32.0), "T5Bias.buckets must be a whole number, got 32.0"),
        (lambda: Attention(scale="x"), "Attention.scale must be a number or None, got 'x'"),
        (lambda: Attention(dropout=None), "Attention.dropout must be a number, got None"),
    ],
)
def test_what_is_no_number_is_refused(made, said):
    with pytest.raises(TypeError, match=f"{said}; an option is fixed when a call is compiled"):
        made()
    assert SoftCap(np.int64(3)) == SoftCap(3)


def test_a_part_of_another_slot_inside_a_part_is_refused():
    with pytest.raises(TypeError, match="Other.inner must be a Mask, got the class Full; build one"):
        Other(Full)
    with pytest.raises(TypeError, match="Counted.inner must be a Part, got float"):
        Counted(0.1)
