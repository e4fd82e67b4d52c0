"""What is said of a call is what the call does."""

import re

import jax
import jax.numpy as jnp
import pytest

from jattn.mechanisms.call import IMPLEMENTATIONS
from jattn.mechanisms.dot_product import dot_product_attention
from jattn.mechanisms.explain import explain
from jattn.parts.masks.causal import Causal

Q, K = jnp.ones((7, 4, 8)), jnp.ones((9, 2, 8))


def test_the_default_is_tiled_and_every_other_one_has_its_reason():
    found = explain(Q, K, K[..., :5])
    assert found.implementation == "tiled" and list(found.reasons) == ["dense", "xla", "cudnn", "tokamax"]
    *lines, last = str(found).splitlines()
    assert lines == [
        "tiled serves this call.",
        "dense does not: only by name, since its memory grows with queries times keys.",
        "xla does not: its values have the shape of its keys.",
        "cudnn does not: its values have the shape of its keys.",
    ]
    # by whether it is installed
    assert last.startswith(("tokamax does not: only by name", "tokamax does not: it needs tokamax"))


@pytest.mark.parametrize(
    "options", [{}, {"mask": Causal()}, {"return_residual": True}], ids=lambda x: next(iter(x), "plain")
)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_a_call_is_served_if_and_only_if_it_is_said_to_be(name, options):
    found = explain(Q, K, K, implementation=name, **options)
    if found.implementation == name:
        jax.eval_shape(lambda *x: dot_product_attention(*x, implementation=name, **options), Q, K, K)
        assert name not in found.reasons
    else:
        assert found.implementation is None and str(found).startswith("Nothing serves this call.")
        with pytest.raises(ValueError, match=re.escape(f"{name!r} cannot serve this call: {found.reasons[name]}")):
            dot_product_attention(Q, K, K, implementation=name, **options)


def test_what_could_serve_a_call_is_passed_over_where_another_is_asked_for():
    assert explain(Q, K, K, implementation="dense").reasons["tiled"].startswith("another is asked for")


def test_what_fits_nothing_is_refused_as_in_the_call():
    with pytest.raises(ValueError, match="queries have width 8 and keys 7"):
        explain(Q, K[..., :7], K)
