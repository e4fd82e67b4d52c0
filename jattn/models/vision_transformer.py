"""A vision transformer: an image's patches are the tokens of an encoder, whose logits are of the whole image.

Source: Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", ICLR 2021,
arXiv:2010.11929, section 3.1; Beyer, Zhai, Kolesnikov, "Better plain ViT baselines for ImageNet-1k", 2022,
arXiv:2205.01580 (sines and cosines of rows and columns, the mean of the patches).
Departs: the blocks are those of the other models (no biases), and the class token has no position beside itself.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jattn.layers.added_positions import KINDS, AddedPositions, sin_cos
from jattn.layers.axes import Axes, constrained
from jattn.layers.embeddings import DEVIATION, Head
from jattn.layers.flow import Flow
from jattn.layers.product import product
from jattn.layers.stack import Remat, Stack
from jattn.mechanisms import Layout
from jattn.models import Model, network
from jattn.models.encoder import Encoded, pooled
from jattn.models.network import Network
from jattn.part import Rng, part

Pool = Literal["class_token", "mean"]


def patches(images: Float[Array, "b r c p"], size: int) -> Float[Array, "b t f"]:
    """Squares of `size` by `size` pixels, row by row, the pixels of each row by row as features."""
    batch, height, width, channels = images.shape
    down, across = height // size, width // size
    cut = images.reshape(batch, down, size, across, size, channels).transpose(0, 1, 3, 2, 4, 5)
    return cut.reshape(batch, down * across, size * size * channels)


@part
class VisionTransformerConfig(Model):
    """Square images of `image` by `image` pixels in squares of `patch` by `patch`; by default scikit-learn's digits."""

    image: int = 8
    patch: int = 2
    channels: int = 1
    positions: Literal["none", "learned", "sin_cos"] = "learned"
    pool: Pool = "class_token"
    classes: int = 10

    def __post_init__(self):
        super().__post_init__()
        self.at_least(1, "image", "patch", "channels", "classes")
        self.one_of("positions", KINDS)
        self.one_of("pool", get_args(Pool))
        if self.image % self.patch:
            raise ValueError(
                f"VisionTransformerConfig.image must be a multiple of its patch, got {self.image} and {self.patch}; "
                f"use a divisor."
            )

    def build(self, *, rngs: nnx.Rngs, dtype: DTypeLike, remat: Remat) -> "VisionTransformer":
        return VisionTransformer(self, rngs=rngs, dtype=dtype, remat=remat)

    def tokens(self, context: int) -> int:
        return (self.image // self.patch) ** 2 + (self.pool == "class_token")

    def inputs(self, context: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((1, self.image, self.image, self.channels), jnp.float32)


class VisionTransformer(Network):
    """Computes in `dtype` on images of real numbers, about -1 to 1."""

    def __init__(
        self,
        config: VisionTransformerConfig,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        remat: Remat = "none",
        layers_at_once: int | None = None,
    ):
        self.config = config
        self.dtype = jnp.dtype(dtype)
        features = config.patch**2 * config.channels
        fresh = jax.nn.initializers.lecun_normal()(rngs.params(), (features, config.width))
        self.patches = nnx.Param(fresh, axes=(None, "width"))
        # of sines and cosines there are those of rows and columns
        learned = config.positions if config.positions == "learned" else "none"
        self.positions = AddedPositions(learned, (config.image // config.patch) ** 2, config.width, rngs=rngs)
        drawn = config.pool == "class_token"
        first = DEVIATION * jax.random.normal(rngs.params(), (config.width,)) if drawn else None
        self.class_token = nnx.Param(first) if drawn else None
        self.stack = network.stack(config, config.attention, rngs=rngs, remat=remat, layers_at_once=layers_at_once)
        self.norm = network.last_norm(config, rngs)
        self.head = Head(config.width, config.classes, None)
        self.kernels = network.kernels(self, rngs)

    def __call__(
        self,
        images: Float[Array, "b r c p"],
        *,
        layout: Layout | None = None,
        rng: Array | Rng | None = None,
        axes: Axes | None = None,
    ) -> Encoded:
        """`layout` is of the tokens, the class token in front of the patches."""
        if self.kernels is not None:
            return self.folded()(images, layout=layout, rng=rng, axes=axes)
        config = self.config
        wanted = config.image, config.image, config.channels
        if images.shape[1:] != wanted or not jnp.issubdtype(images.dtype, jnp.floating):
            raise ValueError(
                f"VisionTransformer reads images of real numbers and of shape {wanted}, got {images.dtype} of "
                f"{images.shape[1:]}; choose a source of images, as --source digits, and --model.image to match."
            )
        x = product(patches(images.astype(self.dtype), config.patch), self.patches[...])
        if config.positions == "sin_cos":
            side = jnp.arange(config.image // config.patch)
            places = jnp.stack(jnp.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
            x += jnp.broadcast_to(sin_cos(places, config.width).astype(x.dtype), x.shape)
        x = self.positions(x)
        if self.class_token is not None:
            first = jnp.broadcast_to(self.class_token[...].astype(x.dtype), (len(x), 1, config.width))
            x = jnp.concatenate([first, x], 1)
        rng = network.for_batch(rng, len(x))
        x = constrained(axes, network.embedded(config, x, rng), "batch", "time", None)
        flow = Flow(layout or Layout(), rng=rng, axes=axes)
        x, _, records = self.stack(x, flow)
        record = self.noted(network.joined(records), rng, {"norm": x})
        x = pooled(self.norm(x, rng), None, "mean" if self.class_token is None else "first")
        return Encoded(self.head(x), record, x)

    def stacks(self) -> tuple[Stack, ...]:
        return (self.stack,)
