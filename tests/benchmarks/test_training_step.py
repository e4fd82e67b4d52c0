"""The benchmark's own parts, at a size that takes seconds."""

import numpy as np
import pytest

from jattn.benchmarks import training_step
from jattn.benchmarks.training_step import COMPILED, EAGER, OURS, SIGMA, SMOKE, TINY


def _tokens():
    return np.random.default_rng(0).integers(0, 256, (TINY.batch, TINY.context + 1)).astype(np.int32)


def test_both_models_learn_the_same_repeated_batch():
    pytest.importorskip("torch", reason="the peer is in the extra `bench`")
    for turn, _ in (training_step.ours(TINY, _tokens()), training_step.peer(TINY, _tokens(), EAGER)):
        losses = [turn() for _ in range(30)]
        assert losses[-1] < losses[0] - 0.1


def test_a_peer_that_does_not_run_is_a_row_without_times_and_the_others_are_measured(monkeypatch):
    def peer(run, tokens, kind):
        if kind == COMPILED:
            raise RuntimeError("no compiler\nand more lines")
        return lambda: 0.0, None

    monkeypatch.setattr(training_step, "peer", peer)
    monkeypatch.setattr(training_step, "ours", lambda run, tokens: (lambda: 0.0, 7))
    eager, ours, broken, *alone = training_step.measure(SMOKE._replace(peers=(EAGER, COMPILED)))
    assert (eager.contender, ours.contender, broken.contender) == (EAGER, OURS, COMPILED)
    assert [(row.contender, row.peer) for row in alone] == [(OURS, OURS), (SIGMA, OURS)]
    assert broken.milliseconds is None and broken.note == "does not run here: no compiler"
    assert ours.temporary_bytes == 7 and ours.ratio.low > 0 and "first step after" in ours.note


def test_any_other_that_fails_is_no_row(monkeypatch):
    def broken(run, tokens):
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr(training_step, "ours", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        training_step.measure(SMOKE._replace(peers=()))


def test_our_step_tells_its_memory():
    _, temporary = training_step.ours(TINY, _tokens())
    # a byte for each logit at least
    assert temporary > TINY.batch * TINY.context * TINY.model.vocabulary
