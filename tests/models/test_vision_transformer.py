"""The vision transformer against its equations written out in NumPy, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.added_positions import sin_cos
from jattn.layers.buffers import Buffer
from jattn.models.vision_transformer import VisionTransformer, VisionTransformerConfig, patches

IMAGES = np.random.default_rng(1).normal(size=(2, 6, 6, 2)).astype(np.float32)
SIZES = dict(width=8, depth=2, heads=2, image=6, patch=3, channels=2, classes=5, norm="layer", activation="relu")


def made(**options):
    config = VisionTransformerConfig(**(SIZES | options))
    shapes = nnx.eval_shape(lambda: VisionTransformer(config, rngs=nnx.Rngs(0)))
    graphdef, params, buffers = nnx.split(shapes, nnx.Param, Buffer)
    rng = np.random.default_rng(0)
    return (
        graphdef,
        jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 2, leaf.dtype), params),
        buffers,
    )


def norm(x, own):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * own["inner"]["scale"] + own["inner"]["bias"]


def written_out(params, image, pool, positions):
    """The logits of one image, patch by patch and head by head."""
    own = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), nnx.to_pure_dict(params))
    x = np.stack([image[r : r + 3, c : c + 3].reshape(-1) @ own["patches"] for r in (0, 3) for c in (0, 3)])
    if positions == "learned":
        x += own["positions"]["table"]
    else:
        x += np.asarray(sin_cos(jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]]), 8))
    if pool == "class_token":
        x = np.concatenate([own["class_token"][None], x])
    for layer in range(2):
        block = jax.tree.map(lambda leaf, n=layer: leaf[n], own["stack"]["repeat"][0])
        y, maps = norm(x, block["before_mixer"]), block["mixer"]["projecting"]
        heads = []
        for head in (slice(0, 4), slice(4, 8)):
            q, k, v = (y @ maps[name][:, head] for name in ("query", "key", "value"))
            weights = np.exp(q @ k.T / 2)
            heads.append(weights / weights.sum(1, keepdims=True) @ v)
        x = x + np.concatenate(heads, 1) @ maps["output"]
        y = norm(x, block["before_feedforward"])
        x = x + np.maximum(y @ block["feedforward"]["up"], 0) @ block["feedforward"]["down"]
    x = norm(x, own["norm"])
    return (x[0] if pool == "class_token" else x.mean(0)) @ own["head"]["table"]


@pytest.mark.parametrize(("pool", "positions"), [("class_token", "learned"), ("mean", "sin_cos")])
def test_logits_are_those_of_the_equations(pool, positions):
    graphdef, params, buffers = made(pool=pool, positions=positions)

    @jax.jit
    def both(params):
        def loss(params):
            found = nnx.merge(graphdef, params, buffers)(jnp.asarray(IMAGES))
            return (found.logits**2).mean(), found

        return jax.value_and_grad(loss, has_aux=True)(params)

    (_, found), grads = both(params)
    want = np.stack([written_out(params, image, pool, positions) for image in IMAGES])
    # float32 through two blocks: some tens of units in the last place of the largest
    np.testing.assert_allclose(found.logits, want, atol=64 * np.finfo(np.float32).eps * np.abs(want).max())
    assert found.record.stats.entropy.shape == (2, 2, 4 + (pool == "class_token"), 2)
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert jnp.isfinite(leaf).all() and abs(leaf).max() > 0, jax.tree_util.keystr(path)


def test_patches_are_squares():
    found = patches(jnp.asarray(IMAGES), 3)
    np.testing.assert_array_equal(found[1, 2], IMAGES[1, 3:, :3].reshape(-1))


def test_its_tokens_are_counted():
    assert VisionTransformerConfig(image=224, patch=16).tokens(128) == 197
    assert VisionTransformerConfig(image=224, patch=16, pool="mean").tokens(128) == 196


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patch": 4}, "image must be a multiple of its patch, got 6 and 4"),
        ({"channels": 0}, "VisionTransformerConfig.channels must be a whole number of at least 1, got 0"),
        ({"pool": "first"}, "pool must be one of class_token, mean, got 'first'"),
        ({"positions": "x"}, "positions must be one of"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        VisionTransformerConfig(**(SIZES | options))


def test_what_is_no_such_image_is_refused():
    graphdef, params, buffers = made()
    for images in (jnp.zeros((2, 8, 8, 2)), jnp.zeros((2, 6, 6, 2), int), jnp.zeros((2, 9), int)):
        with pytest.raises(
            ValueError, match=r"images of real numbers and of shape \(6, 6, 2\), got .* --source digits"
        ):
            nnx.merge(graphdef, params, buffers)(images)
