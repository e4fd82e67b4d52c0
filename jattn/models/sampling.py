"""Draws the continuation of a prompt, token by token, over what attention keeps of the text.

Source: Fan et al., "Hierarchical Neural Story Generation", ACL 2018, arXiv:1805.04833, section 5.4 (top k); Holtzman et
al., "The Curious Case of Neural Text Degeneration", ICLR 2020, arXiv:1904.09751, section 3.1 (top p).
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int

from jattn.mechanisms.attention import Attention
from jattn.models.decoder import Decoder, DecoderConfig
from jattn.parts.masks.window import Window


def within(config: DecoderConfig, context: int) -> DecoderConfig:
    """The same decoder, same weights, that looks back over the `context` tokens of its training and no further.

    At distances that it never saw it writes noise: the default run's text broke down after 128 bytes. Linear attention
    keeps no keys to look back at, and stays as it is.
    """
    if not isinstance(config.attention, Attention):
        return config
    mask = config.attention.mask & Window(left=context - 1)
    return dataclasses.replace(config, attention=dataclasses.replace(config.attention, mask=mask))


def choose(
    logits: Float[Array, " v"], rng: Array | None, temperature: float, top_k: int | None, top_p: float | None
) -> Int[Array, ""]:
    """One token: of the `top_k` likeliest, those that together first reach the mass `top_p`, drawn by their weights."""
    if temperature == 0:
        return jnp.argmax(logits)
    # ranks, not a threshold: tied logits would let in more than k
    order = jnp.argsort(-logits, stable=True)
    ranked = logits[order] / temperature
    if top_k is not None:
        ranked = jnp.where(jnp.arange(len(ranked)) < top_k, ranked, -jnp.inf)
    if top_p is not None:
        mass = jax.nn.softmax(ranked)
        # the mass before a token: the likeliest always stays
        before = jnp.concatenate([jnp.zeros(1), jnp.cumsum(mass)[:-1]])
        ranked = jnp.where(before < top_p, ranked, -jnp.inf)
    return order[jax.random.categorical(rng, ranked)]


def generate(
    model: Decoder,
    prompt: Int[Array, "b n"],
    *,
    count: int,
    rng: Array | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Int[Array, "b n+count"]:
    """The prompt and `count` tokens more; temperature 0 takes the likeliest and needs no key.

    Each example draws from its own keys, so its text does not depend on what else is in the batch.
    """
    prompt = jnp.asarray(prompt)
    _check(model, prompt, count, rng, temperature, top_k, top_p)
    graphdef, weights = nnx.split(model.folded())
    if temperature == 0:
        rng = None
    return _generate(graphdef, weights, prompt, rng, count, (temperature, top_k, top_p))


@partial(jax.jit, static_argnums=(0, 4, 5))
def _generate(graphdef, weights, prompt, rng, count, options):
    model = nnx.merge(graphdef, weights)
    batch, length = prompt.shape
    # the last token drawn is never read
    state = model.state(batch, length + count - 1)
    decoded = model(prompt, state=state)
    temperature, top_k, top_p = options

    def draw(logits, step):
        if rng is None:
            return jnp.argmax(logits, axis=-1).astype(prompt.dtype)
        key = jax.random.fold_in(rng, step)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(batch))
        chosen = jax.vmap(lambda logits, key: choose(logits, key, temperature, top_k, top_p))(logits, keys)
        return chosen.astype(prompt.dtype)

    def step(carry, number):
        token, state = carry
        decoded = model(token[:, None], state=state)
        token = draw(decoded.logits[:, -1], number)
        return (token, decoded.state), token

    token = draw(decoded.logits[:, -1], 0)
    _, rest = lax.scan(step, (token, decoded.state), jnp.arange(1, count))
    return jnp.concatenate([prompt, token[:, None], rest.T], axis=1)


def _check(model, prompt, count, rng, temperature, top_k, top_p) -> None:
    if prompt.ndim != 2 or prompt.shape[1] < 1:
        raise ValueError(f"A prompt is [batch, tokens] with at least 1 token, got shape {prompt.shape}; add one.")
    if not jnp.issubdtype(prompt.dtype, jnp.integer):
        raise TypeError(f"A prompt holds integer tokens, got {prompt.dtype}; encode the text first.")
    if count < 1:
        raise ValueError(f"generate needs a count of at least 1 token, got {count}; the prompt itself is not counted.")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"A temperature must be finite and at least 0, got {temperature}; 0 takes the likeliest.")
    vocabulary = model.config.vocabulary
    if top_k is not None and not 1 <= top_k <= vocabulary:
        raise ValueError(
            f"top_k must lie in 1 to {vocabulary}, the vocabulary, got {top_k}; without it all tokens stay."
        )
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must lie above 0 and at most at 1, got {top_p}; without it all tokens stay.")
    if temperature > 0 and rng is None:
        raise ValueError(
            "generate draws with a key, got rng=None; pass rng=jax.random.key(0), or temperature=0 for the likeliest."
        )
