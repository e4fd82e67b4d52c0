"""Figures read from a program's text: loops turn by turn against the same unrolled, products by their closed form."""

import math
from collections import Counter

import jax
import jax.numpy as jnp
import pytest

from jattn.benchmarks import compilers
from jattn.planning import program
from jattn.planning.program import Collective
from tests.support import needs_compiler

MESH = {"data": 2, "fsdp": 2, "tensor": 2}


def looped(turns, unroll):
    def function(x, w):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w, unroll=unroll)[0]

    return function, (jax.ShapeDtypeStruct((32, 48), "float32"), jax.ShapeDtypeStruct((turns, 48, 48), "float32"))


@pytest.mark.parametrize("unroll", [1, 6])
def test_a_loop_counts_its_turns_like_the_same_unrolled(unroll):
    function, shapes = looped(6, unroll)
    text = jax.jit(function).lower(*shapes).compile().as_text()
    assert ("while(" in text) == (unroll == 1)
    assert program.read(text, {}) == (6 * 2 * 32 * 48 * 48, Counter(), 0, 0.0)


def test_a_loop_whose_turns_data_decide_counts_once_and_is_told():
    def function(x, w, turns):
        return jax.lax.fori_loop(0, turns, lambda _, x: x @ w, x)

    x, w = (jax.ShapeDtypeStruct(shape, "float32") for shape in ((32, 48), (48, 48)))
    text = jax.jit(function).lower(x, w, jax.ShapeDtypeStruct((), "int32")).compile().as_text()
    assert program.read(text, {}) == (2 * 32 * 48 * 48, Counter(), 1, 2 * 32 * 48 * 48)


@pytest.mark.parametrize("chip", compilers.CHIPS)
def test_products_of_a_chip_are_those_of_their_shapes(chip):
    needs_compiler(chip)

    # batched products and loops, which the TPU's compiler writes as convolutions with holes and pads
    def function(x, w):
        return jax.lax.scan(lambda x, w: (jnp.einsum("bhts,hsu->bhtu", x, w).astype(x.dtype), None), x, w)[0]

    x = jax.ShapeDtypeStruct((2, 4, 128, 256), "bfloat16")
    w = jax.ShapeDtypeStruct((3, 4, 256, 256), "bfloat16")
    text = compilers.compiled(function, x, w, chip=chip).as_text()
    assert program.read(text, {}).flops == 3 * 2 * math.prod(x.shape) * 256


def test_a_branch_counts_as_the_dearest():
    def function(x, which):
        return jax.lax.cond(which, lambda x: x @ x, lambda x: (x @ x) @ x, x)

    x, which = jax.ShapeDtypeStruct((64, 64), "float32"), jax.ShapeDtypeStruct((), "bool")
    text = jax.jit(function).lower(x, which).compile().as_text()
    assert program.read(text, {}).flops == 2 * 2 * 64**3


MADE = """HloModule made

%add (l: f32[], r: f32[]) -> f32[] {
  %l = f32[] parameter(0)
  ROOT %both = f32[] add(%l, %l)
}

%all-reduce-scatter.1 (p: f32[8,4]) -> f32[4,4] {
  %p = f32[8,4]{1,0} parameter(0)
  ROOT %r = f32[8,4]{1,0} all-reduce(%p), replica_groups=mesh['a'=4,'b'=2], device_ids=([4,2]) {'a'}, to_apply=%add
}

%piece.1 (p: bf16[4]) -> bf16[8] {
  %q = bf16[4]{0} parameter(0)
  ROOT %g = bf16[8]{0} all-gather(%q), channel_id=3, replica_groups=[4,2]<=[4,2], frontend_attributes={chain_id="0"}
}

%piece.2 (p: bf16[4]) -> bf16[8] {
  %t = bf16[4]{0} parameter(0)
  ROOT %h = bf16[8]{0} all-gather(%t), channel_id=3, replica_groups=[4,2]<=[4,2], frontend_attributes={chain_id="0"}
}

%condition (c: (s32[], f32[6])) -> pred[] {
  %c = (s32[]{:T(128)}, f32[6]{0}) parameter(0)
  %bound = s32[] constant(5)
  %i = s32[] get-tuple-element(%c), index=0
  ROOT %less = pred[] compare(%i, %bound), direction=LT
}

%body (b: (s32[], f32[6])) -> (s32[], f32[6]) {
  %b = (s32[]{:T(128)}, f32[6]{0}) parameter(0)
  %x = f32[6]{0} get-tuple-element(%b), index=1
  %s = (f32[6]{0}, f32[6]{0}, u32[], u32[]) collective-permute-start(%x), source_target_pairs={{0,0},{1,3},{3,1},{2,2}}
  ROOT %again = (s32[], f32[6]{0}) tuple(%i, %x)
}

ENTRY %main (a: f32[8,4], d: bf16[4], e: (s32[], f32[6])) -> f32[] {
  %a = f32[8,4]{1,0} parameter(0)
  %d = bf16[4]{0} parameter(1)
  %e = (s32[], f32[6]{0}) parameter(2)
  %f1 = f32[4,4]{1,0} fusion(%a), kind=kCustom, calls=%all-reduce-scatter.1
  %f2 = bf16[8]{0} fusion(%d), kind=kLoop, calls=%piece.1
  %f3 = bf16[8]{0} fusion(%d), kind=kLoop, calls=%piece.2
  %w = (s32[], f32[6]{0}) while(%e), condition=%condition, body=%body
  %k = f32[] constant(0)
  ROOT %n = f32[] all-reduce(%k), replica_groups={{0,1,4,5},{2,3,6,7}}, to_apply=%add
}
"""


def test_exchanges_are_told_by_kind_axes_and_bytes():
    assert program.read(MADE, MESH).collectives == {
        # the TPU's own sum of which each keeps a part, over the four of `a`: data and fsdp
        Collective("reduce-scatter", ("data", "fsdp"), 4, 8 * 4 * 4): 1,
        # two pieces of one exchange; the whole of what is gathered
        Collective("all-gather", ("tensor",), 2, 2 * 4 * 2): 1,
        Collective("collective-permute", ("fsdp",), 2, 6 * 4): 5,
        Collective("all-reduce", ("data", "tensor"), 4, 4): 1,
    }
