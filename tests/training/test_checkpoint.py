"""Tests what a checkpoint holds beside the state; `test_loop` tests that the state comes back."""

import json

import chex
import jax
import orbax.checkpoint as ocp
import pytest

from jattn import catalogue
from jattn.models.decoder import DecoderConfig
from jattn.training import checkpoint, state
from jattn.training.run import Run

TINY = Run(model=DecoderConfig(width=8, depth=1))


def test_the_state_the_key_and_the_run_come_back(tmp_path):
    began = state.fresh(TINY)
    with checkpoint.manager(tmp_path) as saver:
        checkpoint.save(saver, TINY, began)
        saver.wait_until_finished()
        items = saver.restore(0, args=ocp.args.Composite(run=ocp.args.JsonRestore(), state=ocp.args.StandardRestore()))
    assert Run.from_json(json.dumps(items["run"]), catalogue.find) == TINY
    chex.assert_trees_all_equal(items["state"]["key"], jax.random.key_data(state.key(TINY, state.STEPS)))
    chex.assert_trees_all_equal(checkpoint.load(tmp_path, TINY), began)


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold checkpoints"):
        checkpoint.load(tmp_path, TINY)
    with pytest.raises(FileNotFoundError, match="must hold run.json"):
        checkpoint.read_run(tmp_path, catalogue.find)
