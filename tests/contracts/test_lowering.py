"""Every public function, forward and with its gradient, lowers for every platform, whatever parts it is given."""

import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import jattn
from jattn import Attended, Attention, AugmentedLinear, Dims, Layout, LogNormalDiagonal, Stats, Variables
from jattn.caches import Recent
from jattn.decays import Retention
from jattn.masks import BlockDiagonal, Causal, Prefix, Window
from jattn.normalizers import Laplace
from jattn.parts.masks import Mask
from jattn.parts.normalizers import Normalizer
from jattn.parts.positions import Position
from jattn.parts.scores import Score
from jattn.scores import PerVisible, RelativeBias, RotaryBias, T5Bias
from jattn.transitions import S4D, DampedEma
from tests.support import parts_of

PLATFORMS = ("cpu", "cuda", "tpu")
# enough that a batch is a loop, that data steer which tiles are visited, and that a tile is visited in part
BATCH, TOKENS, HEADS, WIDTH, MODEL_WIDTH = 2, 600, 4, 16, 6
# public, and no computation
NOT_COMPUTED = {"causal_ceiling", "cost", "entropy_abf", "explain", "mega_state", "parallel_context", "plan"}


def shape(*sizes, dtype=jnp.bfloat16):
    return jax.ShapeDtypeStruct(sizes, dtype)


QUERY, KEY = shape(BATCH, TOKENS, HEADS, WIDTH), shape(BATCH, TOKENS, 2, WIDTH)
VALUE = shape(BATCH, TOKENS, 1, 8)
SEGMENTS = np.repeat(np.arange(6), 100)
BOTH_SIDES = np.ones((HEADS, TOKENS, TOKENS), bool)


def assert_lowers(function, *arguments):
    """The function and its gradient in every argument, all floating, in one program for all platforms."""

    def loss(*arguments):
        leaves = jax.tree.leaves(function(*arguments))
        return sum(leaf.astype(jnp.float32).sum() for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating))

    def both(*arguments):
        return function(*arguments), jax.grad(loss, tuple(range(len(arguments))))(*arguments)

    jax.export.export(jax.jit(both), platforms=PLATFORMS)(*arguments)


def attending(attention, layout=Layout(), rng=None):
    """`attend` as a function of arrays alone, the layer's input and the learned arrays among them, and their shapes."""
    dims = Dims(HEADS, 2, 1, WIDTH, 8, model_width=MODEL_WIDTH, depth=2, length=TOKENS)
    params, buffers = attention.init(jax.random.key(0), dims)

    def call(query, key, value, x, params):
        variables = Variables(params, buffers)
        extra = jax.vmap(lambda x: attention.project(attention.own(variables), x))(x)
        data = layout._replace(extra=extra)
        return jattn.attend(query, key, value, attention, variables=variables, layout=data, rng=rng)

    return call, (QUERY, KEY, VALUE, shape(BATCH, TOKENS, MODEL_WIDTH), params)


def decoding():
    """`attend` with a cache, from which one more token is read."""
    attention = Attention(mask=Causal())
    dims = Dims(HEADS, 2, 1, WIDTH, 8, length=TOKENS)
    state = attention.state(dims, jnp.bfloat16, attention.own(None))
    state = jax.tree.map(lambda x: jnp.stack([x] * BATCH), state)

    def call(query, key, value):
        return jattn.attend(query, key, value, attention, state=state)[:2]

    return call, [shape(BATCH, 1, *each.shape[2:]) for each in (QUERY, KEY, VALUE)]


def linear():
    """`linear_attention` of several segments, its state too."""

    def call(query, key, value):
        return jattn.linear_attention(query, key, value, decay=Retention(), layout=Layout(segments=SEGMENTS))

    return call, (QUERY, KEY, VALUE)


def delta():
    """`delta_attention`, its state too."""
    shares = shape(BATCH, TOKENS, 2, dtype=jnp.float32)
    return lambda q, k, v, beta: jattn.delta_attention(q, k, v, beta), (QUERY, KEY, VALUE, shares)


def averaging(given=(shape(BATCH, TOKENS, HEADS),), **held):
    """`damped_ema` in both directions, or with what else is held."""
    recurrence = jattn.Recurrence(backward=None if held else DampedEma())
    params = recurrence.init(jax.random.key(0), Dims(1, 1, 1, HEADS, HEADS, model_width=HEADS)).params
    return lambda x, params: jattn.damped_ema(x, params, **held), (*given, params)


def recurring():
    """`recur` of complex states and several segments, its state too."""
    recurrence = jattn.Recurrence(S4D(2))
    dims = Dims(1, 1, 1, HEADS, HEADS, model_width=HEADS)
    params, buffers = recurrence.init(jax.random.key(0), dims)
    state = recurrence.state(dims, jnp.bfloat16, recurrence.own(Variables(params, buffers)))
    state = jax.tree.map(lambda x: jnp.stack([x] * BATCH), state)

    def call(x, params):
        variables = Variables(params, buffers)
        found = jattn.recur(x, recurrence, variables=variables, segments=SEGMENTS, state=state)
        return found.out, found.state.states.real

    return call, (shape(BATCH, TOKENS, HEADS), params)


def mega(chunk=None):
    """`mega_attention` in chunks, its state too, or of all keys by element-wise weights in both directions."""
    recurrence = jattn.Recurrence(backward=None if chunk else DampedEma())
    projection = jattn.nn.Mega(WIDTH, 8, recurrence, dropout=0.1)
    attention = Attention((PerVisible(), RotaryBias()), normalizer=Laplace(), scale=1)
    if chunk:
        attention = Attention(RelativeBias(chunk), Causal() & BlockDiagonal(chunk), dropout=0.1, cache=Recent(chunk))
    dims = projection.dims(MODEL_WIDTH, 1, None)
    params = projection.init(jax.random.key(0), dims).params, attention.init(jax.random.key(1), dims).params

    def call(x, *params):
        held = tuple(Variables(each, {}) for each in params)
        state = jattn.mega_state(projection, attention, held, MODEL_WIDTH, 1, (BATCH,)) if chunk else None
        options = {"layout": Layout(valid=lengths), "rng": None if chunk else jax.random.key(2), "state": state}
        return jattn.mega_attention(x, projection, attention, variables=held, **options)

    return call, (shape(BATCH, TOKENS, MODEL_WIDTH), *params)


def drop_in(**options):
    def call(query, key, value, bias):
        return jattn.dot_product_attention(query, key, value, bias, **options)

    return call, (QUERY, KEY, KEY, shape(BATCH, 1, 1, TOKENS))


def merging():
    rows = (BATCH, TOKENS, HEADS)
    stats = Stats(*(shape(*rows, dtype=jnp.float32) for _ in range(3)), None, {})
    visible = np.ones(rows, np.int32)

    def call(a, b):
        return jattn.merge(*(each._replace(stats=each.stats._replace(visible=visible)) for each in (a, b)))

    part = Attended(shape(*rows, 8), stats)
    return call, (part, part)


def linen_layer():
    attention = Attention(score=T5Bias(), mask=Causal())
    layer = linen.MultiHeadDotProductAttention(HEADS, attention_fn=jattn.attention_fn(attention))
    x = shape(BATCH, TOKENS, 32, dtype=jnp.float32)
    params = jax.eval_shape(lambda x: layer.init(jax.random.key(0), x, sow_weights=True), x)

    def call(params, x):
        return layer.apply(params, x, sow_weights=True, mutable=["intermediates"])

    return call, (params, x)


def nnx_layer():
    hook = jattn.attention_fn(Attention(mask=Causal()))
    layer = nnx.MultiHeadAttention(HEADS, 32, decode=False, attention_fn=hook, rngs=nnx.Rngs(0))
    graph, params, rest = nnx.split(layer, nnx.Param, ...)
    return lambda params, x: nnx.merge(graph, params, rest)(x), (params, shape(BATCH, TOKENS, 32, dtype=jnp.float32))


def entropies():
    attention = Attention(mask=Causal())
    return lambda query, key: jattn.attention_entropy(query, key, attention), (QUERY, KEY)


def of_heads():
    return shape(BATCH, HEADS, dtype=jnp.float32)


def weights():
    attention = Attention(mask=Causal())
    return lambda query, key: jattn.attention_weights(query, key, attention, rows=slice(0, 9)), (QUERY, KEY)


lengths = jnp.array([TOKENS, 200])
# public functions, each with what makes it another program
CASES = {
    "attend, segments": lambda: attending(
        Attention(mask=Causal() & Window(64)), Layout(segments=SEGMENTS, valid=lengths, positions=np.arange(TOKENS))
    ),
    "attend, mask and bias": lambda: attending(
        Attention(), Layout(mask=BOTH_SIDES, bias=np.ones((1, TOKENS, TOKENS), np.float32))
    ),
    "attend, dropout": lambda: attending(Attention(dropout=0.1, mask=Causal()), rng=jax.random.key(0)),
    "attend, functions": lambda: attending(
        Attention(score=lambda s, b, h, q, k: s * jnp.cos(q - k), mask=lambda b, h, q, k: (q - k) % 3 == h)
    ),
    "attend, linear and diagonal": lambda: attending(LogNormalDiagonal(mixing="scale")),
    "attend, linear and convolution": lambda: attending(AugmentedLinear()),
    "attend, state": decoding,
    "dot_product_attention": lambda: drop_in(
        is_causal=True, mask=Prefix(4) | Window(100), key_value_seq_lengths=lengths, return_residual=True
    ),
    "dot_product_attention, dense": lambda: drop_in(is_causal=True, implementation="dense"),
    "dot_product_attention, xla": lambda: drop_in(is_causal=True, implementation="xla"),
    "attention_entropy": entropies,
    "attention_weights": weights,
    "entropy_bands": lambda: (lambda entropy: (entropy, jattn.entropy_bands(entropy)), [of_heads()]),
    "entropy_lower_bound": lambda: (lambda norm: jattn.entropy_lower_bound(norm, TOKENS), [of_heads()]),
    "entropy_penalty": lambda: (
        lambda entropy, share: jattn.entropy_penalty(entropy, share, jnp.ones((1, 1, 1, 1))),
        (shape(2, BATCH, TOKENS, HEADS, dtype=jnp.float32), shape(2, HEADS, dtype=jnp.float32)),
    ),
    "linear_attention": linear,
    "delta_attention": delta,
    "damped_ema": averaging,
    "damped_ema, truncation": lambda: averaging(truncation=9),
    "recur": recurring,
    "mega_attention": mega,
    "mega_attention, chunks": lambda: mega(128),
    "performer_attention": lambda: (
        lambda q, k, v: jattn.performer_attention(q, k, v, jax.random.key(0)),
        (QUERY, KEY, VALUE),
    ),
    "parallel_attention": lambda: (
        lambda q, k: jattn.parallel_attention(q, [(k[:, :100], k[:, :100]), (k[:, 100:], k[:, 100:])], kept=1),
        (QUERY, KEY),
    ),
    "sigma_reparam": lambda: (jattn.sigma_reparam, [shape(*each, dtype=jnp.float32) for each in ((9, 5), (), (5,))]),
    "merge": merging,
    "attention_fn, linen": linen_layer,
    "attention_fn, nnx": nnx_layer,
}


@pytest.mark.parametrize("case", CASES)
def test_a_public_function_lowers(case):
    function, arguments = CASES[case]()
    assert_lowers(function, *arguments)


def test_no_public_function_is_left_out():
    public = {name for name in dir(jattn) if inspect.isfunction(getattr(jattn, name))}
    assert {case.partition(",")[0] for case in CASES} | NOT_COMPUTED == public


# each part once, several slots in one program
SLOTS = [parts_of(slot) for slot in (Score, Mask, Normalizer, Position)]
TOGETHER = list(zip(*(itertools.islice(itertools.cycle(slot), max(map(len, SLOTS))) for slot in SLOTS), strict=True))


@pytest.mark.parametrize("parts", TOGETHER, ids=lambda parts: ", ".join(part.__name__ for part in parts))
def test_a_part_lowers(parts):
    function, arguments = attending(Attention(*(part() for part in parts)))
    assert_lowers(function, *arguments)
