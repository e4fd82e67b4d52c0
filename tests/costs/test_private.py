"""Refusals and exported text always; what parties send where the Python that has SPU is at hand."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.costs import private
from jattn.costs.private import Sent, Setting

COMMANDS = ("`python3.11 -m venv spu-environment`", "`spu-environment/bin/pip install spu==0.9.5`")


@pytest.fixture
def spu():
    if told := private.missing():
        pytest.skip(told)


def drawn(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("named", ["", "no/such/python", None])
def test_a_missing_interpreter_is_one_sentence_with_the_two_commands(monkeypatch, named):
    monkeypatch.delenv(private.VARIABLE, raising=False)
    with pytest.raises(FileNotFoundError, match="SPU runs in a Python of its own, got") as caught:
        private.interpreter(named)
    assert all(command in str(caught.value) for command in COMMANDS)
    assert str(caught.value).count(". ") == 0 and private.missing(named) == str(caught.value)


@pytest.mark.skipif(sys.version_info[:2] not in ((3, 10), (3, 11)), reason="another Python is refused first")
def test_a_python_without_spu_is_named(monkeypatch):
    monkeypatch.setenv(private.VARIABLE, sys.executable)
    with pytest.raises(RuntimeError, match="must be installed beside its Python, got none in") as caught:
        private.measure(jax.nn.relu, drawn(2))
    assert sys.executable in str(caught.value) and all(command in str(caught.value) for command in COMMANDS)


@pytest.mark.parametrize(
    "found, told",
    [
        ('{"python": "3.12.1", "spu": "0.9.5"}', "needs Python 3.10 or 3.11, got Python 3.12.1; make its"),
        ('{"python": "3.11.7", "spu": "0.9.3"}', "must be installed beside its Python, got spu 0.9.3 in"),
        ('{"python": "3.11.7", "spu": null}', "must be installed beside its Python, got none in"),
    ],
)
def test_another_python_or_another_spu_is_refused(tmp_path, found, told):
    stub = tmp_path / "python"
    stub.write_text(f"#!/bin/sh\necho '{found}'\n")
    stub.chmod(0o755)
    with pytest.raises(RuntimeError, match=told):
        private.interpreter(stub)


def test_a_file_that_is_no_python_is_refused(tmp_path):
    stub = tmp_path / "python"
    stub.write_text("none")
    assert f"got '{stub}', which does not run as one; make its environment" in private.missing(stub)


@pytest.mark.parametrize(
    "field, given", [("protocol", "spdz"), ("denominator", "never"), ("beaver", "anyone")]
)  # fmt: skip
def test_a_setting_that_does_not_exist_is_refused(field, given):
    with pytest.raises(ValueError, match=f"Setting.{field} must be one of .*, got '{given}'; leave it out for"):
        Setting(**{field: given})


def test_a_function_is_exported_as_text_with_flat_arguments():
    text, flat = private.exported(lambda held, x: held["a"] * x, {"a": jnp.ones(3), "unused": jnp.ones(2)}, drawn(3))
    assert text.startswith("HloModule") and [array.shape for array in flat] == [(3,), (2,), (3,)]


def test_constants_are_exported_whole():
    held = np.arange(100.0, dtype=np.float32)
    text, _ = private.exported(lambda x: x + held, drawn(100))
    assert "..." not in text and all(f" {n}," in text for n in range(1, 99))


def test_a_product_opens_both_factors_and_truncates(spu):
    m, k, n = 5, 7, 3
    found = private.measure(jnp.matmul, drawn(m, k), drawn(k, n))
    # 8 bytes a number of both factors, masked by a triple from the dealer, then 4 a number to cut the fraction off
    assert [party.sent for party in found.parties] == [Sent(8 * (m * k + k * n) + 4 * m * n, 2)] * 2
    assert found.sent == found.operations["dot"][1] and found.operations["dot"][0] == 1
    # a sum of 7 products, each off by half a unit of 2^-18 in either factor, of size 3 at most, and the cut
    np.testing.assert_allclose(found.outputs[0], drawn(m, k) @ drawn(k, n), atol=7 * 3 * 2.0**-18 + 2.0**-17)


def test_a_public_constant_of_any_length_arrives(spu):
    held = np.linspace(-1, 1, 200, dtype=np.float32)
    found = private.measure(lambda x: x * held, drawn(200))
    # half a unit of 2^-18 in either factor, of size 4 at most, and the cut
    np.testing.assert_allclose(found.outputs[0], drawn(200) * held, atol=5 * 2.0**-18)


def test_softmax_sends_the_same_twice_and_less_where_it_divides_once_a_row(spu):
    x = drawn(3, 5, 7)
    first, again, once = (
        private.measure(jax.nn.softmax, x, setting=Setting(denominator=denominator))
        for denominator in ("broadcast", "broadcast", "once")
    )
    assert first.parties == again.parties and first.operations == again.operations
    assert once.sent.bytes < first.sent.bytes and once.sent.messages == first.sent.messages
    # SPU's exponential, (1 + x/256)^256, is off by x^2/512 of itself: 5.4e-1/512 e^-x x^2 at most, below 1.1e-3 of the
    # largest, twice for numerator and sum
    np.testing.assert_allclose(once.outputs[0], jax.nn.softmax(x), atol=2.2e-3)


def test_three_parties_send_more_by_chance_but_together_the_same(spu):
    found = [private.measure(jax.nn.relu, drawn(4, 6), setting=Setting("aby3")) for _ in range(2)]
    assert len(found[0].parties) == 3 and found[0].sent == found[1].sent
    assert sum(party.received.bytes for party in found[0].parties) == found[0].sent.bytes


def test_what_spu_refuses_is_one_sentence(spu):
    with pytest.raises(RuntimeError, match="unsupported beaver type 2; change either"):
        private.measure(jnp.square, drawn(3), setting=Setting(beaver="MultiParty"))
