"""The prepared data set holds what the source draws, trains as it does, and needs neither network nor TensorFlow."""

import subprocess
import sys

import numpy as np
import pytest

from jattn.training.data import listops, prepare_listops
from jattn.training.sources.labeled_dataset import LabeledDataset
from jattn.training.sources.listops import ListOps

WORDS = "--depth 3 --longer-than 5 --shorter-than 21 --examples 40 --seed 2"
SOURCE = ListOps(depth=3, longer_than=5, shorter_than=21, examples=40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("listops")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare_listops, "HELD_OUT", 7)
        prepare_listops.main([*WORDS.split(), "--data-dir", str(home)])
    return home


def test_the_source_of_labeled_data_sets_reads_back_what_listops_draws(folder):
    read = LabeledDataset(data_dir=str(folder), vocabulary=16)
    made, context = SOURCE.train(24, 2), 24
    found = read.train(context, 0)
    assert len(found) == len(made) == 40 and read.shards() == 1
    # and on over epochs
    for number in range(45):
        for name, array in made[number].items():
            np.testing.assert_array_equal(found[number][name], array)
    held_out = read.held_out(context)
    assert len(held_out) == 7
    for number in range(7):
        for name, array in SOURCE.held_out(context)[number].items():
            np.testing.assert_array_equal(held_out[number][name], array)


def test_the_test_goes_on_where_what_is_validated_on_ends(folder):
    import tensorflow_datasets as tfds

    (place,) = folder.glob("jattn_listops/*/1.0.0")
    rows = tfds.builder_from_directory(str(place)).as_data_source(split="test")
    held_out = SOURCE.held_out(20)
    assert len(rows) == 7
    for number, row in enumerate(rows, 7):
        tokens = held_out[number]["inputs"][: held_out[number]["valid"]]
        assert row["tokens"].tolist() == tokens.tolist() and row["label"] == listops.value(tokens.tolist())


def test_other_options_are_prepared_beside_it(folder, capsys, monkeypatch):
    monkeypatch.setattr(prepare_listops, "HELD_OUT", 2)
    other = WORDS.replace("--depth 3", "--depth 4").replace("40", "3")
    prepare_listops.main([*other.split(), "--data-dir", str(folder)])
    shown = capsys.readouterr().out
    assert "jattn_listops/depth_4_arguments_10_longer_than_5_shorter_than_21_examples_3_seed_2/1.0.0 lies" in shown
    with pytest.raises(FileNotFoundError, match="did you mean jattn_listops/depth_3.* or jattn_listops/depth_4"):
        LabeledDataset(data_dir=str(folder), vocabulary=16).train(24, 0)


def test_the_command_uses_no_network_and_no_tensorflow(tmp_path):
    script = f"""
import runpy, socket, sys
from jattn.training.sources import listops

def refuse(*words, **more):
    raise AssertionError("the network was asked")

socket.socket.connect = socket.getaddrinfo = refuse
listops.HELD_OUT = 2
sys.argv = ["prepare", "--data-dir", {str(tmp_path)!r}, *"{WORDS}".split()]
runpy.run_module("jattn.training.data.prepare_listops", run_name="__main__")
print("tensorflow" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(" False\n") or done.stdout.endswith("\nFalse\n")
    assert len(list(tmp_path.rglob("*.array_record*"))) == 3
