"""Identities that refuse, in one sentence, an order of derivatives that a rule written by hand does not serve.

Source: Radul et al., "You Only Linearize Once", POPL 2023, arXiv:2204.10923 (reverse mode transposes the tangents of
forward mode and never computes them).
"""

from collections.abc import Callable
from typing import Any

from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float, Shaped

REFUSAL = (
    "Attention in tiles has gradients, and forward mode over them; for jvp, jacfwd and gradients of gradients pass "
    "implementation='dense' to jattn.Attention or to jattn.dot_product_attention, which has every derivative."
)


def reverse_only(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x, with a tangent that may be transposed and not computed: TypeError in forward mode."""
    return _reverse_only.bind(x)


def forward_only(x: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """x, with a tangent that may be computed and not transposed: ValueError in reverse mode."""
    return _forward_only.bind(x)


def _refuse(kind: type[Exception]) -> Callable:
    def refuse(*_: Any, **__: Any):
        raise kind(REFUSAL)

    return refuse


def _identity(name: str) -> Primitive:
    primitive = Primitive(name)
    primitive.def_impl(lambda x: x)
    primitive.def_abstract_eval(lambda x: x)
    batching.defvectorized(primitive)
    mlir.register_lowering(primitive, lambda _, x: [x])
    return primitive


_reverse_only, _forward_only = _identity("reverse_only"), _identity("forward_only")
ad.deflinear2(_forward_only, _refuse(ValueError))

_tangent = Primitive("reverse_only_tangent")
_tangent.def_abstract_eval(lambda tangent, _: tangent)
ad.primitive_transposes[_tangent] = lambda cotangent, *_: (cotangent, None)
_tangent.def_impl(_refuse(TypeError))
mlir.register_lowering(_tangent, _refuse(TypeError))
ad.primitive_jvps[_tangent] = batching.primitive_batchers[_tangent] = _refuse(TypeError)
# beside the tangent its value, for gradients of a tangent, which depend on the value alone; and the value as it came,
# for forward mode over a gradient, which may go through it
ad.primitive_jvps[_reverse_only] = lambda values, tangents: (values[0], _tangent.bind(tangents[0], values[0]))
