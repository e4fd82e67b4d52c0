"""Contenders of attention that are not ours: `jax.nn`, PyTorch's CPU kernel, tokamax, and what one writes by hand."""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jattn.benchmarks.calls import GRADIENT, Call, Made, inputs, made
from jattn.mechanisms.tokamax import library
from jattn.numerics import x_log_x
from jattn.parts.masks.causal import Causal

JAX, CUDNN, TOKAMAX, TORCH, BY_HAND = "jax.nn", "jax.nn, cuDNN", "tokamax", "PyTorch", "jax.numpy"
# axes as a model's projections leave them, and as the kernel reads them
LAYOUTS = ("batch time heads width", "batch heads time width")


def literal(
    q: Float[Array, "b t h d"], k: Float[Array, "b s h d"], v: Float[Array, "b s h e"], seen
) -> tuple[Float[Array, "b t h e"], Float[Array, "b t h"]]:
    """Softmax attention and its entropy as one would write them down."""
    logits = jnp.einsum("bthd,bshd->bths", q, k) * q.shape[-1] ** -0.5
    if seen is not None:
        logits = jnp.where(seen[None, :, None, :], logits, -jnp.inf)
    weights = jax.nn.softmax(logits)
    return jnp.einsum("bths,bshe->bthe", weights, v), -x_log_x(weights).sum(-1)


def jax_nn(call: Call, direction: str) -> Made:
    """`jax.nn.dot_product_attention` as it serves the call by itself."""
    return made(_plain(lambda q, k, v: jax.nn.dot_product_attention(q, k, v, is_causal=_causal(call))), call, direction)


def cudnn(call: Call, direction: str) -> Made:
    """cuDNN's kernel through `jax.nn`."""
    if jax.default_backend() != "gpu":
        raise NotImplementedError(f"cuDNN needs a GPU, and JAX computes on {jax.default_backend()} here.")

    def attend(q, k, v):
        return jax.nn.dot_product_attention(q, k, v, is_causal=_causal(call), implementation="cudnn")

    return made(_plain(attend), call, direction)


def tokamax(call: Call, direction: str) -> Made:
    """tokamax chunk by chunk, its form of less memory that runs on a CPU; its default there is that of `jax.nn`."""
    peer = library()

    def attend(q, k, v):
        return peer.dot_product_attention(q, k, v, is_causal=_causal(call), implementation="xla_chunked")

    return made(_plain(attend), call, direction)


def by_hand(call: Call, direction: str) -> Made:
    """`literal`, with the entropy where it is read."""

    def function(smooth, segments):
        seen = jnp.tril(jnp.ones((call.length, call.length), bool)) if _causal(call) else None
        out, entropy = literal(*smooth[:3], seen)
        return out, entropy if call.reads == "entropy" else None

    return made(function, call, direction)


def pytorch(call: Call, direction: str) -> Made:
    """`scaled_dot_product_attention` on all cores, in the layout that is faster here; it does not tell its memory."""
    if jax.default_backend() != "cpu":
        raise NotImplementedError(f"PyTorch stands for its CPU kernel, and JAX computes on {jax.default_backend()}.")
    import torch

    given = inputs(call)
    arrays = [torch.from_numpy(np.array(x)) for x in (*given.smooth[:3], given.cotangents[0])]

    def turn(layout: str) -> Callable:
        # the kernel's order of axes; a copy where memory shall lie in that order too
        views = [x.transpose(1, 2) for x in arrays]
        *smooth, cotangent = [x.contiguous() for x in views] if layout == LAYOUTS[1] else views
        smooth = [x.detach().requires_grad_(direction == GRADIENT) for x in smooth]

        def once():
            out = torch.nn.functional.scaled_dot_product_attention(*smooth, is_causal=_causal(call))
            grads = torch.autograd.grad(out, smooth, cotangent) if direction == GRADIENT else None
            return (_numpy(out), None), None if grads is None else (*map(_numpy, grads), {})

        return once

    ready = {layout: turn(layout) for layout in LAYOUTS}
    fastest = min(LAYOUTS, key=lambda layout: _seconds(ready[layout]))
    return Made(ready[fastest], None, f"layout {fastest}")


# by name; each raises ModuleNotFoundError or NotImplementedError where it cannot take part
PEERS: dict[str, Callable[[Call, str], Made]] = {
    JAX: jax_nn,
    CUDNN: cudnn,
    TOKAMAX: tokamax,
    TORCH: pytorch,
    BY_HAND: by_hand,
}


def _causal(call: Call) -> bool:
    return call.attention.mask == Causal()


def _plain(attend: Callable) -> Callable:
    return lambda smooth, segments: (attend(*smooth[:3]), None)


def _numpy(tensor):
    # a view: nothing is copied in a timed turn
    return tensor.detach().transpose(1, 2).numpy()


def _seconds(turn: Callable) -> float:
    """What the second of two turns takes."""
    turn()
    began = time.perf_counter()
    turn()
    return time.perf_counter() - began
