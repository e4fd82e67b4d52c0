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
        found = evaluate.means_on(evaluate.scorer(TINY), arrays, sliding, range(len(sliding)), size)["loss"]
        # sums of float32 in another order
        np.testing.assert_allclose(found, np.mean(costs), rtol=1e-5)


def test_the_sample_is_the_seeds_choice_without_repeats():
    sliding = Sliding(bytes(4000), 6)
    chosen = evaluate.sample(TINY, sliding)
    assert chosen == evaluate.sample(TINY, sliding) and len(set(chosen)) == evaluate.SAMPLE
    assert len(evaluate.sample(TINY, Sliding(TEXT, 6))) == len(Sliding(TEXT, 6))


class Counted:
    """Windows that score eight tokens each, the first sixteen, of which none is made before it is asked for."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        return {"tokens": np.zeros(17, np.int32), "scored": np.arange(16) >= (8 if number else 0)}


def test_up_to_the_most_tokens_every_window_is_scored():
    most = evaluate.MOST_TOKENS // 8
    assert list(evaluate.whole(Counted(most))) == list(range(most))
    assert len(evaluate.whole(Sliding(bytes(3), 2000))) == 1


def test_of_a_longer_text_evenly_spaced_windows_are_scored():
    most, many = evaluate.MOST_TOKENS // 8, 10**10
    chosen = np.array(evaluate.whole(Counted(many)))
    assert len(chosen) == most and chosen[0] == 0 and many - chosen[-1] <= many // most + 1
    assert set(np.diff(chosen)) <= {many // most, many // most + 1}


def test_the_sample_of_a_short_text_is_the_head_of_a_permutation():
    # the figures of the embedded text depend on it
    for run_seed in (0, 3):
        run = Run(**{**vars(TINY), "seed": run_seed})
        expected = np.sort(np.random.default_rng(run_seed).permutation(5000)[: evaluate.SAMPLE])
        np.testing.assert_array_equal(evaluate.sample(run, Counted(5000)), expected)


def test_the_sample_of_a_huge_text_is_drawn_without_a_permutation():
    # a permutation of as many would take 8 TB
    chosen = evaluate.sample(TINY, Counted(10**12))
    assert chosen == sorted(set(chosen)) == evaluate.sample(TINY, Counted(10**12)) and len(chosen) == evaluate.SAMPLE
    assert chosen[0] < 10**11 and chosen[-1] > 9 * 10**11
    assert chosen != evaluate.sample(Run(**{**vars(TINY), "seed": 1}), Counted(10**12))


def test_a_run_is_scored_on_all_that_its_source_holds_out(tmp_path):
    (tmp_path / "text").write_bytes(TEXT * 10)
    run = Run(**{**vars(TINY), "source": Text((str(tmp_path / "text"),))})
    fresh = state.fresh(run)
    np.testing.assert_allclose(
        evaluate.held_out_loss(run, Variables(fresh.params, fresh.buffers)), np.log(256), rtol=1e-6
    )
