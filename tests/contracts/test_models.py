"""What every model promises: sigmaReparam converts each of its maps, and it goes by its own name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn import catalogue
from jattn.layers.buffers import Buffer, arrays
from jattn.layers.kernels import kernels
from jattn.layers.reparametrizations.sigma_reparam import SigmaReparam
from jattn.models import Model
from jattn.models.bag import BagConfig
from jattn.models.decoder import DecoderConfig
from jattn.models.encoder import EncoderConfig
from jattn.models.encoder_decoder import EncoderDecoderConfig, Sequences
from jattn.models.vision_transformer import VisionTransformerConfig

TOKENS = np.arange(10).reshape(2, 5) % 7
IMAGES = np.ones((2, 8, 8, 1), np.float32)
# what each reads, and how many linear maps it has beside the six of each block
READ = {
    DecoderConfig: (jnp.asarray(TOKENS), 1),
    EncoderConfig: (jnp.asarray(TOKENS), 1),
    EncoderDecoderConfig: (Sequences(jnp.asarray(TOKENS), jnp.asarray(TOKENS)), 10 * 2 + 1),
    VisionTransformerConfig: (jnp.asarray(IMAGES), 2),
    # three of them the pool's
    BagConfig: (jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 64)), jnp.float32), 5),
}


def built(kind, **options):
    sizes = {"width": 8, "depth": 2, "heads": 2, **options}
    return kind(**sizes).build(rngs=nnx.Rngs(0), dtype=jnp.float32, remat="none")


def test_no_model_is_left_out():
    found = [entry.load() for entry in catalogue.choices(Model)]
    assert set(READ) == set(found)


@pytest.mark.parametrize("kind", READ)
def test_every_map_is_converted_with_norms_or_without(kind):
    inputs, more = READ[kind]
    # norms gone in one, after each sum in the next: the decoder's own tests have all places
    norm, place = ("none", "before") if kind in (DecoderConfig, VisionTransformerConfig) else ("layer", "after")
    model = built(kind, reparametrization=SigmaReparam(), norm=norm, norm_place=place)
    gains = sum(np.size(leaf) for leaf in jax.tree.leaves(arrays(model.kernels.beside).params))
    converted = sum(len(each.variable[...]) if "repeat" in path else 1 for path, each in kernels(model).items())
    assert gains == converted == 6 * 2 + more
    graphdef, arrays_ = nnx.split(model)
    assert jnp.isfinite(jax.jit(lambda arrays_: nnx.merge(graphdef, arrays_)(inputs).logits)(arrays_)).all()
    before = nnx.to_pure_dict(nnx.state(model, Buffer))
    after = nnx.to_pure_dict(model.refreshed({}, jax.random.key(0), jnp.int32(0)))
    assert jax.tree.structure(before) == jax.tree.structure(after)


@pytest.mark.parametrize("kind", READ)
def test_models_go_by_their_own_names(kind):
    name = kind.__name__.removesuffix("Config")
    assert catalogue.find(Model, name) is catalogue.find(Model, catalogue.snake(name)) is kind
    with pytest.raises(ValueError, match=f"{kind.__name__}.width must be a whole number of at least 1, got 0"):
        kind(width=0)


@pytest.mark.parametrize(
    "kind",
    [kind if kind is DecoderConfig else pytest.param(kind, marks=pytest.mark.slow) for kind in READ],
)
def test_batch_norms_evaluate_as_in_training_by_what_that_observed(kind):
    inputs, _ = READ[kind]
    # of the decoder the last block has one norm less
    model = built(kind, norm="batch", **({"pruned": 1} if kind is DecoderConfig else {}))
    graphdef, params, buffers = nnx.split(model, nnx.Param, Buffer)

    @jax.jit
    def both(params, buffers):
        # blocks and head write nothing at the start
        params = jax.tree.map(lambda x: x + jax.random.normal(jax.random.key(1), x.shape), params)
        trained = nnx.merge(graphdef, params, buffers)
        logits, record, _ = trained(inputs, rng=jax.random.key(0))
        fresh = trained.refreshed(record.stats.observed, jax.random.key(0), jnp.int32(0))
        count = record.stats.observed["last"]["norm"]["count"]
        held = dict(nnx.to_flat_state(fresh))
        # averages are of the variance of all there is, of which a batch has one token's less
        biased = {path: x.replace(x[...] * (count - 1) / count) for path, x in held.items() if path[-1] == "variance"}
        steps = [x[...] for path, x in held.items() if path[-1] == "steps"]
        return logits, nnx.merge(graphdef, params, nnx.from_flat_state(held | biased))(inputs)[0], steps

    logits, evaluated, steps = both(params, buffers)
    assert steps and all((each == 1).all() for each in steps)
    np.testing.assert_allclose(evaluated, logits, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="A batch norm evaluates by the averages of training"):
        model(inputs)
