"""The slot `models`: what a run trains, as options from which it is built."""

import dataclasses
import math
from typing import Any, ClassVar, Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jattn.layers.activations import ACTIVATIONS
from jattn.layers.block import Place, Residual
from jattn.layers.dropout import check_rate
from jattn.layers.heads import Heads
from jattn.layers.heads.grouped import Grouped
from jattn.layers.norms import EPSILON, Gains, Kind
from jattn.layers.reparametrizations import Reparametrization
from jattn.layers.reparametrizations.plain import Plain
from jattn.layers.stack import Remat
from jattn.mechanisms import Mechanism
from jattn.mechanisms.attention import Attention
from jattn.part import Part

FEEDFORWARDS = ("full", "gated", "biased", "fused")


@dataclasses.dataclass(frozen=True)
class Model(Part):
    """The options of every model's blocks; `expansion` is how much wider than `width` feed-forward layers are inside.

    `norm_place` is before each half of a block, with one more norm before the head, whose gains and shifts may be left
    out by `last_gains`, or after each sum; `epsilon` stands beside the mean square or the variance. A `residual`
    scaled by two learned numbers a layer trains where norms are gone; a gated feed-forward layer has a third kernel, a
    biased one has biases, a fused one is one square kernel without an activation, and the `pruned` deepest blocks have
    none. With a `reparametrization` all kernels but the embedding's are made from what is learned; none starts at 0.

    In training `dropout` acts on what is embedded and on what feed-forward layers give, `hidden_dropout` inside them;
    what acts in attention are options of `attention` and `projection`.
    """

    # the fewest blocks that a model may have
    shallowest: ClassVar[int] = 1

    width: int = 128
    depth: int = 4
    heads: int = 2
    projection: Heads = Grouped()
    attention: Mechanism = Attention()
    norm: Literal["rms", "layer", "scale", "batch", "simple_rms", "none"] = "rms"
    norm_place: Literal["before", "after"] = "before"
    last_gains: Literal["learned", "none"] = "learned"
    epsilon: float = EPSILON
    residual: Literal["plain", "scaled"] = "plain"
    feedforward: Literal["full", "gated", "biased", "fused"] = "full"
    pruned: int = 0
    reparametrization: Reparametrization = Plain()
    activation: Literal["squared_relu", "gelu", "silu", "relu", "identity"] = "squared_relu"
    expansion: int = 4
    dropout: float = 0.0
    hidden_dropout: float = 0.0

    def __post_init__(self):
        name = type(self).__name__
        self.at_least(1, "width", "heads", "expansion")
        self.at_least(self.shallowest, "depth")
        for field, allowed in (
            ("norm", get_args(Kind)), ("norm_place", get_args(Place)), ("activation", tuple(ACTIVATIONS)),
            ("residual", get_args(Residual)), ("last_gains", get_args(Gains)), ("feedforward", FEEDFORWARDS),
        ):  # fmt: skip
            self.one_of(field, allowed)
        if not 0 <= self.pruned <= self.depth:
            raise ValueError(
                f"{name}.pruned counts the deepest blocks without a feed-forward layer, at most {self.depth}, "
                f"got {self.pruned!r}; 0 prunes none."
            )
        if self.feedforward == "fused" and self.activation != "identity":
            raise ValueError(
                f"{name}.feedforward may be 'fused' where no activation stands between its kernels, got "
                f"{self.activation!r}; use --model.activation identity, or --model.feedforward full."
            )
        check_rate(name, "dropout", self.dropout)
        check_rate(name, "hidden_dropout", self.hidden_dropout)
        if not 0 < self.epsilon < math.inf:
            raise ValueError(
                f"{name}.epsilon must be a finite number above 0, got {self.epsilon!r}; the default is {EPSILON}."
            )
        if self.feedforward == "fused" and self.hidden_dropout:
            raise ValueError(
                f"{name}.hidden_dropout must be 0 where feed-forward layers are one kernel, got "
                f"{self.hidden_dropout!r}; use --model.dropout."
            )
        # refuses widths and heads that do not divide
        self.projection.dims(self.width, self.heads, self.depth)

    def build(self, *, rngs: nnx.Rngs, dtype: DTypeLike, remat: Remat) -> nnx.Module:
        """The model with fresh arrays; it is called as `jattn.nn.Network` says."""
        raise NotImplementedError

    def tokens(self, context: int) -> int:
        """Tokens that its attention reads of an example, where a run's context is so long."""
        return context

    def inputs(self, context: int) -> Any:
        """The shapes of what it is called with for one example, a batch of 1, where a run's context is so long."""
        return jax.ShapeDtypeStruct((1, context), jnp.int32)

    def at_least(self, least: int, *fields: str) -> None:
        """Refuses smaller sizes."""
        for field in fields:
            if (size := getattr(self, field)) < least:
                default = type(self).__dataclass_fields__[field].default
                raise ValueError(
                    f"{type(self).__name__}.{field} must be a whole number of at least {least}, got {size!r}; the "
                    f"default is {default}."
                )

    def one_of(self, field: str, allowed: tuple[str, ...]) -> None:
        """Refuses another word in a field."""
        if getattr(self, field) not in allowed:
            raise ValueError(
                f"{type(self).__name__}.{field} must be one of {', '.join(allowed)}, got {getattr(self, field)!r}; the "
                f"default is {type(self).__dataclass_fields__[field].default}."
            )
