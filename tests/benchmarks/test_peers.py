"""Each peer computes what the call says, or says why it cannot take part."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

from jattn.benchmarks import calls, peers
from jattn.benchmarks.calls import FORWARD, GRADIENT, Call
from jattn.mechanisms.attention import Attention
from jattn.parts.masks import Full

CAUSAL = Call(13, heads=2, width=8, batch=2)
FULL = CAUSAL._replace(attention=Attention(mask=Full()))
LIBRARIES = {peers.TORCH: "torch", peers.TOKAMAX: "tokamax"}


@pytest.mark.parametrize("call", [CAUSAL, FULL], ids=["causal", "full"])
@pytest.mark.parametrize("name", [peers.JAX, peers.TOKAMAX, peers.TORCH, peers.BY_HAND])
def test_a_peer_equals_the_definition(name, call):
    if name in LIBRARIES:
        pytest.importorskip(LIBRARIES[name], reason="the peer is in the extra `bench`")
    right = calls.reference(call)
    for direction in (FORWARD, GRADIENT):
        calls.check(name, right, peers.PEERS[name](call, direction).turn())


def test_what_one_writes_by_hand_has_the_entropy_too():
    call = CAUSAL._replace(reads="entropy")
    calls.check(peers.BY_HAND, calls.reference(call), peers.by_hand(call, GRADIENT).turn())


def test_the_literal_entropy_of_equal_logits_is_the_log_of_the_keys_seen():
    zero = jnp.zeros((1, 5, 1, 4))
    _, entropy = peers.literal(zero, zero, zero, jnp.tril(jnp.ones((5, 5), bool)))
    np.testing.assert_allclose(entropy[0, :, 0], np.log(np.arange(1, 6)), rtol=1e-6, atol=1e-6)


def test_pytorch_takes_the_layout_that_was_faster(monkeypatch):
    pytest.importorskip("torch", reason="the peer is in the extra `bench`")
    seconds = iter([2.0, 1.0])
    monkeypatch.setattr(peers, "_seconds", lambda turn: next(seconds))
    assert peers.pytorch(CAUSAL, FORWARD).note == f"layout {peers.LAYOUTS[1]}"


def test_a_peer_for_another_device_says_so(monkeypatch):
    with pytest.raises(NotImplementedError, match=r"^cuDNN needs a GPU, and JAX computes on cpu here\.$"):
        peers.cudnn(CAUSAL, FORWARD)
    monkeypatch.setattr(peers.jax, "default_backend", lambda: "tpu")
    with pytest.raises(NotImplementedError, match="its CPU kernel, and JAX computes on tpu"):
        peers.pytorch(CAUSAL, FORWARD)


@pytest.mark.parametrize("library", LIBRARIES.values())
def test_a_peer_that_is_not_installed_is_named_by_its_library(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    (name,) = [name for name, each in LIBRARIES.items() if each == library]
    with pytest.raises(ModuleNotFoundError) as caught:
        peers.PEERS[name](CAUSAL, FORWARD)
    assert caught.value.name == library
