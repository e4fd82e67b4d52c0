"""The call that batches: leading axes, data of the call, refusals."""

import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms import attention as module
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.attention import attend as uncompiled
from jattn.mechanisms.linear import LinearAttention
from jattn.part import Dims, Rng, part
from jattn.parts.masks import Mask
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers.learned_entmax import LearnedEntmax
from jattn.parts.normalizers.null_slot import NullSlot
from jattn.parts.normalizers.sink import Sink
from jattn.parts.normalizers.softmax import Softmax
from jattn.parts.normalizers.sparsemax import Sparsemax
from jattn.parts.normalizers.squared_relu import SquaredRelu
from jattn.parts.scores import Score
from jattn.parts.scores.forgetting import Forgetting
from jattn.parts.scores.length_scale import LengthScale
from jattn.parts.scores.scalable_softmax import ScalableSoftmax
from jattn.parts.scores.t5_bias import T5Bias
from tests.support import compiled_attend as attend
from tests.support import resize


def draw(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def qkv(*batch, tokens=6, keys=6):
    return draw(*batch, tokens, 2, 4), draw(*batch, keys, 2, 4, seed=1), draw(*batch, keys, 2, 3, seed=2)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (1, 1, 2)], ids=str)
def test_any_leading_axes(batch):
    found = attend(*qkv(*batch), Attention(mask=Causal()))
    assert found.out.shape == (*batch, 6, 2, 3)
    assert found.stats.entropy.shape == found.stats.visible.shape == (*batch, 6, 2)
    flat = attend(*(x.reshape(-1, *x.shape[-3:]) for x in qkv(*batch)), Attention(mask=Causal()))
    chex.assert_trees_all_equal(found.out.reshape(flat.out.shape), flat.out)


@pytest.mark.parametrize(("room", "together"), [(1, 1), (150, 2), (1e9, 6)])
def test_a_batch_is_run_as_many_at_once_as_fit(room, together, monkeypatch):
    monkeypatch.setattr(module, "MAP_FROM", 1)
    resize(monkeypatch, slim_pairs=room)
    q, k, v = qkv(6)
    layout = Layout(valid=jnp.array([6, 4, 1, 0, 2, 3]))
    traced = jax.make_jaxpr(lambda q: uncompiled(q, k, v, layout=layout).out)(q)
    # each at once is one example's share of the batch
    shapes = {size for size in (1, 2, 3, 6) if f"f32[{size},6,2,4]" in str(traced)}
    assert together in shapes or together == 1
    found = uncompiled(q, k, v, layout=layout).out
    np.testing.assert_allclose(found, attend(q, k, v, layout=layout).out, atol=1e-6)


def test_data_of_the_call_shared_or_for_each_example():
    q, k, v = qkv(3)
    mask = np.random.default_rng(0).random((3, 1, 6, 6)) < 0.7
    bias = draw(3, 2, 6, 6, seed=5)
    segments = jnp.array([[0, 0, 1, 1, 1, 2]] * 3) + jnp.arange(3)[:, None]
    valid = jnp.array([6, 4, 1])
    layouts = [
        (Layout(mask=jnp.asarray(mask)), lambda n: Layout(mask=jnp.asarray(mask[n]))),
        (Layout(bias=bias), lambda n: Layout(bias=bias[n])),
        (Layout(segments=segments), lambda n: Layout(segments=segments[n])),
        (Layout(valid=valid), lambda n: Layout(valid=valid[n])),
        (Layout(valid=jnp.arange(6) < 4), lambda n: Layout(valid=4)),
        (Layout(valid=4), lambda n: Layout(valid=jnp.asarray(4))),
        (Layout(mask=jnp.asarray(mask[0])), lambda n: Layout(mask=jnp.asarray(mask[0]))),
        (Layout(positions=(jnp.arange(6) + 2, np.arange(6))), lambda n: Layout(positions=(np.arange(6) + 2, None))),
    ]
    for whole, one in layouts:
        found = attend(q, k, v, Attention(mask=Causal()), layout=whole)
        for n in range(3):
            alone = attend(q[n], k[n], v[n], Attention(mask=Causal()), layout=one(n))
            np.testing.assert_allclose(found.out[n], alone.out, atol=1e-6)
            np.testing.assert_array_equal(found.stats.visible[n], alone.stats.visible)


def test_gradient_of_a_shared_bias_has_its_shape_and_is_the_sum():
    q, k, v = qkv(3)
    bias = draw(1, 6, 1, seed=9)

    def loss(bias, q, k, v):
        return (attend(q, k, v, layout=Layout(bias=bias)).stats.log_normalizer ** 2).sum()

    whole = jax.grad(loss)(bias, q, k, v)
    assert whole.shape == bias.shape
    np.testing.assert_allclose(whole, sum(jax.grad(loss)(bias, q[n], k[n], v[n]) for n in range(3)), rtol=1e-4)


@part
class Noted(Score):
    """Adds the example's own draw to every logit of its rows, so that the test sees which key came."""

    def tokens(self, own, query, key, place, rng):
        noise = jnp.zeros(()) if rng is None else jax.random.normal(rng.example)
        return query, key._replace(extra=key.extra | {"noise": jnp.full((key.vector.shape[0], 1), noise)})

    def pairs(self, own, logits, tile):
        return logits + tile.key.extra["noise"][:, None, :]


def test_each_example_has_its_own_key_and_no_key_is_no_noise():
    q, k, v = qkv(3)
    plain = attend(q, k, v).stats.log_normalizer
    attention = Attention(score=Noted())
    np.testing.assert_allclose(attend(q, k, v, attention).stats.log_normalizer, plain, rtol=1e-6)
    key = jax.random.key(4)
    shift = attend(q, k, v, attention, rng=key).stats.log_normalizer - plain
    want = [jax.random.normal(jax.random.fold_in(key, n)) for n in range(3)]
    np.testing.assert_allclose(shift, np.broadcast_to(np.reshape(want, (3, 1, 1)), shift.shape), rtol=1e-4, atol=1e-5)
    examples = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(3))
    again = attend(q, k, v, attention, rng=Rng(key, key, examples)).stats.log_normalizer - plain
    np.testing.assert_array_equal(again, shift)


def test_a_score_alone_is_kept_as_a_tuple():
    assert Attention(score=Noted()).score == (Noted(),)


def test_an_implementation_that_is_none_is_refused():
    with pytest.raises(ValueError, match="'tiled' or 'dense', got 'cudnn'; leave it out"):
        Attention(implementation="cudnn")


@pytest.mark.parametrize("kind", [Attention, LinearAttention])
@pytest.mark.parametrize("name", [3, "", ("a", "b"), True], ids=repr)
def test_what_names_no_axis_is_refused(kind, name):
    with pytest.raises(ValueError, match=f"{kind.__name__}.context_axis must name one axis of a mesh, got"):
        kind(context_axis=name)


def test_arrays_do_not_pass_as_parts():
    with pytest.raises(TypeError, match="Attention.mask must be a part of the slot Mask, got ndarray"):
        Attention(mask=np.ones((3, 3), bool))


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (((6, 2, 4), (6, 2, 5), (6, 2, 5)), "queries have width 4 and keys 5"),
        (((6, 2, 4), (6, 2, 4), (5, 2, 4)), "6 keys and 5 values"),
        (((3, 6, 2, 4), (2, 6, 2, 4), (2, 6, 2, 4)), "leading batch axes"),
        (((6, 2), (6, 2), (6, 2)), "rank, at least 3"),
        (((6, 3, 4), (6, 2, 4), (6, 2, 4)), "3 query heads are no multiple of 2 key heads"),
        (((6, 4, 4), (6, 4, 4), (6, 3, 4)), "4 query heads are no multiple of 3 value heads"),
        (((2, 6, 4), (2, 9, 4), (2, 9, 4)), "2 queries of 6 heads .* 2 heads of 6 queries .* swap the axes"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_shapes_that_do_not_fit_are_refused(shapes, said):
    with pytest.raises(ValueError, match=said):
        attend(*(jnp.zeros(shape) for shape in shapes))


def test_float_masks_are_refused_with_a_pointer_to_bias():
    with pytest.raises(TypeError, match="boolean.*got float32; numbers .* bias"):
        attend(*qkv(), layout=Layout(mask=jnp.zeros((1, 6, 6))))


@part
class Shortening(Score):
    """Loses a token of the query, or widens it, against the contract."""

    tokens_lost: int = 0

    def tokens(self, own, query, key, place, rng):
        wide = jnp.concatenate([query.vector] * 2, -1) if not self.tokens_lost else query.vector
        return query._replace(vector=wide[self.tokens_lost :]), key


@pytest.mark.parametrize(("lost", "said"), [(1, r"\(5, 2, 4\) and \(6, 2, 4\)"), (0, r"\(6, 2, 8\) and \(6, 2, 4\)")])
def test_a_score_that_changes_tokens_or_one_width_is_named(lost, said):
    with pytest.raises(ValueError, match=f"Shortening.tokens keeps tokens and heads .* got {said} from"):
        uncompiled(*qkv(), Attention(score=Shortening(lost)))


def test_a_score_that_reads_the_layers_input_names_where_it_comes_from():
    attention = Attention(score=Forgetting())
    variables = attention.init(jax.random.key(0), Dims(2, 2, 2, 4, 3, model_width=4))
    with pytest.raises(ValueError, match=r"Forgetting reads what attention.project\(own, x\) makes .*MultiHead"):
        uncompiled(*qkv(), attention, variables=variables)


def test_an_absent_array_is_named_by_its_path():
    with pytest.raises(KeyError, match="normalizer/logit"):
        attend(*qkv(), Attention(normalizer=Sink()))


def test_state_needs_a_length():
    attention = Attention()
    with pytest.raises(ValueError, match="room for at least 1 token, got length None"):
        attention.state(Dims(2, 2, 2, 4, 3), jnp.float32, attention.own(None))


@chex.variants(with_jit=True, without_jit=True)
class VariantsTest(chex.TestCase):
    """The call with and without jit."""

    def test_jit_changes_nothing(self):
        data = qkv(2)
        found = self.variant(lambda *data: attend(*data, Attention(mask=Causal())))(*data)
        chex.assert_trees_all_close(found, attend(*data, Attention(mask=Causal())), atol=1e-6)


SHARDED = """
import subprocess
import sys

import chex
chex.set_n_cpu_devices(4)
import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jattn.mechanisms.attention import Attention, attend
from jattn.parts.masks import Mask
from jattn.parts.masks.causal import Causal

mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
x = jax.random.normal(jax.random.key(0), (8, 6, 2, 4))
call = jax.jit(lambda x: attend(x, x, x, Attention(mask=Causal())).out)
split = call(jax.device_put(x, NamedSharding(mesh, PartitionSpec("data"))))
assert len(split.sharding.device_set) == 4, split.sharding
np.testing.assert_allclose(split, call(x), atol=1e-6)
print("equal")
"""


def test_a_batch_over_four_pretend_devices_is_the_batch():
    # the number of devices is fixed when JAX starts
    done = subprocess.run([sys.executable, "-c", SHARDED], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "equal", done.stderr


@pytest.mark.parametrize("normalizer", [Attention().normalizer, Sink(), Sparsemax(), SquaredRelu()], ids=repr)
def test_padding_may_hold_nan_in_output_and_gradients(normalizer):
    attention = Attention(normalizer=normalizer)
    variables = attention.init(jax.random.key(0), Dims(2, 2, 2, 4, 3))
    valid = jnp.arange(6) < 4
    clean = qkv()
    dirty = [jnp.where(valid[:, None, None], x, jnp.nan) for x in clean]

    def run(q, k, v):
        found = attend(q, k, v, attention, variables=variables, layout=Layout(valid=valid))
        return (found.out**2).sum() + jnp.where(found.stats.visible > 0, found.stats.entropy, 0).sum(), found.out

    both = jax.jit(jax.value_and_grad(run, (0, 1, 2), has_aux=True))
    chex.assert_trees_all_equal(both(*clean), both(*dirty))


def test_a_traced_cache_that_overflows_answers_nothing():
    attention = Attention()
    state = attention.state(Dims(2, 2, 2, 4, 3, length=6), jnp.float32, attention.own(None))
    step = jax.jit(lambda state, q, k, v: attend(q, k, v, attention, state=state))
    found = step(state, *(x[:4] for x in qkv()))
    assert np.isfinite(found.out).all()
    assert np.isnan(step(found.state, *(x[:4] for x in qkv())).out).all()


@pytest.mark.parametrize(
    ("attention", "path"),
    [
        (Attention(T5Bias()), "score/0/table"),
        (Attention(ScalableSoftmax()), "score/0/strength"),
        (Attention(normalizer=Sink()), "normalizer/logit"),
        (Attention(normalizer=NullSlot()), "normalizer/logit"),
        (Attention(normalizer=LearnedEntmax()), "normalizer/logit"),
    ],
    ids=lambda x: x if isinstance(x, str) else None,
)
def test_arrays_of_other_heads_are_refused(attention, path):
    variables = attention.init(jax.random.key(0), Dims(1, 1, 1, 4, 3))
    with pytest.raises(ValueError, match=f"'{path}' has the shape .*, got .*; make variables by"):
        attend(*qkv(), attention, variables=variables)


@part
class NarrowScore(Score):
    """Loses pairs."""

    def pairs(self, own, logits, tile):
        return logits[..., :1]


@part
class NarrowMask(Mask):
    """Says nothing of most pairs."""

    def pairs(self, own, tile):
        return jnp.ones((1, 6, 1), bool)


@part
class NarrowNormalizer(Softmax):
    """Weighs a row's first key alone."""

    def weights(self, own, logits, z, seen, tile):
        return super().weights(own, logits, z, seen, tile)[..., :1]


@pytest.mark.parametrize("implementation", ["tiled", "dense"])
@pytest.mark.parametrize(
    ("slots", "said"),
    [
        ({"score": NarrowScore()}, r"NarrowScore.pairs gives .* of shape \(2, 6, 6\), got \(2, 6, 1\); change"),
        ({"mask": NarrowMask()}, r"NarrowMask.pairs says .*\(2, 6, 6\) or \(1, 6, 6\), got bool of shape \(1, 6, 1\)"),
        ({"normalizer": NarrowNormalizer()}, r"NarrowNormalizer.weights gives .*, got \(2, 6, 1\); change"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_a_part_that_loses_pairs_is_named(slots, said, implementation):
    with pytest.raises(ValueError, match=said):
        attend(*qkv(), Attention(implementation=implementation, **slots))


def test_lengths_beyond_the_tokens_are_all_of_them_and_below_0_none():
    q, k, v = qkv()
    attention = Attention(LengthScale(context=2))
    for length, same in ((9, 6), (-4, 0)):
        found, want = (attend(q, k, v, attention, layout=Layout(valid=jnp.asarray(n))) for n in (length, same))
        chex.assert_trees_all_equal(found, want)


def test_a_function_of_another_number_of_arguments_is_refused():
    for slots, said in (
        ({"score": lambda logit, query, key: logit}, r"\(logit, batch, head, query, key\), got <lambda>\(logit, query"),
        ({"mask": lambda query, key: key <= query}, r"\(batch, head, query, key\), got <lambda>\(query, key\)"),
    ):
        with pytest.raises(TypeError, match=f"A function of one pair takes {said}"):
            uncompiled(*qkv(), Attention(**slots))
