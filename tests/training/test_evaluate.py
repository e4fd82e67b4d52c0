"""Tests the held-out loss against a slow literal computation."""

import jax
import numpy as np

from jattn.models.decoder import DecoderConfig
from jattn.part import Variables
from jattn.training import evaluate, state
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.sources.text import Text
from jattn.training.windows import Sliding

TINY = Run(model=DecoderConfig(width=8, depth=1), optimizer=AdamW(), context=6, source=Text())
TEXT = bytes(np.random.default_rng(0).integers(0, 256, 32, dtype=np.uint8))


def variables():
    params, buffers, *_ = state.fresh(TINY)
    # a fresh head predicts nothing
    params["head"]["table"] = jax.random.normal(jax.random.key(1), params["head"]["table"].shape)
    return Variables(params, buffers)


def test_every_byte_costs_what_its_own_window_says():
    tokens, forward, arrays = np.frombuffer(TEXT, np.uint8).astype(np.int32), jax.jit(state.forward(TINY)), variables()
    costs = []
    for target in range(1, len(tokens)):
        # the window in which this byte is scored: the first one, then each that starts three further
        start = 0 if target <= 6 else 3 * -(-(target - 6) // 3)
        # filled up behind, where no prediction looks, so that one length is compiled
        window = np.pad(tokens[start:target], (0, 6 - (target - start)))
        logits = forward(arrays, window[None], None)[0][0, target - start - 1]
        costs.append(-jax.nn.log_softmax(logits)[tokens[target]])
    sliding = Sliding(TEXT, 6)
    for size in (4, len(sliding)):
        found = evaluate.loss_on(evaluate.scorer(TINY), arrays, sliding, range(len(sliding)), size)
        # sums of float32 in another order
        np.testing.assert_allclose(found, np.mean(costs), rtol=1e-5)


def test_the_sample_is_the_seeds_choice_without_repeats():
    sliding = Sliding(bytes(4000), 6)
    chosen = evaluate.sample(TINY, sliding)
    assert chosen == evaluate.sample(TINY, sliding) and len(set(chosen)) == evaluate.SAMPLE
    assert len(evaluate.sample(TINY, Sliding(TEXT, 6))) == len(Sliding(TEXT, 6))


def test_a_run_is_scored_on_all_that_its_source_holds_out(tmp_path):
    (tmp_path / "text").write_bytes(TEXT * 10)
    run = Run(**{**vars(TINY), "source": Text((str(tmp_path / "text"),))})
    fresh = state.fresh(run)
    np.testing.assert_allclose(
        evaluate.held_out_loss(run, Variables(fresh.params, fresh.buffers)), np.log(256), rtol=1e-6
    )
