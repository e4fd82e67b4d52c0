"""Mega's layer against its equations written out token by token in float64, its gradients, decoding, and its limits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import erf

from jattn.layers.block import Block
from jattn.layers.buffers import arrays
from jattn.layers.flow import Flow
from jattn.layers.heads.mega import Mega, mega_attention
from jattn.layers.multihead import MultiHead
from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.linear import LinearAttention
from jattn.mechanisms.recurrence import Recurrence
from jattn.part import Rng
from jattn.parts.caches.recent import Recent
from jattn.parts.decays.retention import Retention
from jattn.parts.masks import Full
from jattn.parts.masks.block_diagonal import BlockDiagonal
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers.laplace import Laplace
from jattn.parts.normalizers.squared_relu import SquaredRelu
from jattn.parts.scores.per_visible import PerVisible
from jattn.parts.scores.relative_bias import RelativeBias
from jattn.parts.scores.rotary_bias import RotaryBias
from jattn.parts.transitions.damped_ema import DampedEma
from tests.support import largest_intermediate

WIDTH, SHARED, VALUE, TOKENS, CHUNK = 6, 4, 10, 13, 5
X = np.random.default_rng(0).normal(size=(3, TOKENS, WIDTH)).astype(np.float32)
# one whole row, one padded at the left, one at the right
VALID = np.arange(TOKENS)[None] >= np.array([[0], [3], [0]])
VALID[2, 9:] = False
FUNCTIONS = {
    "softmax": Attention(RotaryBias(), Causal()),
    "laplace": Attention((PerVisible(), RelativeBias(TOKENS)), Causal(), Laplace(), scale=1.0),
    "squared relu": Attention((PerVisible(), RelativeBias(TOKENS)), Causal(), SquaredRelu("one"), scale=1.0),
    "chunks": Attention(RelativeBias(CHUNK), Causal() & BlockDiagonal(CHUNK)),
    "laplace in chunks": Attention(
        (PerVisible(), RotaryBias()), Causal() & BlockDiagonal(CHUNK), Laplace(), scale=1, cache=Recent(CHUNK)
    ),
    "both ways": Attention((PerVisible(), RelativeBias(TOKENS)), Full(), Laplace(), scale=1.0),
}


def mega(name="softmax", **options):
    ema = DampedEma(3)
    recurrence = Recurrence(ema, backward=ema if name == "both ways" else None)
    return Mega(**({"shared": SHARED, "value": VALUE, "recurrence": recurrence} | options))


def layer(name="softmax", **options):
    made = mega(name, **options)
    return louder(MultiHead(FUNCTIONS[name], made, made.dims(WIDTH, 1, None), rngs=nnx.Rngs(0)))


def louder(module):
    """The same with arrays of order 1, so that logits, gates and biases count."""
    graphdef, params = nnx.split(module)
    rng = np.random.default_rng(7)
    drawn = jax.tree.map(lambda leaf: jnp.asarray(leaf + 0.4 * rng.normal(size=leaf.shape), leaf.dtype), params)
    return nnx.merge(graphdef, drawn)


# the equations of the paper and of its code, token by token, in NumPy or, for gradients, in JAX


def silu(np, x):
    return x / (1 + np.exp(-x))


def sigmoid(np, x):
    return 1 / (1 + np.exp(-x))


def moving_average(np, w, x, valid):
    """x_t enters h averages of each channel with weight p beta, and these fade by q."""
    p, damping = sigmoid(np, w["delta"]), sigmoid(np, w["alpha"])
    state, rows = np.zeros(w["delta"].shape), []
    for token, there in zip(x, valid, strict=True):
        state = (1 - p * damping) * state + p * w["beta"] * (token * there)[:, None]
        rows.append((w["gamma"] * state).sum(-1) / w["gamma"].shape[1] ** 0.5)
    return np.stack(rows)


def heard(np, w, x, valid):
    y = moving_average(np, w["transition"], x, valid)
    if "backward" in w:
        y = y + moving_average(np, w["backward"], x[::-1], valid[::-1])[::-1]
    return silu(np, y + w["omega"] * x)


def bias(np, w, length):
    """Each pair's, by distance."""
    i, j = np.arange(length)[:, None], np.arange(length)[None]
    if "table" in w:
        middle = (w["table"].shape[1] - 1) // 2
        return w["table"][0][np.clip(middle + j - i, 0, 2 * middle)]
    size = w["query"].shape[1]
    angle = np.arange(length)[:, None] * 10000.0 ** -(np.arange(size // 2) / (size // 2))

    def turned(vector):
        a, b = vector[: size // 2], vector[size // 2 :]
        return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], 1)

    return turned(w["query"][0]) @ turned(w["key"][0]).T


def weights(np, name, logits, seen, erf):
    if name in ("softmax", "chunks"):
        weight = np.where(seen, np.exp(logits), 0)
        mass = weight.sum(1, keepdims=True)
        return weight / np.where(mass == 0, 1, mass)
    if name == "squared relu":
        return np.where(seen, np.maximum(logits, 0) ** 2, 0)
    return np.where(seen, (1 + erf((logits - 0.5**0.5) * (2 * np.pi) ** 0.5)) / 2, 0)


def written_out(np, name, w, x, valid, stream, erf):
    """phi (H - stream) of one example."""
    w, scores = w["projecting"], w["attending"].get("score", {})
    affine = lambda part, x: x @ w[part] + w[part + "_bias"]  # noqa: E731
    value = silu(np, affine("value", x)) * valid[:, None]
    average = heard(np, w["recurrence"], x, valid) if "recurrence" in w else x
    shared = silu(np, affine("shared", average))
    query, key = (w["scale"][n] * shared + w["offset"][n] for n in (0, 1))
    i, j = np.arange(len(x))[:, None], np.arange(len(x))[None]
    seen = valid[None] & ((i >= j) | (name == "both ways")) & ((i // CHUNK == j // CHUNK) | ("chunks" not in name))
    divisor = SHARED**0.5 if name in ("softmax", "chunks") else np.maximum(seen.sum(1, keepdims=True), 1)
    (last,) = [scores[number] for number in scores]
    out = weights(np, name, query @ key.T / divisor + bias(np, last, len(x)), seen, erf) @ value
    reset, update = silu(np, affine("reset_gate", average)), sigmoid(np, affine("update_gate", average))
    candidate = silu(np, affine("candidate", average) + affine("output", reset * out))
    return update * (candidate - stream)


def plain(module):
    """A layer's arrays, nested by name, params alone."""
    return {"projecting": arrays(module.projecting).params, "attending": arrays(module.attending).params}


def wide(tree, dtype=np.float64):
    return jax.tree.map(lambda leaf: np.asarray(leaf, dtype), tree)


def by_hand(module, name, x, valid=VALID, stream=None):
    w, stream = wide(plain(module)), x if stream is None else stream
    each = zip(wide(x), valid, wide(stream), strict=True)
    return np.stack([written_out(np, name, w, *one, erf) for one in each])


@functools.partial(jax.jit, static_argnums=0)
def run(graphdef, weights, x, valid):
    return nnx.merge(graphdef, weights)(x, Flow(Layout(valid=valid)))[0]


def ran(module, x, valid=VALID):
    return run(*nnx.split(module), x, valid)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_the_papers_layer(name):
    module = layer(name)
    want = by_hand(module, name, X)
    # float32 through six products of ten terms each
    np.testing.assert_allclose(ran(module, X)[VALID], want[VALID], atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize(
    "name",
    [
        "laplace in chunks",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("softmax", "laplace", "squared relu", "chunks", "both ways")
        ),
    ],
)
def test_gradients_are_those_of_the_papers_layer(name):
    module = layer(name)
    weigh = np.random.default_rng(1).normal(size=X.shape) * VALID[..., None]

    def loss(weights, x):
        return (run(graphdef, weights, x, VALID) * weigh.astype(np.float32)).sum()

    graphdef, held = nnx.split(module)
    found, of_x = jax.jit(jax.grad(loss, (0, 1)))(held, X)
    found = plain(nnx.merge(graphdef, found))
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):

        def exact(w, x):
            one = lambda x, valid: written_out(jnp, name, w, x, valid, x, jax.scipy.special.erf)  # noqa: E731
            return (jax.vmap(one)(x, VALID) * weigh).sum()

        wanted, wanted_x = jax.jit(jax.grad(exact, (0, 1)))(jax.tree.map(jnp.asarray, wide(plain(module))), wide(X))
        wanted, wanted_x = wide(wanted), np.asarray(wanted_x)
    # sums of some hundred float32 products
    close = lambda got, want: np.testing.assert_allclose(got, want, atol=2e-5 * max(1, np.abs(want).max()))  # noqa: E731
    jax.tree.map(close, wide(found), wanted)
    close(of_x, wanted_x)
    # rows that see no key too
    assert np.isfinite(of_x).all()


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "both ways"])
def test_no_row_hears_a_later_token(name):
    module, later = layer(name), X.copy()
    later[:, 7:] += 10
    np.testing.assert_array_equal(ran(module, later)[:, :7], ran(module, X)[:, :7])


def test_a_chunk_as_long_as_the_line_is_no_chunk():
    table = RelativeBias(TOKENS)
    module = layer("chunks")
    module.attention = Attention(table, Causal() & BlockDiagonal(TOKENS))
    module.attending["score"]["0"]["table"] = nnx.Param(jnp.ones((1, 2 * TOKENS - 1)).at[0, 3:15].set(-1))
    whole = nnx.merge(*nnx.split(module))
    whole.attention = Attention(table, Causal())
    np.testing.assert_allclose(ran(module, X), ran(whole, X), atol=1e-6)


def test_chunks_hear_each_other_by_the_average_alone():
    moved = X.copy()
    moved[:, :CHUNK] += 1
    apart, joined = layer("chunks", recurrence=None), layer("chunks")
    np.testing.assert_array_equal(ran(apart, moved)[:, CHUNK:], ran(apart, X)[:, CHUNK:])
    change = np.abs(ran(joined, moved) - ran(joined, X))[:, CHUNK:]
    assert (change[0] > 1e-4).any(-1).sum() > 4
    want = by_hand(apart, "chunks", X)
    np.testing.assert_allclose(ran(apart, X)[VALID], want[VALID], atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_update_gate_keeps_the_stream_or_replaces_it(place):
    module = layer()
    block = Block(module, None, WIDTH, "layer", place, rngs=nnx.Rngs(0))
    x = 3 * X + 1
    inputs = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) if place == "before" else x
    norm = lambda y: y if place == "before" else block.after_mixer(jnp.asarray(y, jnp.float32))  # noqa: E731
    module.projecting["update_gate"][...] = jnp.zeros((WIDTH, WIDTH))
    for gate, want in ((-1e3, x), (1e3, by_hand_candidate(module, inputs))):
        module.projecting["update_gate_bias"][...] = jnp.full(WIDTH, gate)
        got = block(x, Flow(Layout(valid=VALID)))[0]
        # 1 times a difference and a sum: two roundings of the stream
        np.testing.assert_allclose(got[VALID], norm(want)[VALID], atol=2e-5)


def by_hand_candidate(module, inputs):
    """H, which is what a stream of zeros becomes where the gate is 1."""
    module.projecting["update_gate_bias"][...] = jnp.full(WIDTH, 1e3)
    return by_hand(module, "softmax", inputs, stream=np.zeros_like(inputs))


@pytest.mark.parametrize(
    "name", ["chunks", *(pytest.param(name, marks=pytest.mark.slow) for name in ("laplace in chunks", "softmax"))]
)
def test_decoding_across_chunk_borders_is_one_pass_with_any_blocks(name):
    module = layer(name)
    graphdef, weights = nnx.split(module)

    @jax.jit
    def step(x, valid, state):
        y, flow, _ = nnx.merge(graphdef, weights)(x, Flow(Layout(valid=valid), state=state))
        return y, flow.state

    # three chunks are ended, and a fourth is begun: 16 tokens of 5 a chunk
    x = np.concatenate([X, X[:, :3]], 1)
    valid = np.concatenate([VALID[:2], np.ones((2, 3), bool)], 1)
    x = x[:2]
    whole, states = ran(module, x, valid), []
    for sizes in ([16], [1] * 16, [6, 4, 1, 5]):
        state, rows, first = module.state(2, 16, jnp.float32), [], 0
        for size in sizes:
            y, state = step(x[:, first : first + size], valid[:, first : first + size], state)
            rows.append(y)
            first += size
        # rows that are no token's may be anything
        np.testing.assert_allclose(np.concatenate(rows, 1)[valid], whole[valid], atol=1e-5)
        states.append(state)
    for other in states[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), other, states[0])
    assert (np.asarray(states[0].projection.length) == 16).all()
    # a chunk's keys, or all
    assert states[0].attention.key.shape[1] == (CHUNK if name == "laplace in chunks" else 16)


def test_a_state_of_another_model_is_refused():
    module = layer()
    for other in (layer(recurrence=Recurrence(DampedEma(2))), layer(recurrence=None)):
        with pytest.raises(ValueError, match=r"goes on in the layer that it is of, got .* where this one carries"):
            module(X, Flow(state=other.state(3, 20, jnp.float32)))
    with pytest.raises(ValueError, match="goes on in the layer that it is of, got nothing of Mega"):
        module(X, Flow(state=module.state(3, 20, jnp.float32).attention))
    with pytest.raises(ValueError, match="goes on in the attention that it is of"):
        module(X, Flow(state=layer(value=12).state(3, 20, jnp.float32)))
    chunks = layer("laplace in chunks")
    chunks.attention = Attention(mask=BlockDiagonal(CHUNK), cache=Recent(CHUNK + 1))
    with pytest.raises(ValueError, match=r"got one of the last 6 tokens for Recent\(5\)"):
        layer("laplace in chunks")(X, Flow(state=chunks.state(3, 20, jnp.float32)))


def test_variables_of_another_size_are_refused():
    attention = Attention(RotaryBias(), Causal())
    sizes = Mega(shared=6).dims(8, 1, None)
    given = Mega(shared=6).init(jax.random.key(0), sizes), attention.init(jax.random.key(1), sizes)
    with pytest.raises(ValueError, match=r"The array '.*' has the shape .* in a call of these sizes and options, got"):
        mega_attention(jnp.ones((1, 5, 8)), Mega(shared=4), attention, variables=given)


def test_rows_without_keys_give_no_attention_and_no_gradient_is_lost():
    # the padded row sees only padded keys
    module = layer("laplace")
    valid = np.zeros((3, TOKENS), bool)
    w = wide(plain(module))
    got = ran(module, X, valid)
    want = by_hand(module, "laplace", X, valid)
    assert w["projecting"]["output_bias"].any()
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def test_segments_are_lines_of_their_own():
    graphdef, weights = nnx.split(layer())
    segments = jnp.asarray(np.arange(TOKENS) // 6)
    packed = jax.jit(lambda x: nnx.merge(graphdef, weights)(x, Flow(Layout(segments=segments)))[0])(X)
    np.testing.assert_allclose(packed[:, 6:12], run(graphdef, weights, X[:, 6:12], None), atol=1e-5)


def test_other_mechanisms_attend_inside_and_no_token_is_none():
    module = layer()
    inside = LinearAttention(decay=Retention())
    module = MultiHead(inside, module.projection, module.dims, rngs=nnx.Rngs(0))
    graphdef, weights = nnx.split(louder(module))
    whole, state = run(graphdef, weights, X, None), module.state(3, TOKENS, jnp.float32)
    step = jax.jit(lambda x, state: nnx.merge(graphdef, weights)(x, Flow(state=state))[:2])
    first, flow = step(X[:, :6], state)
    rest, _ = step(X[:, 6:], flow.state)
    np.testing.assert_allclose(np.concatenate([first, rest], 1), whole, atol=1e-5)
    assert step(X[:, :0], state)[0].shape == (3, 0, WIDTH)


def test_bfloat16_stays_itself_and_near():
    module = layer("laplace in chunks")
    got = ran(module, X.astype(jnp.bfloat16))
    assert got.dtype == jnp.bfloat16
    want = by_hand(module, "laplace in chunks", X)
    # eight bits through six products
    np.testing.assert_allclose(got[VALID].astype(np.float32), want[VALID], atol=0.06 * np.abs(want).max())


def test_features_drop_by_key_and_slot_alone():
    module = layer(dropout=0.5, value_dropout=0.25)
    graphdef, weights = nnx.split(module)

    @jax.jit
    def noisy(x, rng, state=None):
        y, flow, _ = nnx.merge(graphdef, weights)(x, Flow(rng=rng, state=state))
        return y, flow.state

    keys = jax.random.split(jax.random.key(3), 3)
    rng = Rng(keys[0], keys[0], keys)
    y, _ = noisy(X, rng)
    assert np.abs(y - ran(module, X, None)).max() > 0.1
    # another place in the batch, and in a second call
    np.testing.assert_allclose(noisy(X[::-1], rng._replace(example=keys[::-1]))[0], y[::-1], atol=1e-6)
    state, rows = module.state(3, TOKENS, jnp.float32), []
    for part in (X[:, :6], X[:, 6:12]):
        found, state = noisy(part, rng, state)
        rows.append(found)
    np.testing.assert_allclose(np.concatenate(rows, 1), y[:, :12], atol=1e-5)


@pytest.mark.slow
def test_memory_is_linear():
    def largest(tokens):
        module, x = layer("laplace in chunks"), jax.ShapeDtypeStruct((1, tokens, WIDTH), jnp.float32)
        graphdef, weights = nnx.split(module)
        return largest_intermediate(jax.grad(lambda w, x: run(graphdef, w, x, None).sum(), (0, 1)), weights, x)

    assert largest(1009) < 1009**2
    # from 2048 on tiles grow no more
    assert largest(8072) <= 2.1 * largest(4036)


def test_sizes_and_starts():
    made = Mega(recurrence=Recurrence(DampedEma(16)))
    dims = made.dims(256, 1, None)
    assert (dims.key_width, dims.value_width) == (128, 512)
    params = made.init(jax.random.key(0), dims).params
    width, z, v = 256, 128, 512
    # kernels and biases, scales and offsets, four arrays of averages and what the input counts
    count = width * (2 * width + z + 2 * v) + v * width + 3 * width + z + 2 * v + 4 * z + 4 * 16 * width + width
    assert sum(np.size(leaf) for leaf in jax.tree.leaves(params)) == count
    for name in (*Mega.AXES, "scale"):
        # 256 draws of the least of them: within 2 % for kernels, four deviations for it
        assert abs(np.std(params[name]) / 0.02 - 1) < (0.02 if name in Mega.AXES else 0.18)
    assert not any(params[f"{name}_bias"].any() for name in Mega.AXES) and not params["offset"].any()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Mega(shared=0), ValueError, "Mega.shared must be at least 1 feature, got 0"),
        (lambda: Mega(value=0), ValueError, "Mega.value must be at least 1 feature, got 0"),
        (lambda: Mega(dropout=1.0), ValueError, r"Mega.dropout must be a probability in \[0, 1\), got 1.0"),
        (lambda: Mega(activation="swish"), ValueError, "An activation must be one of .*, got 'swish'"),
        (
            lambda: Mega(recurrence=DampedEma()),
            TypeError,
            "Mega.recurrence must be a Recurrence or None, got DampedEma",
        ),
        (lambda: Mega().dims(8, 2, None), ValueError, "Mega has one head, .* got 2 heads"),
        (lambda: layer()(X, Flow(memory=X)), ValueError, "Mega attends within one line of tokens"),
    ],
)
def test_what_does_not_fit_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()
