"""What lowers compiles too, for a v5e and for an H100, in memory that grows with the length alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jattn
from jattn import Attention, Layout
from jattn.benchmarks import compilers
from jattn.benchmarks.turns import temporary_bytes
from jattn.masks import Causal, Window
from jattn.normalizers import Entmax
from jattn.scores import T5Bias
from tests.support import needs_compiler

HEADS, WIDTH = 8, 64
# several tiles on both
SHORT, LONG = 2100, 16384


def shape(tokens):
    return jax.ShapeDtypeStruct((1, tokens, HEADS, WIDTH), jnp.bfloat16)


def attending(attention, layout=Layout(), rng=None):
    """`attend` of query, key, value and the learned arrays, and these arrays."""
    dims = jattn.Dims(HEADS, HEADS, HEADS, WIDTH, WIDTH, length=SHORT)
    params, buffers = attention.init(jax.random.key(0), dims)

    def call(query, key, value, params):
        variables = jattn.Variables(params, buffers)
        return jattn.attend(query, key, value, attention, variables=variables, layout=layout, rng=rng)

    return call, params


SEGMENTS = np.repeat(np.arange(SHORT // 100), 100)
# what is read of a result, and what makes the result; plain attention compiles in the tests of memory
CASES = {
    "entropy": (lambda found: found.stats.entropy, lambda: attending(Attention(mask=Causal()))),
    "entmax": (lambda found: found.out, lambda: attending(Attention(mask=Causal(), normalizer=Entmax()))),
    "window, T5, segments, dropout": (
        lambda found: found.out,
        lambda: attending(
            Attention(T5Bias(), Causal() & Window(300), dropout=0.1), Layout(segments=SEGMENTS), jax.random.key(0)
        ),
    ),
}


@pytest.mark.parametrize("chip", compilers.CHIPS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.slow
def test_the_gradient_compiles(case, chip):
    needs_compiler(chip)
    read, make = CASES[case]
    call, params = make()
    gradient = jax.value_and_grad(lambda *arguments: read(call(*arguments)).astype(jnp.float32).sum(), (0, 1, 2, 3))
    # what does not fit the chip's own memory is refused here
    compilers.compiled(gradient, *[shape(SHORT)] * 3, params, chip=chip)


def ours(query, key, value):
    return jattn.dot_product_attention(query, key, value, is_causal=True)


def peer(query, key, value):
    return jax.nn.dot_product_attention(query, key, value, is_causal=True, implementation="xla")


def pullback(function):
    return lambda query, key, value, g_out: jax.vjp(function, query, key, value)[1](g_out)


# the chip, the function with its arrays, and how many times less memory it takes
FRACTIONS = [
    pytest.param(chip, direction, arrays, least, marks=marks, id=f"{name}, {chip}")
    for chip, slow in (("v5e", pytest.mark.slow), ("h100", ()))
    for name, direction, arrays, least, marks in (
        # what the pullback takes, the forward does on the h100 too
        ("forward", lambda function: function, 3, 50, () if slow else pytest.mark.slow),
        ("pullback", pullback, 4, 25, slow),
    )
]


@pytest.mark.parametrize("chip, direction, arrays, least", FRACTIONS)
def test_it_takes_a_fraction_of_the_memory_of_jax_nn(chip, direction, arrays, least):
    needs_compiler(chip)
    taken, theirs = (
        temporary_bytes(compilers.compiled(direction(function), *[shape(LONG)] * arrays, chip=chip))
        for function in (ours, peer)
    )
    assert least * taken <= theirs
