"""Tests what a checkpoint holds, and that one that was cut off anywhere gives way to the one before."""

import json
import shutil

import chex
import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
import pytest

from jattn import catalogue
from jattn.models.decoder import DecoderConfig
from jattn.part import Variables
from jattn.training import checkpoint, state
from jattn.training.run import Run

TINY = Run(model=DecoderConfig(width=8, depth=1))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Checkpoints of steps 3 and 5, the second with params of its own."""
    directory = tmp_path_factory.mktemp("saved")
    began = state.fresh(TINY)
    states = {
        step: began._replace(step=jnp.int32(step), params=jax.tree.map(lambda leaf, n=step: leaf + n, began.params))
        for step in (3, 5)
    }
    with checkpoint.Saver(directory, TINY) as saver:
        for step, each in states.items():
            saver.save(each, 8 * step)
    return directory, states


def test_the_state_the_position_the_key_and_the_run_come_back(saved):
    directory, states = saved
    restored = checkpoint.load(directory, TINY)
    chex.assert_trees_all_equal(restored.state, states[5])
    assert restored.example == 40
    with checkpoint.manager(directory, writes=False) as reader:
        items = reader.restore(5, args=ocp.args.Composite(run=ocp.args.JsonRestore(), state=ocp.args.StandardRestore()))
    assert Run.from_json(json.dumps(items["run"]), catalogue.find) == TINY
    chex.assert_trees_all_equal(items["state"]["key"], jax.random.key_data(state.key(TINY, state.STEPS)))


def test_reading_leaves_a_save_under_way_alone(saved, tmp_path):
    shutil.copytree(saved[0], tmp_path, dirs_exist_ok=True)
    (under_way := tmp_path / "checkpoints" / "7.orbax-checkpoint-tmp").mkdir()
    assert checkpoint.load(tmp_path, TINY).state.step == 5 and under_way.exists()


@pytest.mark.slow
def test_a_file_cut_off_anywhere_gives_the_older_checkpoint_or_the_same_values(saved, tmp_path, capsys):
    directory, states = saved
    # arrays and their lists, the position, the run, and what orbax says of them; as many as there are kinds
    found = [path for path in (directory / "checkpoints" / "5").rglob("*") if path.is_file()]
    kinds = {(path.parent.name, path.name if len(path.name) < 30 else "array"): path for path in found}
    kinds = {
        kind: path for kind, path in kinds.items() if kind[1] in ("array", "_METADATA", "manifest.ocdbt", "metadata")
    }
    files = [path.relative_to(directory) for path in kinds.values()]
    older = 0
    for file in files:
        shutil.copytree(directory, here := tmp_path / str(files.index(file)))
        content = (here / file).read_bytes()
        (here / file).write_bytes(content[: len(content) // 2])
        restored = checkpoint.load(here, TINY)
        told = capsys.readouterr().err
        step = int(restored.state.step)
        chex.assert_trees_all_equal(restored.state, states[step])
        assert restored.example == 8 * step
        assert (told == "") if step == 5 else ("step 5" in told and "not whole" in told and told.count("\n") == 1)
        older += step == 3
    # the arrays, their list, the position and the run at least
    assert older >= 4


def test_where_none_is_whole_one_sentence_says_so(saved, tmp_path):
    shutil.copytree(saved[0], tmp_path, dirs_exist_ok=True)
    for step in (3, 5):
        shutil.rmtree(tmp_path / "checkpoints" / str(step) / "state")
    with pytest.raises(OSError, match=r"must hold a whole checkpoint, got none among the steps \[3, 5\]"):
        checkpoint.load(tmp_path, TINY)


def test_later_checkpoints_are_set_aside_unfinished_ones_removed_and_others_things_left(saved, tmp_path):
    directory, states = saved
    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    for name in ("5.orbax-checkpoint-tmp", "7.orbax-checkpoint-tmp"):
        shutil.copytree(tmp_path / "checkpoints" / "5", tmp_path / "checkpoints" / name)
    (tmp_path / "checkpoints" / "mine").mkdir()
    (tmp_path / "checkpoints" / "50").write_text("a user's note")
    checkpoint.tidy(tmp_path, 3)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"3", "mine", "50"}
    assert (tmp_path / "unread" / "5" / "state").is_dir()
    with checkpoint.Saver(tmp_path, TINY) as saver:
        saver.save(states[5], 1)
    assert checkpoint.load(tmp_path, TINY).example == 1


def test_weights_of_another_run_come_by_name(saved):
    directory, states = saved
    like = state.fresh(TINY)
    found = checkpoint.weights(directory, Variables(like.params, like.buffers))
    chex.assert_trees_all_equal(found, Variables(states[5].params, states[5].buffers))


def test_weights_of_another_model_are_refused_with_both_shapes(saved):
    wide = state.fresh(Run(model=DecoderConfig(width=12, depth=1)))
    with pytest.raises(ValueError, match=r"embedding.table of float32\[256, 8\] there and float32\[256, 12\] in this"):
        checkpoint.weights(saved[0], Variables(wide.params, wide.buffers))
    deep = state.fresh(Run(model=DecoderConfig(width=8, depth=1, norm="layer")))
    with pytest.raises(ValueError, match="same model"):
        checkpoint.weights(saved[0], Variables(deep.params, deep.buffers))


def test_a_save_that_fails_is_one_sentence_and_the_last_one_is_whole(saved, tmp_path, monkeypatch):
    shutil.copytree(saved[0], tmp_path, dirs_exist_ok=True)
    with pytest.raises(OSError, match="must be able to write into its directory, got .*; see to its disk"):
        with checkpoint.Saver(tmp_path, TINY) as saver:
            (tmp_path / "checkpoints").rename(tmp_path / "gone")
            (tmp_path / "checkpoints").write_bytes(b"")
            saver.save(saved[1][5]._replace(step=jnp.int32(9)), 72)
    (tmp_path / "checkpoints").unlink()
    (tmp_path / "gone").rename(tmp_path / "checkpoints")
    assert checkpoint.load(tmp_path, TINY).state.step == 5


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold checkpoints"):
        checkpoint.load(tmp_path, TINY)
    with pytest.raises(FileNotFoundError, match="must hold run.json"):
        checkpoint.read_run(tmp_path, catalogue.find)
    with pytest.raises(FileNotFoundError, match="Run.init_from must name a run's directory"):
        checkpoint.weights(tmp_path, Variables({}, {}))
    assert not checkpoint.saved(tmp_path) and not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ["", "{", "\udcff", "[1, 2]", '{"name": "os.system"}', '{"name": "Run", "steps": "3"}']
)
def test_a_run_that_is_no_json_of_ours_is_one_sentence(text, tmp_path):
    (tmp_path / "run.json").write_text(text, errors="surrogateescape")
    with pytest.raises((ValueError, TypeError), match=r"^.* must .*; .*\.$"):
        checkpoint.read_run(tmp_path, catalogue.find)
