"""The benchmark's own parts, at a size that takes seconds."""

import dataclasses

import numpy as np
import pytest

from jattn.benchmarks import training_step
from jattn.models.decoder import DecoderConfig


def test_contenders_take_turns_and_each_round_has_its_median(monkeypatch):
    clock = iter(np.arange(1000.0))
    monkeypatch.setattr(training_step.time, "perf_counter", lambda: next(clock))
    order = []
    contenders = {"a": lambda tokens: order.append("a"), "b": lambda tokens: order.append("b")}
    taken = training_step.compare(contenders, training_step.SETTING, rounds=2, turns=3)
    assert taken == {"a": [1000.0, 1000.0], "b": [1000.0, 1000.0]}
    assert "".join(order) == "aaaaabbbbb" + "aaaabbbb" * 2


def test_both_models_learn_the_same_repeated_batch():
    pytest.importorskip("torch", reason="the peer is in the extra `bench`")
    small = dataclasses.replace(
        training_step.SETTING, model=DecoderConfig(width=16, depth=1, heads=2, vocabulary=256), batch=2, context=8
    )
    tokens = np.random.default_rng(0).integers(0, 256, (2, 9)).astype(np.int32)
    for contender in (training_step.ours(small), training_step.peer(small)):
        losses = [contender(tokens) for _ in range(30)]
        assert losses[-1] < losses[0] - 0.1
