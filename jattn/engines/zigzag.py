"""Deals tokens to the devices of a ring anew, so that a causal mask leaves each as many pairs at each turn.

Source: Llama Team, "The Llama 3 Herd of Models", 2024, arXiv:2407.21783, section 3.3.2 (of 2n chunks device i holds
chunks i and 2n - 1 - i).
Departs: only where the mask's reach says that it pays, and tokens come and go in their own order.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Shaped

from jattn.part import Place, Span
from jattn.parts.masks import Mask


def dealt(devices: int) -> np.ndarray:
    """The two chunks of each device, out of as many chunks as make two for each."""
    first = np.arange(devices)
    return np.stack([first, 2 * devices - 1 - first], 1)


def critical_path(live: Bool[np.ndarray, "h q k"], chunks: np.ndarray) -> int:
    """Pairs of chunks, summed over the turns of a ring, of the device that at each has the most.

    Given which pairs some query sees some key in, and the chunks of each device.
    """
    devices = range(len(chunks))

    def work(device: int, turn: int) -> int:
        return int(live[:, chunks[device][:, None], chunks[device - turn][None]].sum())

    return sum(max(work(device, turn) for device in devices) for turn in devices)


def pays(mask: Mask, place: Place, tokens: tuple[int, int], devices: int) -> bool:
    """Whether a ring of so many devices, each with so many queries and keys, takes less time with tokens dealt.

    As far as the mask tells where positions run on by 1 and all tokens are valid.
    """
    if devices == 1 or any(count % 2 for count in tokens):
        return False
    query, key = (_spans(count // 2, devices) for count in tokens)
    query = Span(*(x[None, :, None] for x in query[:2]), query.length)
    key = Span(*(x[None, None, :] for x in key[:2]), key.length)
    # of all heads, so that devices that hold some of them agree
    heads = np.arange(place.heads)[:, None, None]
    live, _ = mask.reach(query, key, place._replace(head=heads))
    if isinstance(live, jax.Array):
        return False
    live = np.broadcast_to(live, (place.heads, 2 * devices, 2 * devices))
    return critical_path(live, dealt(devices)) < critical_path(live, np.arange(2 * devices).reshape(devices, 2))


def deal(tree: Any, axis: str) -> Any:
    """Arrays of tokens "n ..." that lie in order over the devices of an axis, with the two chunks of each as dealt."""

    def one(array: Shaped[Array, "n ..."]) -> Shaped[Array, "n ..."]:
        halves = jnp.split(array, 2)
        sent = [lax.ppermute(half, axis, way) for half, way in zip(halves, _ways(axis), strict=True)]
        return jnp.concatenate(_swapped(sent, axis))

    return jax.tree.map(one, tree)


def collect(tree: Any, axis: str) -> Any:
    """Arrays of tokens "n ..." as `deal` left them, in order again."""

    def one(array: Shaped[Array, "n ..."]) -> Shaped[Array, "n ..."]:
        halves = _swapped(jnp.split(array, 2), axis)
        back = [[(there, here) for here, there in way] for way in _ways(axis)]
        return jnp.concatenate([lax.ppermute(half, axis, way) for half, way in zip(halves, back, strict=True)])

    return jax.tree.map(one, tree)


def columns(array: Shaped[Array, "#h #t #s"], devices: int) -> Shaped[Array, "#h #t #s"]:
    """An array of pairs with its columns, those of all keys, in the order of the devices as dealt."""
    if array.shape[-1] == 1:
        return array
    chunks = array.reshape(*array.shape[:-1], 2 * devices, -1)
    return chunks[..., dealt(devices).reshape(-1), :].reshape(array.shape)


def _spans(chunk: int, devices: int) -> Span:
    first = chunk * np.arange(2 * devices)
    return Span(first, first + chunk - 1, 2 * devices * chunk)


def _ways(axis: str) -> list[list[tuple[int, int]]]:
    """Where the first halves go, and where the second: each device gets one of either."""
    devices = lax.axis_size(axis)
    home = {int(chunk): device for device, chunks in enumerate(dealt(devices)) for chunk in chunks}
    return [[(device, home[2 * device + half]) for device in range(devices)] for half in range(2)]


def _swapped(halves: list[Array], axis: str) -> list[Array]:
    """The chunk of lower number first: the first halves are the even chunks, of which even devices hold the lower."""
    even = lax.axis_index(axis) % 2 == 0
    return [jnp.where(even, *halves), jnp.where(even, *reversed(halves))]
