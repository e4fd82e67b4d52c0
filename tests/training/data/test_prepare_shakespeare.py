"""Tests that the prepared data set holds the works, and that preparing it needs neither network nor TensorFlow."""

import subprocess
import sys

from jattn.training.data import prepare_shakespeare, shakespeare


def test_each_work_is_an_example_in_order(shakespeare_folder):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(shakespeare_folder / "jattn_shakespeare" / "1.0.0"))
    for split, works in {"train": shakespeare.train_works(), "test": shakespeare.held_out_works()}.items():
        source = builder.as_data_source(split=split)
        assert [(row["name"].decode(), row["text"]) for row in source] == list(works.items())
    assert [builder.info.splits[split].num_examples for split in ("train", "test")] == [39, 3]


def test_preparing_twice_leaves_what_is_there(shakespeare_folder, capsys):
    files = {path: path.stat().st_mtime_ns for path in shakespeare_folder.rglob("*")}
    prepare_shakespeare.main(["--data-dir", str(shakespeare_folder)])
    assert capsys.readouterr().out.startswith("jattn_shakespeare/1.0.0 lies in ")
    assert {path: path.stat().st_mtime_ns for path in shakespeare_folder.rglob("*")} == files


def test_the_command_uses_no_network_and_no_tensorflow(tmp_path):
    script = f"""
import runpy, socket, sys

def refuse(*words, **more):
    raise AssertionError("the network was asked")

socket.socket.connect = socket.getaddrinfo = refuse
sys.argv = ["prepare", "--data-dir", {str(tmp_path)!r}]
runpy.run_module("jattn.training.data.prepare_shakespeare", run_name="__main__")
from jattn.training.sources.dataset import Dataset
windows = Dataset(data_dir={str(tmp_path)!r}).train(128, 0)
print(bytes(windows[0]["tokens"].astype("uint8"))[:9], "tensorflow" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(" False\n") and len(list(tmp_path.rglob("*.array_record*"))) == 2


def test_the_source_alone_does_not_import_the_library():
    script = "import sys, jattn.training.sources.dataset; print('tensorflow_datasets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"
