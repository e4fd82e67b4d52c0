"""The masks and scores that attention-gym lists, as functions of one pair, beside their meaning pair by pair in NumPy.

Source: the names and meanings are those of `attn_gym.masks` and `attn_gym.mods` of meta-pytorch/attention-gym.
What picks tiles by data there (`compute_vsa_topk_indices`) is no function of a pair; the mask of what it picked is.
`tanh_softcap_approx` is `tanh_softcap` by an instruction of one processor.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jattn
from jattn.masks import Causal, Dilated, Full, Prefix, Window
from jattn.scores import Alibi, SoftCap
from tests.support import float64, small_tiles  # noqa: F401

N, EXAMPLES, WIDTH = 64, 2, 4
RNG = np.random.default_rng(0)


def causal(b, h, q, k):
    return q >= k


def sliding_window(b, h, q, k):
    return (q >= k) & (q - k <= 9)


def prefix_lm(b, h, q, k):
    return (k < 11) | (q >= k)


def dilated_sliding_window(b, h, q, k):
    return (abs(q - k) <= 12) & (abs(q - k) % 3 == 0)


GLOBAL = np.isin(np.arange(N), [0, 17, 40])


def global_sliding_window(b, h, q, k):
    is_global = jnp.asarray(GLOBAL)
    return (abs(q - k) <= 5) | is_global[q] | is_global[k]


STARTS = np.array([0, 7, 19, 36, 64])
DOCUMENT = np.repeat(np.arange(4), np.diff(STARTS))


def batchified(inner, size):
    return lambda b, h, q, k: (q // size == k // size) & inner(b, h, q % size, k % size)


def documents(inner):
    def mask(b, h, q, k):
        document, starts = jnp.asarray(DOCUMENT), jnp.asarray(STARTS)
        return (document[q] == document[k]) & inner(b, h, q - starts[document[q]], k - starts[document[k]])

    return mask


def packed_causal_documents(b, h, q, k):
    return (k >= jnp.asarray(STARTS)[jnp.asarray(DOCUMENT)[q]]) & (q >= k)


# the second and the fourth document go on from the first
GOES_ON = np.array([0, 0, 2, 0])


def shared_prefix(b, h, q, k):
    document, starts, goes_on = (jnp.asarray(x) for x in (DOCUMENT, STARTS, GOES_ON))
    mine = document[q]
    before = goes_on[mine]
    return (k >= starts[mine]) & (q >= k) | (mine != before) & (k >= starts[before]) & (k < starts[before + 1])


def block_diffusion(b, h, q, k, half=N // 2, size=5):
    q_noised, k_noised = q < half, k < half
    q_block, k_block = q % half // size, k % half // size
    own = (q_block == k_block) & (q_noised == k_noised)
    return own | q_noised & ~k_noised & (q_block > k_block) | ~q_noised & ~k_noised & (q_block >= k_block)


def near_on_canvas(place, sizes, kernel):
    """Each axis within half a kernel of the query's place, moved in where the kernel would leave the canvas."""

    def mask(b, h, q, k):
        seen = True
        for mine, other, size, wide in zip(place(q), place(k), sizes, kernel, strict=True):
            seen &= abs(jnp.clip(mine, wide // 2, size - 1 - wide // 2) - other) <= wide // 2
        return seen

    return mask


def by_rows(n):
    return n // 8, n % 8


def by_tiles(n, rows=2, columns=4):
    tile, inside = n // (rows * columns), n % (rows * columns)
    across = 8 // columns
    return tile // across * rows + inside // columns, tile % across * columns + inside % columns


def by_morton(n):
    """The odd bits and the even bits."""
    return sum((n >> 2 * bit + 1 & 1) << bit for bit in range(3)), sum((n >> 2 * bit & 1) << bit for bit in range(3))


# a picture or a film of 48 tokens in tiles, 13 tokens of text, and padding
PICTURE, TEXT = 48, 13


def sliding_tiles(canvas, kernel, tile):
    counts = [a // b for a, b in zip(canvas, tile, strict=True)]
    spans = [a // b for a, b in zip(kernel, tile, strict=True)]

    def place(n):
        n = n // math.prod(tile)
        return [n // math.prod(counts[axis + 1 :]) % count for axis, count in enumerate(counts)]

    def mask(b, h, q, k):
        near = (q < PICTURE) & (k < PICTURE)
        for mine, other, count, span in zip(place(q), place(k), counts, spans, strict=True):
            before, after = span // 2, span // 2 + span % 2 - 1
            middle = jnp.clip(mine, before, count - 1 - after)
            near &= (other >= middle - before) & (other <= middle + after)
        text = (k >= PICTURE) & (k < PICTURE + TEXT)
        return near | (q < PICTURE) & text | (q >= PICTURE) & (k < PICTURE + TEXT)

    return mask


# sparse video generation: 4 tokens of a prompt, 5 frames of 12
PROMPT, FRAMES, FRAME = 4, 5, 12


def spatial_head(sink):
    def mask(b, h, q, k):
        return (q < PROMPT) | (k < PROMPT + sink * FRAME) | (abs(q - k) < 2 * FRAME // 16 * 16)

    return mask


def temporal_head(b, h, q, k):
    q_token, k_token = (q - PROMPT) % FRAME, (k - PROMPT) % FRAME
    return (q < PROMPT) | (k < PROMPT) | (abs(q_token - k_token) < 2 * FRAME // FRAMES)


# tiles of 8 keys that each tile of queries picked, and how many keys of a tile are real
PICKED = np.stack([RNG.permutation(8)[:3] for _ in range(EXAMPLES * 8)]).reshape(EXAMPLES, 8, 3)
REAL = np.array([8, 8, 5, 8, 8, 1, 8, 7])
PICKED_MAP = (PICKED[..., None] == np.arange(8)).any(-2)


def video_sparse(b, h, q, k):
    return (jnp.asarray(PICKED)[b, q // 8] == k // 8).any() & (k % 8 < jnp.asarray(REAL)[k // 8])


def video_sparse_by_map(b, h, q, k):
    return jnp.asarray(PICKED_MAP)[b, q // 8, k // 8]


def video_sparse_padding(b, h, q, k):
    return k % 8 < jnp.asarray(REAL)[k // 8]


# a paged cache: where each page of 8 keys lies in each example's own sequence, -1 for a page of another
LOGICAL = np.stack([RNG.permutation(8) for _ in range(EXAMPLES)])
LOGICAL[0, 2] = LOGICAL[1, 5] = -1


def paged(b, h, q, k):
    page = jnp.asarray(LOGICAL)[b, k // 8]
    return (page >= 0) & causal(b, h, q, page * 8 + k % 8)


def pair_by_pair(rule):
    return np.array([[bool(rule(q, k)) for k in range(N)] for q in range(N)])


def blocks(*sizes, inner=np.ones):
    seen, at = np.zeros((N, N), bool), 0
    for size in sizes:
        seen[at : at + size, at : at + size] = inner((size, size))[: N - at, : N - at]
        at += size
    return seen


def lower(shape):
    return np.tril(np.ones(shape))


def windows_on_canvas(place, rows=8, columns=8, kernel=(3, 5)):
    """For each query the kernel's first row and column that keep it on the canvas, and every place from there."""
    at = {place(n): n for n in range(N)}
    seen = np.zeros((N, N), bool)
    for (row, column), n in at.items():
        top = min(max(row - kernel[0] // 2, 0), rows - kernel[0])
        left = min(max(column - kernel[1] // 2, 0), columns - kernel[1])
        for other in np.ndindex(*kernel):
            seen[n, at[top + other[0], left + other[1]]] = True
    return seen


def tile_windows(counts, spans, numbers):
    """Whole tiles: `spans` of them on each axis, beginning half a span before the query's own, kept on the canvas."""
    seen = np.zeros((N, N), bool)
    tiles = list(np.ndindex(*counts))
    for n, mine in enumerate(tiles):
        first = [min(max(a - s // 2, 0), c - s) for a, s, c in zip(mine, spans, counts, strict=True)]
        for m, other in enumerate(tiles):
            if all(f <= a < f + s for f, a, s in zip(first, other, spans, strict=True)):
                seen[n * numbers : (n + 1) * numbers, m * numbers : (m + 1) * numbers] = True
    seen[:, PICTURE : PICTURE + TEXT] = True
    seen[PICTURE:, : PICTURE + TEXT] = True
    return seen


def diffusion_by_words(q, k, half=N // 2):
    (q_clean, q_at), (k_clean, k_at) = divmod(q, half), divmod(k, half)
    if q_clean:
        return k_clean and k_at // 5 <= q_at // 5
    return k_at // 5 < q_at // 5 if k_clean else k_at // 5 == q_at // 5


def goes_on_by_words(q, k):
    if DOCUMENT[q] == DOCUMENT[k]:
        return k <= q
    return DOCUMENT[k] == GOES_ON[DOCUMENT[q]]


def film_by_words(width):
    """Keys of the prompt for all, all keys for the prompt, else the places in a frame that differ by less."""

    def rule(q, k):
        if min(q, k) < PROMPT:
            return True
        return abs((q - PROMPT) % FRAME - (k - PROMPT) % FRAME) < width

    return rule


def paged_by_words(example):
    seen = np.zeros((N, N), bool)
    for page, where in enumerate(LOGICAL[example]):
        for offset in range(8):
            if where >= 0:
                seen[where * 8 + offset :, page * 8 + offset] = True
    return seen


REAL_KEYS = np.concatenate([np.arange(8) < n for n in REAL])
CHOSEN = PICKED_MAP.repeat(8, 1).repeat(8, 2)
# each a function and what it means: queries by keys, with an axis of examples where they differ
MASKS = {
    "causal": (causal, np.tri(N, dtype=bool)),
    "sliding window": (sliding_window, np.tri(N, dtype=bool) & ~np.tri(N, k=-10, dtype=bool)),
    "prefix lm": (prefix_lm, pair_by_pair(lambda q, k: k <= max(q, 10))),
    "dilated sliding window": (
        dilated_sliding_window, pair_by_pair(lambda q, k: k in range(q - 12, q + 13, 3)),
    ),
    "global sliding window": (
        global_sliding_window, pair_by_pair(lambda q, k: k in range(q - 5, q + 6) or GLOBAL[q] or GLOBAL[k]),
    ),
    "batchify": (batchified(causal, 10), blocks(*[10] * 7, inner=lower)),
    "documents": (documents(lambda b, h, q, k: k < 2), blocks(7, 12, 17, 28) & (np.arange(N) - STARTS[DOCUMENT] < 2)),
    "causal documents": (documents(causal), blocks(7, 12, 17, 28, inner=lower)),
    "packed causal documents": (packed_causal_documents, blocks(7, 12, 17, 28, inner=lower)),
    "shared prefix": (shared_prefix, pair_by_pair(goes_on_by_words)),
    "block diffusion": (block_diffusion, pair_by_pair(diffusion_by_words)),
    "natten": (near_on_canvas(by_rows, (8, 8), (3, 5)), windows_on_canvas(by_rows)),
    "tiled natten": (near_on_canvas(by_tiles, (8, 8), (3, 5)), windows_on_canvas(by_tiles)),
    "morton natten": (near_on_canvas(by_morton, (8, 8), (3, 5)), windows_on_canvas(by_morton)),
    "sliding tiles 2d": (sliding_tiles((6, 8), (4, 6), (2, 2)), tile_windows((3, 4), (2, 3), 4)),
    "sliding tiles 3d": (sliding_tiles((4, 4, 3), (2, 4, 3), (2, 2, 1)), tile_windows((2, 2, 3), (1, 2, 3), 4)),
    "spatial head": (spatial_head(0), pair_by_pair(lambda q, k: min(q, k) < 4 or abs(q - k) < 16)),
    "spatial head with sink": (spatial_head(1), pair_by_pair(lambda q, k: q < 4 or k < 16 or abs(q - k) < 16)),
    "temporal head": (temporal_head, pair_by_pair(film_by_words(4))),
    "video sparse": (video_sparse, CHOSEN & REAL_KEYS),
    "video sparse by map": (video_sparse_by_map, CHOSEN),
    "video sparse padding": (video_sparse_padding, np.broadcast_to(REAL_KEYS, (N, N))),
    "paged": (paged, np.stack([paged_by_words(example) for example in range(EXAMPLES)])),
}  # fmt: skip


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def vectors(tokens=N, keys=N, heads=2):
    return [draw(EXAMPLES, n, heads, WIDTH, seed=seed) for seed, n in enumerate((tokens, keys, keys))]


def defined(q, k, v, seen=True, score=lambda logits: logits):
    """Attention in NumPy: `seen` broadcasts to examples, heads, queries, keys; a row that sees no key is 0."""
    logits = score(np.einsum("bthd,bshd->bhts", q, k) * WIDTH**-0.5)
    seen = np.broadcast_to(seen, logits.shape)
    raised = np.where(seen, np.exp(logits - logits.max(-1, keepdims=True)), 0)
    mass = raised.sum(-1, keepdims=True)
    return np.einsum("bhts,bshd->bthd", raised / np.where(mass > 0, mass, 1), v)


def assert_exact(ours, definition, *arrays):
    """Values to rounding, and the slope along a random direction of each array to that of differences in NumPy."""
    weights = draw(*definition(*arrays).shape, seed=9)

    @jax.jit
    def both(*arrays):
        out, pull = jax.vjp(ours, *arrays)
        return out, pull(weights)

    out, grads = both(*arrays)
    np.testing.assert_allclose(out, definition(*arrays), rtol=0, atol=1e-13)
    for n, (array, grad) in enumerate(zip(arrays, grads, strict=True)):
        direction = draw(*array.shape, seed=10 + n)
        ends = [
            (definition(*arrays[:n], array + step * direction, *arrays[n + 1 :]) * weights).sum()
            for step in (1e-5, -1e-5)
        ]
        want = (ends[0] - ends[1]) / 2e-5
        # differences lose eleven digits of a sum of thousands of products, and a third derivative times 1e-10
        np.testing.assert_allclose((grad * direction).sum(), want, rtol=1e-7, atol=1e-7)
    return out


@pytest.fixture(autouse=True)
def _exactly(float64):  # noqa: F811
    pass


@pytest.fixture(scope="module")
def masked():
    """Each mask in a head of its own, so that one program holds them all."""
    functions = [function for function, _ in MASKS.values()]

    def mask(b, h, q, k):
        return jnp.stack([function(b, h, q, k) for function in functions])[h]

    seen = np.stack([np.broadcast_to(meant, (EXAMPLES, N, N)) for _, meant in MASKS.values()], 1)
    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patched:
        small_tiles(patched)
        arrays = vectors(heads=len(MASKS))
        call = lambda *qkv: jattn.attend(*qkv, jattn.Attention(mask=mask)).out  # noqa: E731
        return arrays, assert_exact(call, lambda *qkv: defined(*qkv, seen), *arrays)


@pytest.mark.parametrize("name", MASKS)
def test_masks_are_exact_values_and_gradients(name, masked):
    (q, k, v), out = masked
    head = list(MASKS).index(name)
    mine = [x[:, :, head : head + 1] for x in (q, k, v)]
    meant = MASKS[name][1].reshape(-1, 1, N, N)
    assert 0 < meant.mean() < 1
    np.testing.assert_allclose(out[:, :, head : head + 1], defined(*mine, meant), atol=1e-13)


def test_parts_say_the_same(masked):
    (q, k, v), out = masked
    parts = {
        "causal": Causal(),
        "sliding window": Window(9),
        "prefix lm": Prefix(11) | Causal(),
        "dilated sliding window": Window(12, 12) & Dilated(3),
    }
    heads = [list(MASKS).index(name) for name in parts]
    mine = [x[:, :, heads] for x in (q, k, v)]

    @jax.jit
    def each(q, k, v):
        return [
            jattn.attend(*(x[:, :, n : n + 1] for x in (q, k, v)), jattn.Attention(mask=part)).out
            for n, part in enumerate(parts.values())
        ]

    np.testing.assert_allclose(jnp.concatenate(each(*mine), 2), out[:, :, heads], atol=1e-13)


# the tree 0 - (1 - 3, 2 - (4, 5)), behind a prefix of 7
PARENTS, BEHIND = [-1, 0, 0, 1, 2, 2], 7
ANCESTORS = np.zeros((6, 6), bool)
for node in range(6):
    above = node
    while above >= 0:
        ANCESTORS[node, above] = True
        above = PARENTS[above]
# which text a picture of 5 tokens is shown to
SHOWN = np.array([[0, 9], [4, 20], [15, 24]])


def tree_causal(b, h, q, k):
    return (k < BEHIND) | (k >= BEHIND) & jnp.asarray(ANCESTORS)[q, jnp.clip(k - BEHIND, 0, 5)]


def draft_heads(b, h, q, k, size=4):
    k = k - BEHIND
    return (k < 0) | (q // size == k // size) & (k % size <= q % size)


def flamingo(b, h, q, k):
    first, last = jnp.asarray(SHOWN)[k // 5]
    return (q >= first) & (q < last)


CROSSED = {
    "jetspec tree": (tree_causal, np.concatenate([np.ones((6, BEHIND), bool), ANCESTORS], 1)),
    "jetspec training": (
        draft_heads, np.concatenate([np.ones((12, BEHIND), bool), np.kron(np.eye(3), np.tri(4)).astype(bool)], 1),
    ),
    "flamingo": (
        flamingo, np.array([[a <= q < b for a, b in SHOWN for _ in range(5)] for q in range(26)]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CROSSED)
def test_masks_of_other_keys_than_queries(name):
    mask, meant = CROSSED[name]
    call = lambda *qkv: jattn.attend(*qkv, jattn.Attention(mask=mask)).out  # noqa: E731
    assert_exact(call, lambda *qkv: defined(*qkv, meant), *vectors(*meant.shape))


HEADS, ROWS = 2, 20
DISTANCE = np.arange(ROWS)[:, None] - np.arange(ROWS)
SLOPES = 2.0 ** (-8 * np.arange(1, HEADS + 1) / HEADS).reshape(HEADS, 1, 1)


def scored(score, definition, *tables, mask=None):
    """`score(tables)` is the function of a pair, `definition(logits, *tables)` the same of all logits."""
    seen = True if mask is None else DISTANCE >= 0

    def ours(q, k, v, *tables):
        return jattn.attend(q, k, v, jattn.Attention(score=score(*tables), mask=mask or Full())).out

    assert_exact(
        ours,
        lambda q, k, v, *tables: defined(q, k, v, seen, lambda logits: definition(logits, *tables)),
        *vectors(ROWS, ROWS, HEADS),
        *tables,
    )


def test_alibi_as_a_part_and_as_a_function():
    def function(logit, b, h, q, k):
        return logit + (k - q) * 2.0 ** (-(h + 1) * 8 / HEADS)

    scored(lambda: function, lambda logits: logits - DISTANCE * SLOPES)
    # the part counts the distance to either side, so that the two are one where no later key is seen
    scored(Alibi, lambda logits: logits - DISTANCE * SLOPES, mask=Causal())


def test_soft_cap_as_a_part_and_as_a_function():
    for score in (lambda logit, b, h, q, k: 2 * jnp.tanh(logit / 2), SoftCap(2.0)):
        scored(lambda score=score: score, lambda logits: 2 * np.tanh(logits / 2))


def test_scores_of_the_notebook():
    def score(logit, b, h, q, k):
        logit = jnp.where((q - k) % 2 == 0, logit * 0.5, logit)
        return jnp.where(h % 2 == 1, logit * 2, logit) + (q - k).astype(logit.dtype) / 10

    factors = np.where(DISTANCE % 2 == 0, 0.5, 1) * np.array([1, 2]).reshape(2, 1, 1)
    scored(lambda: score, lambda logits: logits * factors + DISTANCE / 10)


def test_sandwich():
    rates = 10000.0 ** -(np.arange(0, 8, 2) / 8)
    table = np.cos(np.arange(ROWS)[:, None] * rates).sum(-1)
    ratio = HEADS / (8.0 * np.arange(1, HEADS + 1))

    def score(logit, b, h, q, k):
        return logit + jnp.asarray(table)[abs(q - k)] * jnp.asarray(ratio)[h]

    waves = np.stack([[np.cos(rates * (q - k)).sum() for k in range(ROWS)] for q in range(ROWS)])
    scored(lambda: score, lambda logits: logits + waves * ratio.reshape(HEADS, 1, 1))


def test_latent_attention_learns_its_turned_parts():
    def score(query, key):
        return lambda logit, b, h, q, k: logit + 0.3 * jnp.dot(query[b, h, q], key[b, h // HEADS, k])

    def definition(logits, query, key):
        return logits + 0.3 * np.einsum("bhtd,bsd->bhts", query, key[:, 0])

    scored(score, definition, draw(EXAMPLES, HEADS, ROWS, 3, seed=4), draw(EXAMPLES, 1, ROWS, 3, seed=5))


# a ring of nodes with a chord, in each example another one; five steps are too far
EDGE = np.stack([(abs(DISTANCE) % (ROWS - 1) == 1) | (abs(DISTANCE) == 6 + n) for n in range(EXAMPLES)])
KIND = np.random.default_rng(3).integers(0, 3, EDGE.shape)


@functools.cache
def paths(longest=4):
    """Steps from node to node, more than `longest` as one more, and the kinds of edges on the way."""
    steps = np.full(EDGE.shape, longest + 1)
    kinds = np.zeros((*EDGE.shape, longest), int)
    for b, start in np.ndindex(EXAMPLES, ROWS):
        steps[b, start, start] = 0
        ring = {start: []}
        for length in range(1, longest + 1):
            ring = {
                int(node): [*way, KIND[b, last, node]]
                for last, way in ring.items()
                for node in np.flatnonzero(EDGE[b, last])
                if steps[b, start, node] > longest
            }
            for node, way in ring.items():
                steps[b, start, node] = length
                kinds[b, start, node, :length] = way
    return steps, kinds


def test_graph_distances_learn_their_table():
    steps, _ = paths()
    assert {0, 1, 2, 3, 4, 5} == set(steps.ravel())

    def score(table):
        return lambda logit, b, h, q, k: logit + table[h, jnp.asarray(steps)[b, q, k]]

    scored(score, lambda logits, table: logits + np.moveaxis(table[:, steps], 0, 1), draw(HEADS, 6, seed=4))


def test_graph_edges_learn_their_table():
    steps, kinds = paths()
    lengths = np.where(steps > 4, 0, steps)

    def score(table):
        def function(logit, b, h, q, k):
            length = jnp.asarray(lengths)[b, q, k]
            on_way = table[h, jnp.arange(4), jnp.asarray(kinds)[b, q, k]]
            return logit + jnp.where(jnp.arange(4) < length, on_way, 0).sum() / jnp.maximum(length, 1)

        return function

    def definition(logits, table):
        means = np.zeros_like(logits)
        for b, h, q, k in np.ndindex(*logits.shape):
            way = [table[h, n, kinds[b, q, k, n]] for n in range(lengths[b, q, k])]
            means[b, h, q, k] = np.mean(way) if way else 0
        return logits + means

    scored(score, definition, draw(HEADS, 4, 3, seed=4))


def test_an_activation_in_place_of_softmax():
    offset = 1.0

    def ours(q, k, v):
        score = lambda logit, b, h, q, k: jnp.log(jax.nn.gelu(logit, approximate=False) + offset)  # noqa: E731
        found = jattn.attend(q, k, v, jattn.Attention(score=score))
        return found.out * jnp.exp(found.stats.log_normalizer)[..., None] - offset * v.sum(1, keepdims=True)

    def definition(q, k, v):
        logits = np.einsum("bthd,bshd->bhts", q, k) * WIDTH**-0.5
        shares = logits * (1 + np.vectorize(math.erf)(logits / 2**0.5)) / 2
        return np.einsum("bhts,bshd->bthd", shares, v)

    # the sum of twenty offsets is taken away again
    assert_exact(ours, definition, *vectors(ROWS, ROWS, HEADS))
