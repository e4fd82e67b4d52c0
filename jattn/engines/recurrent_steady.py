"""Recurrences that are the same at all positions: as one convolution, or in chunks, each a product of matrices.

Source: Gu, Goel, Re, "Efficiently Modeling Long Sequences with Structured State Spaces", ICLR 2022, arXiv:2111.00396,
section 2.4 (one convolution); Dao, Gu, "Transformers are SSMs", ICML 2024, arXiv:2405.21060, section 6 (chunks, of
which each is one product of matrices behind what was carried to it).
Departs: powers are exp of logs; a long kernel is made of powers within a chunk and of whole chunks, so that no array of
tokens, channels and states exists; transforms have the least length that nothing wraps around in, where the papers
double the tokens; a kernel may end.
"""

import functools
import math
import operator

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Int

from jattn.numerics import toeplitz
from jattn.parts.transitions import Diagonal

# up to how many tokens chunks have how many, measured: a matrix of a chunk is made for all, and costs as its square
CHUNKS = ((1024, 16), (8192, 32), (math.inf, 64))


def kernel(made: Diagonal, length: int) -> Float[Array, "c length"]:
    """What a token gives to its own row, the next and so on, of a transition that is the same at all positions."""
    size = _chunk(length)
    inner = _to_read(_each(made.read * made.drive) * powers(made, jnp.arange(size)))
    outer = _held(powers(made, size * jnp.arange(-(-length // size))))
    return _with_skip(_product("cin,cjn->cji", inner, outer).reshape(len(inner), -1)[:, :length], made)


def chunked(
    made: Diagonal, x: Float[Array, "t c"], state: Inexact[Array, "c n"], taps: int | None
) -> tuple[Float[Array, "t c"], Inexact[Array, "c n"]]:
    """All chunks as the columns of one product a channel, behind what is carried from each to the next."""
    tokens, size = len(x), _chunk(len(x))
    cut, within = _cut(x, size), powers(made, jnp.arange(size + 1))
    gained, before, after = _carried(made, within, cut, state, tokens)
    if taps is None:
        line = _with_skip(_line(made, within[:, :-1]), made)
        line = jnp.concatenate([line[:, ::-1], jnp.zeros((len(line), size - 1), x.dtype)], 1)
        return _joined(_inner(line, cut) + _outer(made, within, before), tokens), after
    # whole chunks within reach are heard by what they left, and those at its ends token by token
    whole = taps // size
    heard = _behind(_window(made, gained, size, whole - 1), 1) + _fading(made, state, size, len(gained))
    ends = [back for back in sorted({0, whole, whole + 1}) if back < len(gained) and (back - 1) * size + 1 < taps]
    parts = (_inner(_ending(made, size, back, taps), _behind(cut, back, 1)) for back in ends)
    return _joined(functools.reduce(operator.add, parts, _outer(made, within, heard)), tokens), after


def _line(made: Diagonal, powers: Inexact[Array, "c k n"]) -> Float[Array, "c k"]:
    return (_each(made.read * made.drive) * powers).real.sum(-1)


def _inner(line: Float[Array, "c k"], cut: Float[Array, "c j size"]) -> Float[Array, "c j size"]:
    """What rows hear of a chunk by the lag, that of the last row and the first token first."""
    return _product("cik,cjk->cji", toeplitz(line, cut.shape[-1]), cut)


def _ending(made: Diagonal, size: int, back: int, taps: int) -> Float[Array, "c k"]:
    """The line by which rows hear the chunk so many before theirs, no farther back than `taps` tokens."""
    lag = back * size + jnp.arange(size - 1, -size, -1)
    line = jnp.where(((lag >= 0) & (lag < taps))[None], _line(made, powers(made, jnp.maximum(lag, 0))), 0)
    return line if back or made.skip is None else line.at[:, size - 1].add(made.skip[0])


def _fading(made: Diagonal, state: Inexact[Array, "c n"], size: int, count: int) -> Inexact[Array, "j c n"]:
    """What is left of a state before each of so many chunks."""
    return jnp.swapaxes(powers(made, size * jnp.arange(count)), 0, 1) * state[None]


def _window(made: Diagonal, gained: Inexact[Array, "j c n"], size: int, width: int) -> Inexact[Array, "j c n"]:
    """Sums of what so many chunks put in, up to each, fading from one to the next: by doubling, so that none is taken
    away again."""
    found, reach, sums, length = jnp.zeros_like(gained), 0, gained, 1

    def fading(sums: Array, chunks: int) -> Array:
        return jnp.swapaxes(powers(made, jnp.full(1, chunks * size)), 0, 1) * _behind(sums, chunks)

    while width > 0:
        if width & 1:
            found, reach = found + fading(sums, reach), reach + length
        width >>= 1
        if width:
            sums, length = sums + fading(sums, length), 2 * length
    return found


def _behind(chunks: Array, count: int, axis: int = 0) -> Array:
    """Each chunk in the place of the one so many later."""
    if not count:
        return chunks
    length = chunks.shape[axis]
    none = jnp.zeros_like(lax.slice_in_dim(chunks, 0, min(count, length), axis=axis))
    return jnp.concatenate([none, lax.slice_in_dim(chunks, 0, max(length - count, 0), axis=axis)], axis)


def convolved(
    made: Diagonal, x: Float[Array, "t c"], state: Inexact[Array, "c n"], taps: int | None
) -> tuple[Float[Array, "t c"], Inexact[Array, "c n"]]:
    """One product of transforms, behind what the state gives to each row."""
    tokens, size = len(x), _chunk(len(x))
    heard = tokens if taps is None else taps
    length = smooth(tokens + heard - 1)
    line, given = (jnp.fft.rfft(each, length) for each in (kernel(made, heard), x.T))
    out = jnp.fft.irfft(line * given, length)[:, :tokens].T
    within = powers(made, jnp.arange(size + 1))
    before = _fading(made, state, size, -(-tokens // size))
    out = out + _joined(_outer(made, within, before), tokens)
    return out, _carried(made, within, _cut(x, size), state, tokens)[2]


def _chunk(tokens: int) -> int:
    return min(next(size for most, size in CHUNKS if tokens <= most), tokens)


def smooth(least: int) -> int:
    """The smallest number of at least that many whose factors are 2, 3 and 5, of which transforms are fast."""
    found = 1 << max(least - 1, 0).bit_length()
    threes = [3**n for n in range(least.bit_length())]
    for odd in (three * 5**n for three in threes for n in range(least.bit_length())):
        if odd < found:
            found = min(found, odd << max(-(-least // odd) - 1, 0).bit_length())
    return found


def _cut(x: Float[Array, "t c"], size: int) -> Float[Array, "c j size"]:
    """Chunks of each channel, zeros added to the last: channels first, in which order products are fastest on CPU."""
    return jnp.pad(x.T, ((0, 0), (0, -len(x) % size))).reshape(x.shape[1], -1, size)


def _joined(cut: Float[Array, "c j size"], tokens: int) -> Float[Array, "t c"]:
    return cut.reshape(len(cut), -1)[:, :tokens].T


def _outer(
    made: Diagonal, within: Inexact[Array, "c k n"], before: Inexact[Array, "j c n"]
) -> Float[Array, "c j size"]:
    """What the rows of chunks read of the states before these, with powers up to the length of a chunk."""
    return _product("cin,jcn->cji", _to_read(_each(made.read) * within[:, 1:]), _held(before))


def _carried(
    made: Diagonal,
    within: Inexact[Array, "c k n"],
    cut: Float[Array, "c j size"],
    state: Inexact[Array, "c n"],
    tokens: int,
) -> tuple[Inexact[Array, "j c n"], Inexact[Array, "j c n"], Inexact[Array, "c n"]]:
    """What each chunk puts in, the state before it, and that after the last token, behind which are zeros."""
    count, size = cut.shape[1:]
    added = _each(made.drive) * within[:, -2::-1]
    gained = _kept(_product("cin,cji->jcn", _held(added), cut), state)
    factor = within[:, -1]
    state, before = lax.scan(lambda held, new: (factor * held + new, held), state, gained[:-1])
    before, last = jnp.concatenate([before, state[None]]), gained[-1]
    if (rest := tokens - (count - 1) * size) < size:
        factor = within[:, rest]
        last = _kept(_product("cin,ci->cn", _held(added[:, size - rest :]), cut[:, -1, :rest]), state)
    return gained, before, factor * state + last


def _product(letters: str, a: Array, b: Array) -> Array:
    # a kernel of thousands of tokens does not live in bfloat16, which accelerators multiply in unless told
    return jnp.einsum(letters, a, b, precision=lax.Precision.HIGHEST)


def powers(made: Diagonal, count: Int[Array, " k"]) -> Inexact[Array, "c k n"]:
    """Factors to the power of each count, of one that is the same at all positions."""
    many = count.astype(made.log_decay.dtype)[None, :, None]
    size = jnp.exp(many * _each(made.log_decay))
    return size if made.phase is None else turned(size, many * _each(made.phase))


def _each(leaf: Inexact[Array, "1 c n"]) -> Inexact[Array, "c 1 n"]:
    return jnp.swapaxes(leaf, 0, 1)


def _with_skip(line: Float[Array, "c k"], made: Diagonal) -> Float[Array, "c k"]:
    return line if made.skip is None else line.at[:, 0].add(made.skip[0])


def turned(size: Float[Array, "..."], phase: Float[Array, "..."] | None) -> Inexact[Array, "..."]:
    """Numbers of these sizes and phases in radians, real without."""
    return size if phase is None else lax.complex(size * jnp.cos(phase), size * jnp.sin(phase))


def parted(log: Float[Array, "..."], phase: Float[Array, "..."] | None) -> tuple[Bool[Array, "..."], Array]:
    """Where exp(log + i phase) is nearer to 1 than to 0, and what it is beyond 1 there, and in all elsewhere."""
    size, lost = jnp.exp(log), jnp.expm1(log)
    if phase is None:
        whole = size > 0.5
        return whole, jnp.where(whole, lost, size)
    # e^{i phase} - 1, without taking 1 from a cosine
    back, sine = -2 * jnp.square(jnp.sin(phase / 2)), jnp.sin(phase)
    whole = size * jnp.cos(phase) > 0.5
    real = jnp.where(whole, lost + size * back, size * jnp.cos(phase))
    return whole, lax.complex(real, size * sine)


def _held(state: Inexact[Array, "... n"]) -> Float[Array, "... k"]:
    """Complex numbers as twice as many real ones, whose products are much faster."""
    return jnp.concatenate([state.real, state.imag], -1) if jnp.iscomplexobj(state) else state


def _to_read(weights: Inexact[Array, "... n"]) -> Float[Array, "... k"]:
    """What sums of `_held` are weighed with for the real part of the product."""
    return jnp.concatenate([weights.real, -weights.imag], -1) if jnp.iscomplexobj(weights) else weights


def _kept(held: Float[Array, "... k"], like: Array) -> Inexact[Array, "... n"]:
    """What `_held` was made of."""
    return lax.complex(*jnp.split(held, 2, -1)) if jnp.iscomplexobj(like) else held
