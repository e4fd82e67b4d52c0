"""A bag of instances has one class: a layer for each instance alone, blocks of attention among them if any, a pool.

Source: Ilse, Tomczak, Welling, "Attention-based Deep Multiple Instance Learning", ICML 2018, arXiv:1802.04712, section
2.4 (the embedding-level approach); blocks among instances as in Shao et al., "TransMIL", NeurIPS 2021,
arXiv:2106.00908.
Departs: one layer in place of convolutions, no biases, and the norm of the other models before the pool.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jattn.layers.activations import ACTIVATIONS
from jattn.layers.axes import Axes, constrained
from jattn.layers.buffers import arrays, hold
from jattn.layers.embeddings import Head
from jattn.layers.flow import Flow, Record
from jattn.layers.product import product
from jattn.layers.stack import Remat, Stack
from jattn.mechanisms import Layout
from jattn.models import Model, network
from jattn.models.encoder import Encoded, rows
from jattn.models.network import Network
from jattn.part import Rng, Side, part
from jattn.parts.pools import Pool, Pooled
from jattn.parts.pools.gated_attention import GatedAttention


@part
class BagConfig(Model):
    """Instances are `features` numbers each, by default a digit's of scikit-learn; a pool's rows are averaged.

    Without blocks, the default, the options of blocks are not read.
    """

    shallowest: ClassVar[int] = 0

    depth: int = 0
    features: int = 64
    pool: Pool = GatedAttention()
    classes: int = 2

    def __post_init__(self):
        super().__post_init__()
        self.at_least(1, "features", "classes")

    def build(self, *, rngs: nnx.Rngs, dtype: DTypeLike, remat: Remat) -> "Bag":
        return Bag(self, rngs=rngs, dtype=dtype, remat=remat)

    def inputs(self, context: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((1, context, self.features), jnp.float32)


class Bag(Network):
    """Computes in `dtype`; what it records is the attention of the pool, one row of as many heads as that has rows."""

    def __init__(
        self,
        config: BagConfig,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        remat: Remat = "none",
        layers_at_once: int | None = None,
    ):
        self.config = config
        self.dtype = jnp.dtype(dtype)
        fresh = jax.nn.initializers.lecun_normal()(rngs.params(), (config.features, config.width))
        self.instance = nnx.Param(fresh, axes=(None, "width"))
        self.stack = network.stack(config, config.attention, rngs=rngs, remat=remat, layers_at_once=layers_at_once)
        self.norm = network.last_norm(config, rngs)
        dims = config.projection.dims(config.width, config.heads, config.depth)
        # named, as the axes of every kernel are
        self.pooling = hold(config.pool.init(rngs.params(), dims), dict.fromkeys(config.pool.kernels, (None, None)))
        self.head = Head(config.width, config.classes, None)
        self.kernels = network.kernels(self, rngs)

    def __call__(
        self,
        instances: Float[Array, "b t f"],
        *,
        layout: Layout | None = None,
        rng: Array | Rng | None = None,
        axes: Axes | None = None,
    ) -> Encoded:
        if self.kernels is not None:
            return self.folded()(instances, layout=layout, rng=rng, axes=axes)
        config, layout = self.config, layout or Layout()
        if instances.shape[2:] != (config.features,) or not jnp.issubdtype(instances.dtype, jnp.floating):
            raise ValueError(
                f"Bag reads instances of {config.features} real numbers each, got {instances.dtype} of shape "
                f"{instances.shape}; choose a source of bags, as --source bags, and --model.features to match."
            )
        x = ACTIVATIONS[config.activation](product(instances.astype(self.dtype), self.instance[...]))
        rng = network.for_batch(rng, len(x))
        x = constrained(axes, network.embedded(config, x, rng), "batch", "time", None)
        x, _, records = self.stack(x, Flow(layout, rng=rng, axes=axes))
        found = self._pooled(self.norm(x, rng), layout, rng)
        # one layer, of one row a bag, whose heads are the pool's rows
        stats = jax.tree.map(lambda each: each[None, :, None], found.stats)
        blocks = network.joined(records) if config.depth else Record(stats, {})
        record = Record(stats._replace(observed=blocks.stats.observed), blocks.terms)
        record, x = self.noted(record, rng, {"norm": x}), found.out.mean(1)
        return Encoded(self.head(x), record, x)

    def stacks(self) -> tuple[Stack, ...]:
        return (self.stack,)

    def _pooled(self, x: Float[Array, "b t m"], layout: Layout, rng: Rng | None) -> Pooled:
        own = self.config.pool.own(arrays(self.pooling))
        place = jnp.arange(x.shape[1])

        def one(x: Float[Array, "t m"], valid: Array | None, rng: Rng | None) -> Pooled:
            return self.config.pool.apply(own, x, Side(x, place, place, None, valid, len(x), {}), None, rng)

        keys = None if rng is None else Rng(None, None, 0)
        valid = rows(layout.valid, x.shape[1])
        return jax.vmap(one, (0, None if valid is None else 0, keys))(x, valid, rng)
