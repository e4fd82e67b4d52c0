"""What a training step takes at least: products, exchanges and memory of a model from its shapes, and their time.

Source: Austin et al., "How to Scale Your Model", 2025, jax-ml.github.io/scaling-book, parts 1 (times overlap at best,
add up at worst), 3 (gathers and sums over rings), 4 (products of a transformer) and 5 (what data, fsdp and tensor axes
send); Liu, Zaharia, Abbeel, "Ring Attention", 2023, arXiv:2310.01889, section 3 (what a context axis sends).
"""

import functools
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jattn.engines import ring, tiles, zigzag
from jattn.mechanisms import Mechanism
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.linear import LinearAttention
from jattn.models.bag import BagConfig
from jattn.models.decoder import DecoderConfig
from jattn.models.encoder_decoder import EncoderDecoderConfig
from jattn.models.vision_transformer import VisionTransformerConfig
from jattn.part import Place, Span
from jattn.parts.masks import Mask
from jattn.planning import linear
from jattn.planning.chips import Topology
from jattn.planning.program import Collective
from jattn.training.run import Run

# of the optimizer, of gradients and of what is summed
WIDE = 4
# spans along a side by which the pairs that a mask shows are counted
FINE = 1024


class Times(NamedTuple):
    """Seconds of a step for products, for memory and for exchanges."""

    compute: float
    memory: float
    communication: float

    @property
    def overlapped(self) -> float:
        """Where each hides behind the others."""
        return max(self)

    @property
    def one_by_one(self) -> float:
        """Where none hides."""
        return sum(self)


def seconds(collective: Collective, topology: Topology) -> float:
    """What one exchange takes over links that are otherwise free."""
    kind, _, devices, size = collective
    chip = topology.chip
    if kind == "collective-permute":
        return max(chip.hop, size / chip.link)
    if chip.axes:
        axes, ring = topology.path(devices)
        hops, farthest = (devices // 2, sum(axes) // 2) if ring else (devices - 1, sum(axes) - len(axes))
        gather = max(farthest * chip.hop, hops * size / devices / (len(axes) * chip.link))
    else:
        gather = size * (devices - 1) / devices / chip.link
    return 2 * gather if kind == "all-reduce" else gather


def communication(collectives: Mapping[Collective, int], topology: Topology) -> float:
    """What all exchanges of a step take, one after another."""
    return sum(count * seconds(each, topology) for each, count in collectives.items())


def times(flops: float, moved: float, collectives: Mapping[Collective, int], topology: Topology) -> Times:
    """The seconds of a step in which each device computes, moves to and from memory, and sends so much."""
    chip = topology.chip
    return Times(flops / chip.flops, moved / chip.bandwidth, communication(collectives, topology))


def masks(run: Run) -> tuple[Mask, ...]:
    """Of the attentions in one layer; of an encoder-decoder the target's own, the source's, and that across."""
    model = run.model
    if isinstance(model, EncoderDecoderConfig):
        return tuple(map(_mask, (model.attention, model.source_attention, model.cross_attention)))
    return (_mask(model.attention),)


def rows(run: Run) -> int:
    """Of an example's tokens, how many the head reads: one where they are pooled for its class."""
    return run.tokens if getattr(run.model, "classes", None) is None else 1


def dealt(run: Run, parts: int) -> np.ndarray:
    """The chunks of an example's tokens, all of one length, that each of so many devices has in a ring."""
    return _dealt(run, _mask(run.model.attention), parts)


@functools.cache
def _dealt(run: Run, mask: Mask, parts: int) -> np.ndarray:
    heads, length = run.model.heads, run.tokens // parts
    place = Place(np.arange(heads), heads, heads, 0, 0)
    return zigzag.dealt(parts) if ring.deals(mask, place, (length, length), parts) else np.arange(parts)[:, None]


def seen(run: Run, parts: int, side: int) -> float:
    """Pairs of an example's queries and keys in tiles of which some are seen, on the busiest of so many devices.

    Keys go round a ring, and in each turn all wait for the device with most of them to see. They are those of all
    attentions in a layer, the source of an encoder-decoder as long as its target.
    """
    return sum(_seen(run, mask, parts, side) for mask in masks(run))


@functools.cache
def _seen(run: Run, mask: Mask, parts: int, side: int) -> float:
    chunks = _dealt(run, mask, parts)
    length = run.tokens // chunks.size
    starts = (np.arange(chunks.size)[:, None] * length + np.arange(0, length, side)[None]).ravel()
    lasts = np.minimum(starts + side, (starts // length + 1) * length) - 1
    heads = run.model.heads
    place = Place(np.arange(heads)[:, None, None], heads, heads, 0, 0)
    query, key = Span(starts[:, None], lasts[:, None], run.tokens), Span(starts[None], lasts[None], run.tokens)
    some, _ = mask.reach(query, key, place)
    live = np.broadcast_to(some, (heads, len(starts), len(starts))).mean(0)
    pairs = live * (lasts - starts + 1)[:, None] * (lasts - starts + 1)[None]
    between = pairs.reshape(chunks.size, -1, chunks.size, len(starts) // chunks.size).sum((1, 3))
    work = between[chunks[:, None, :, None], chunks[None, :, None, :]].sum((2, 3))
    me = np.arange(parts)
    return float(sum(work[me, me - turn].max() for turn in range(parts)))


def _mask(attention: Mechanism) -> Mask:
    if not isinstance(attention, Attention):
        raise ValueError(
            f"Shapes alone tell of attention whose rows see what a mask lets them, got {type(attention).__name__}; let "
            f"the compiler plan it, without --paper, --choose and --simulate."
        )
    return attention.mask


def attention_flops(run: Run, sizes: Mapping[str, int], platform: str) -> float:
    """Products with queries, keys and values on the busiest device: two forward, and five with their gradient."""
    dims = run.model.projection.dims(run.model.width, run.model.heads, run.model.depth)
    forward, gradient = dims.key_width + dims.value_width, 3 * dims.key_width + 2 * dims.value_width
    passes = forward * (2 if run.remat == "block" else 1) + gradient
    examples = run.batch / sizes["data"] / sizes["fsdp"]
    # a single head is whole on every device
    heads = max(1.0, dims.heads / sizes["tensor"])
    length = run.tokens // dealt(run, sizes["context"]).size
    with jax.default_device(platform):
        side, block = max(tiles.tile_sizes(length, length)), tiles.sizes().block
    # where a mask is known when a program is traced, which it is not in a ring, tiles are visited by blocks
    pairs = seen(run, sizes["context"], min(side, block) if sizes["context"] == 1 else side)
    return 2.0 * passes * pairs * heads * examples * run.model.depth


class Weights(NamedTuple):
    """Numbers of a model's matrices: those of one layer, on average, of the embedding and of the head.

    Patches of an image and instances of a bag go through a matrix where words are looked up; a bag's pool is left out,
    and so is what a recurrence or a convolution adds to a layer. An encoder-decoder's layer is one of each side.
    """

    layer: float
    embedding: int
    head: int

    @staticmethod
    def of(run: Run) -> "Weights":
        """Those of a run."""
        model = run.model
        dims = model.projection.dims(model.width, model.heads, model.depth)
        made = jax.eval_shape(lambda: model.projection.init(jax.random.key(0), dims).params)
        projections = _matrices(made, model.projection.axes())
        attentions, sides = (3, 2) if isinstance(model, EncoderDecoderConfig) else (1, 1)
        layer = attentions * projections + sides * model.width * sum(_feed_forward(run))
        if isinstance(model, DecoderConfig) and model.embedding == "adaptive":
            widths = [model.width // model.factor**band for band in range(len(model.cutoffs) + 1)]
            edges = pairwise((0, *model.cutoffs, model.vocabulary))
            table = sum((stop - start) * width for (start, stop), width in zip(edges, widths, strict=True))
            # each narrow band has a logit of its own, and compares what is narrowed for it
            return Weights(layer, table, table + model.width * sum(width + 1 for width in widths[1:]))
        hidden = getattr(model, "classifier_width", None)
        head = model.width * _choices(run) if hidden is None else hidden * (model.width + _choices(run))
        return Weights(layer, model.width * sides * _features(run), head)


def _matrices(arrays: Mapping[str, Any], names: Mapping[str, Any]) -> int:
    """Numbers of those arrays, some of them nested, of whose axes two are named."""
    found = 0
    for name, each in arrays.items():
        if isinstance(each, Mapping):
            found += _matrices(each, names.get(name, {}))
        elif len(names.get(name, ())) > 1:
            found += each.size
    return found


def _features(run: Run) -> int:
    """What a token may be, as a word, or how many numbers a patch or an instance has; 1 where it is a number."""
    model = run.model
    if isinstance(model, BagConfig):
        return model.features
    if getattr(model, "reads", None) == "numbers":
        return 1
    return model.patch**2 * model.channels if isinstance(model, VisionTransformerConfig) else model.vocabulary


def _choices(run: Run) -> int:
    return getattr(run.model, "classes", None) or run.model.vocabulary


def _patches(run: Run) -> float:
    """Products of patches or instances with their matrix, forward, and of the matrix's gradient: pixels need none."""
    if isinstance(run.model, BagConfig):
        count = run.tokens
    elif isinstance(run.model, VisionTransformerConfig):
        count = (run.model.image // run.model.patch) ** 2
    else:
        return 0.0
    return 4.0 * run.batch * count * Weights.of(run).embedding


def _feed_forward(run: Run) -> tuple[float, ...]:
    """Outputs of the products of a feed-forward layer, for each feature of the stream, on average over the layers."""
    model = run.model
    hidden = model.expansion * model.width
    each = {"fused": (model.width,), "gated": (hidden,) * 3}.get(model.feedforward, (hidden,) * 2)
    return tuple(size * (model.depth - model.pruned) / max(1, model.depth) for size in each)


def model_flops(run: Run) -> float:
    """Products that the model itself asks for in a step, on all devices: nothing computed again, no pair unseen."""
    weights, dims = Weights.of(run), run.model.projection.dims(run.model.width, run.model.heads, run.model.depth)
    read = run.model.depth * weights.layer * run.tokens + weights.head * rows(run)
    if isinstance(run.model.attention, LinearAttention):
        attention = run.model.depth * run.tokens * linear.token_flops(run.model.attention, dims)
    else:
        pairs = run.model.depth * dims.heads * seen(run, 1, -(-run.tokens // FINE))
        attention = 6.0 * (dims.key_width + dims.value_width) * pairs
    return run.batch * (6.0 * read + attention) + _patches(run)


def flops(run: Run, sizes: Mapping[str, int], platform: str) -> float:
    """Products of a step on the busiest device, what is recomputed included."""
    weights = Weights.of(run)
    examples = run.batch / sizes["data"] / sizes["fsdp"]
    # of a block that is computed again nothing needs the last product
    last = run.model.width * _feed_forward(run)[-1]
    again = weights.layer - last if run.remat == "block" else 0
    layers = run.model.depth * (3 * weights.layer + again) * run.tokens / sizes["context"]
    # classes are few, and no device has a part of them
    head = 3 * weights.head * (run.tokens / sizes["context"] if rows(run) > 1 else sizes["tensor"])
    patches = _patches(run) / run.batch * examples / sizes["context"]
    return 2.0 * (layers + head) * examples / sizes["tensor"] + patches + attention_flops(run, sizes, platform)


def collectives(run: Run, sizes: Mapping[str, int]) -> Counter:
    """What one device exchanges in a step: weights and their gradients, the residual stream, keys and values.

    Norms' gains, statistics and the optimizer's own are left out: few bytes, but for an optimizer of whole matrices.
    Weights and activations move in the run's dtype.
    """
    data, fsdp, tensor, context = (sizes[axis] for axis in ("data", "fsdp", "tensor", "context"))
    weights, model = Weights.of(run), run.model
    dims = model.projection.dims(model.width, model.heads, model.depth)
    item = jnp.dtype(run.dtype).itemsize
    found: Counter = Counter()

    def add(kind: str, axis: str, devices: int, size: float, count: int) -> None:
        if devices > 1 and size:
            found[Collective(kind, (axis,), devices, round(size))] += count

    pieces, depth = run.accumulate, model.depth
    words, pooled = not isinstance(model, BagConfig | VisionTransformerConfig), rows(run) == 1
    for matrix, count, parts, summed in (
        (weights.layer, depth, tensor, item),
        (weights.head, 1, 1 if pooled else tensor, item),
        (weights.embedding, 1, tensor if words else 1, WIDE if words else item),
    ):
        share = matrix / parts
        # for the forward pass and for the gradient; the table of the embedding and that of the head once each
        add("all-gather", "fsdp", fsdp, share * item, pieces * count * (2 if count == depth and depth > 1 else 1))
        # gradients of looked-up rows are added up before they are narrowed
        add("reduce-scatter", "fsdp", fsdp, share * summed, pieces * count)
        for axis, devices in (("data", data), ("context", context)):
            add("all-reduce", axis, devices, share / fsdp * summed, pieces * count)
    examples = run.batch / pieces / data / fsdp
    stream = examples * run.tokens / context * model.width * item
    # looked up, after each half of a block, of which the second is not computed again, and backward; the head's is wide
    add("all-reduce", "tensor", tensor, stream, pieces * (depth * (5 if run.remat == "block" else 4) + words))
    add("all-reduce", "tensor", tensor, 0 if pooled else stream / item * WIDE, pieces)
    tokens = examples * run.tokens / context / tensor
    keys = tokens * (dims.key_heads * dims.key_width + dims.value_heads * dims.value_width)
    turns = pieces * depth * context
    forwards = 2 if run.remat == "block" else 1
    add("collective-permute", "context", context, keys * item, turns * (forwards + 1))
    add("collective-permute", "context", context, keys * WIDE, turns)
    if dealt(run, context).shape[1] > 1:
        # in halves, of which two devices keep one: queries, keys and values are dealt and outputs come back, and
        # backward their gradients
        moved = keys + tokens * dims.heads * (dims.key_width + dims.value_width)
        halves = min(2, context - 1)
        add("collective-permute", "context", context, moved / 2 * item, halves * pieces * depth * (forwards + 1))
    return found


def sent(collectives: Mapping[Collective, int]) -> dict[tuple[str, tuple[str, ...]], float]:
    """Bytes of each kind of exchange over the same axes, in a step."""
    found: dict[tuple[str, tuple[str, ...]], float] = {}
    for each, count in collectives.items():
        found[each.kind, each.axes] = found.get((each.kind, each.axes), 0) + count * each.size
    return found


def saved(run: Run, sizes: Mapping[str, int]) -> float:
    """Bytes that a device keeps between the passes, and the most that it makes beside: an estimate from shapes."""
    model, item = run.model, jnp.dtype(run.dtype).itemsize
    dims = model.projection.dims(model.width, model.heads, model.depth)
    examples = run.batch / run.accumulate / sizes["data"] / sizes["fsdp"]
    tokens = examples * run.tokens / sizes["context"]
    stream = tokens * model.width * item
    heads = (dims.heads + dims.key_heads) * (dims.key_width + dims.value_width)
    inside = tokens * (heads + sum(_feed_forward(run))) / sizes["tensor"] * item + 4 * stream
    layers = model.depth * stream + inside if run.remat == "block" else model.depth * inside
    # log-softmax and its gradient hold what the logits hold
    logits = 2 * (tokens / sizes["tensor"] if rows(run) > 1 else examples) * _choices(run) * WIDE
    gathered = 2 * Weights.of(run).layer / sizes["tensor"] * item
    return layers + logits + gathered
