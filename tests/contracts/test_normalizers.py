"""What every normalizer must hold: tiled is dense, no row hears the future, decoding and padding change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import dense, tiled
from jattn.engines.merge import merge
from jattn.mechanisms.attention import Attention
from jattn.part import Variables
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers import Normalizer
from jattn.parts.normalizers.top_k import TopK
from tests.support import (
    assert_batches,
    assert_bfloat16,
    assert_causal,
    assert_close,
    assert_decodes,
    assert_float32_close,
    assert_linear_memory,
    assert_padding_changes_nothing,
    assert_tiled_equals_dense,
    attended,
    computed,
    float64,  # noqa: F401
    make,
    one_of_each,
    padded_layout,
    parts_of,
    readings,
    row_tile,
    small_tiles,
)

every_normalizer = pytest.mark.parametrize("normalizer", parts_of(Normalizer), ids=lambda cls: cls.__name__)
# what the engine does alike for all of a kind
each_kind = pytest.mark.parametrize(
    "normalizer",
    one_of_each(parts_of(Normalizer), {"Softmax", "Sink", "SquaredRelu", "Sparsemax", "Relaxed"}),
    ids=lambda cls: cls.__name__,
)


@pytest.fixture
def tiles_that_divide_nothing(monkeypatch, float64):  # noqa: F811
    small_tiles(monkeypatch)


@every_normalizer
def test_tiled_equals_dense_with_padding_and_an_empty_row(normalizer, tiles_that_divide_nothing):
    assert_tiled_equals_dense(Attention(normalizer=normalizer(), mask=Causal()), padded_layout())


@each_kind
def test_tiled_equals_dense_where_keys_outnumber_queries(normalizer, tiles_that_divide_nothing):
    assert_tiled_equals_dense(Attention(normalizer=normalizer()), tokens=29, keys=53, heads=(4, 1, 2))


@every_normalizer
def test_float32_is_as_exact_as_dense_and_finite_at_ten_thousand(normalizer, tiles_that_divide_nothing):
    assert_float32_close(Attention(normalizer=normalizer(), mask=Causal()), padded_layout())


@each_kind
def test_bfloat16_stays_bfloat16(normalizer, tiles_that_divide_nothing):
    assert_bfloat16(Attention(normalizer=normalizer(), mask=Causal()))


@every_normalizer
def test_no_row_hears_the_future(normalizer, tiles_that_divide_nothing):
    assert_causal(Attention(normalizer=normalizer(), mask=Causal()))


@each_kind
def test_decoding_in_pieces_equals_one_pass(normalizer, tiles_that_divide_nothing):
    assert_decodes(Attention(normalizer=normalizer(), mask=Causal()))


@each_kind
def test_padding_changes_nothing(normalizer, tiles_that_divide_nothing):
    assert_padding_changes_nothing(Attention(normalizer=normalizer(), mask=Causal()))


@each_kind
def test_batches_by_vmap_and_by_loop_are_single_examples(normalizer, tiles_that_divide_nothing, monkeypatch):
    assert_batches(Attention(normalizer=normalizer(), mask=Causal()), monkeypatch)


@every_normalizer
def test_memory_is_linear_both_ways(normalizer):
    assert_linear_memory(Attention(normalizer=normalizer(), mask=Causal()))


@every_normalizer
def test_rows_keep_their_meaning(normalizer, tiles_that_divide_nothing):
    attention = Attention(normalizer=normalizer(), mask=Causal())
    made, buffers = make(attention)
    found = jax.device_get(computed(tiled, attention, made, buffers, padded_layout())[0])
    empty = found.stats.visible == 0
    assert empty[20].all()
    assert not found.out[20].any() and not found.stats.entropy[20].any()
    assert (found.stats.log_normalizer[20] == -np.inf).all()
    assert (found.stats.entropy >= -1e-12).all()


@every_normalizer
def test_merging_two_key_ranges_is_the_whole_or_refused(normalizer, tiles_that_divide_nothing):
    part = normalizer()
    attention = Attention(normalizer=part)
    made, buffers = make(attention)

    @jax.jit
    def joined(made):
        halves = [made._replace(key=made.key[cut], value=made.value[cut]) for cut in (np.s_[:20], np.s_[20:])]
        return merge(*(attended(tiled, attention, half, buffers) for half in halves), part)

    if part.kind == "threshold" or part.visible or isinstance(part, TopK):
        with pytest.raises(ValueError, match="gather the keys"):
            joined(made)
        return
    if part.null(attention.own(Variables(made.params, buffers))["normalizer"], row_tile(4)) is not None:
        with pytest.raises(ValueError, match="merged once, at the end"):
            joined(made)
        return
    whole = jax.jit(lambda made: attended(dense, attention, made, buffers))
    assert_close(readings(whole(made)), readings(joined(made)), 1e-12)


@pytest.mark.parametrize(
    "normalizer", [cls for cls in parts_of(Normalizer) if cls.kind == "threshold"], ids=lambda cls: cls.__name__
)
def test_mass_to_the_power_of_its_degree_is_convex_and_1_or_more_at_the_start(normalizer, float64):  # noqa: F811
    part = normalizer()
    made, buffers = make(Attention(normalizer=part))
    own = Attention(normalizer=part).own(Variables(made.params, buffers))["normalizer"]
    tile = row_tile(4)
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3, 37)) * 2)
    seen = jnp.ones((1, 3, 37), bool)
    begin = part.begin(own, logits.max(-1), tile)

    def mass(z):
        total = part.weights(own, logits, z[..., None], seen, tile).sum(-1)
        return total ** (1 / jnp.asarray(part.degree(own, tile)))

    found = np.stack([mass(begin + step) for step in np.linspace(0, 1, 50)])
    assert (found[0] >= 1).all() and (np.diff(found, 2, 0) >= -1e-12).all()
