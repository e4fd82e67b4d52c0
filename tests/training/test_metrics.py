"""Tests the rows of metrics.jsonl."""

import jax.numpy as jnp
import pytest

from jattn.training import metrics
from jattn.training.step import Metrics


def test_rows_are_read_as_written(tmp_path):
    shown = Metrics(jnp.float32(1.5), jnp.float32(0.25), jnp.float32(1e-3), jnp.ones((2, 3)))
    rows = [metrics.row(1, shown, 100.4, None), metrics.row(2, shown._replace(entropy=None), 5.0, 2.5)]
    with metrics.Writer(tmp_path) as writer:
        for row in rows:
            writer.write(row)
    assert metrics.read(tmp_path) == rows
    assert rows[0] == {
        "step": 1,
        "loss": 1.5,
        "learning_rate": 1e-3,
        "gradient_norm": 0.25,
        "tokens_per_second": 100,
        "entropy": [[1.0] * 3] * 2,
    }
    assert rows[1]["heldout_loss"] == 2.5 and "entropy" not in rows[1]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_names_its_step(loss, tmp_path):
    with pytest.raises(FloatingPointError, match=f"got {loss} at step 7; lower"):
        metrics.finite(7, loss, tmp_path)


def test_params_that_are_no_numbers_name_their_step(tmp_path):
    metrics.learned(7, True, tmp_path)
    with pytest.raises(FloatingPointError, match="got others after step 7; lower"):
        metrics.learned(7, False, tmp_path)


def test_an_empty_directory_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold metrics.jsonl"):
        metrics.read(tmp_path)
