"""`jattn train`: what a run holds, and what is refused in one sentence."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jattn import catalogue, cli
from jattn.cli import guard
from jattn.training import checkpoint, lock, loop, state
from jattn.training.sources.dataset import Dataset


def test_a_run_holds_what_was_chosen(trained, text):
    held = json.loads((trained / "run.json").read_text())
    assert (held["steps"], held["context"], held["model"]["width"]) == (2, 8, 8)
    assert held["source"] == {"name": "Text", "files": [str(text)]}
    attention = held["model"]["attention"]
    assert attention["mask"] == {"name": "Window", "left": 5, "right": 0}
    assert attention["normalizer"] == {"name": "Sparsemax"}
    assert len((trained / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--stesp", "3"], "no option --stesp; the nearest is --steps"),
        (["--preset", "smok"], "smoke"),
        (["--smoke", "3"], "--smoke takes no value"),
        (["--steps", "0"], "Run.steps must be a whole number of at least 1, got 0"),
        (["--batch", "-2"], "got -2"),
        (["--model.width", "0"], "got 0"),
        (["--model.width", "10", "--model.heads", "3"], "got"),
        (["--steps", "many"], "--steps takes a whole number, got 'many'"),
        (["--model.attention.mask", "casual"], "the nearest is causal"),
        (["--model.attention.mask", "os.system"], "got the path 'os.system'"),
        (["--optimizer", "moun"], "the nearest is muon"),
        (["--text", "nowhere.txt"], "nowhere.txt'"),
        (["--text", "."], "directory"),
        (["--text", "empty.txt"], "empty"),
        (["--text", "short.txt"], "context"),
        (["--text", "short.txt", "--dataset", "made"], "--text or on --dataset, got both"),
        (["--hosts.count", "2"], "go with an address, got None, 2 and None; add --hosts.coordinator HOST:PORT"),
        (["--hosts.coordinator", "auto", "--hosts.number", "0"], "got 'auto', None and 0; add"),
        (["--hosts.coordinator", "here:99999"], "takes HOST:PORT of host 0, or auto, got 'here:99999'"),
        (["--hosts.coordinator", "here"], "takes HOST:PORT of host 0, or auto, got 'here'"),
        (["--hosts.coordinator", "here:1", "--hosts.count", "2"], "got 'here:1', 2 and None; give all three"),
        (["--hosts.coordinator", "a:1", "--hosts.count", "2", "--hosts.number", "2"], "from 0 to below it, got"),
        (["--hosts.cuont", "2"], "no option --hosts.cuont; the nearest are --hosts.count"),
        (["--data-dir", "here"], "got 'here' alone; add --dataset NAME"),
        (["--dataset", "jattn_shakespear", "--data-dir", "here"], "did you mean jattn_shakespeare, which python -m"),
        (["--dataset", "jattn_shakespeare", "--data-dir", "here"], "here.\n"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(words, sentence, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(guard.INSIDE, "1")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "short.txt").write_text("short")
    smoke = [] if "--preset" in words or "--smoke" in words else ["--smoke"]
    code, told = refused("train", *smoke, *words, "--dir", "run")
    assert code == 2 and sentence in told
    assert not (tmp_path / "run").exists() and not (tmp_path / "runs").exists()


def test_hosts_without_a_directory_are_refused(refused, monkeypatch):
    monkeypatch.setenv(guard.INSIDE, "1")
    told = ["--hosts.coordinator", "here:1", "--hosts.count", "2", "--hosts.number", "0"]
    for words in (told, ["--hosts.coordinator", "auto"]):
        code, sentence = refused("train", "--smoke", *words)
        assert code == 2 and "one directory that all of them see, got none; name it with --dir" in sentence


def test_a_data_set_is_named_as_text_is(shakespeare_folder, tiny, tmp_path, monkeypatch):
    held = []
    monkeypatch.setattr(loop, "fit", lambda run, directory, **_: held.append(run))
    words = ["--dataset", "jattn_shakespeare", "--data-dir", str(shakespeare_folder), "--source.feature", "text"]
    assert cli.main(["train", *tiny, *words, "--dir", str(tmp_path / "run")]) == 0
    assert held[0].source == Dataset("jattn_shakespeare", str(shakespeare_folder), feature="text")


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--source.feature", "txet"], "Dataset.feature must be one of"),
        (["--source.train-split", "tarin"], "of train, test, got 'tarin'"),
        (["--source.held-out-split", "train"], "share no document"),
        (["--source.vocabulary", "100"], "got 121 in document 0 of train for a vocabulary of 100"),
        (["--source.vocabulary", "300"], "must hold the source's 300 tokens, got 256"),
    ],
)
def test_a_data_set_that_does_not_fit_is_one_sentence(words, sentence, refused, shakespeare_folder, tmp_path):
    named = ["--dataset", "jattn_shakespeare", "--data-dir", shakespeare_folder]
    code, told = refused("train", "--smoke", *named, *words, "--dir", tmp_path / "run")
    assert code == 2 and sentence in told
    assert not (tmp_path / "run").exists()


def test_a_directory_of_another_run_is_refused(trained, refused):
    before = (trained / "run.json").read_text()
    code, told = refused("train", "--smoke", "--dir", trained)
    assert code == 2 and "run.json" in told
    assert (trained / "run.json").read_text() == before


# whole runs on one device and on a context axis of four, each also cut off in its middle; what they tell and hold
LINEAR = """
import chex
chex.set_n_cpu_devices(4)
import json, shutil, sys
from pathlib import Path
import jax
import numpy as np
from jattn import cli
from jattn.cli import runs
from jattn.training import checkpoint

def losses(home):
    return [json.loads(line)["loss"] for line in (home / "metrics.jsonl").read_text().splitlines()]

def directions(home, step):
    return jax.tree.leaves(runs.trained(home, step)[1].buffers)

home, words = Path(sys.argv[1]), sys.argv[2:]
told = {}
for name, mesh in (("one", []), ("context", ["--mesh.context", "4"])):
    here, cut = home / name, home / f"{name}, cut"
    assert cli.main(["train", *words, "--mesh.data", "1", *mesh, "--dir", str(here)]) == 0
    shutil.copytree(here, cut)
    shutil.rmtree(cut / "checkpoints" / "10")
    (cut / "metrics.jsonl").write_text("".join((here / "metrics.jsonl").open().readlines()[:7]))
    assert cli.main(["train", "--resume", str(cut)]) == 0
    assert losses(cut) == losses(here) and len(losses(here)) == 10
    told[name] = losses(here)
    for step in (5, 10):
        for other in (here, cut):
            for one, another in zip(directions(home / "one", step), directions(other, step), strict=True):
                np.testing.assert_array_equal(one, another)
np.testing.assert_allclose(told["context"], told["one"], rtol=1e-5)
held = [directions(home / "one", step) for step in (5, 10)]
print("none" if not held[0] else "redrawn" if (held[0][0] != held[1][0]).all() else "kept")
"""
OPTIONS = "--smoke --steps 10 --model.width 8 --context 32 --batch 2 --evaluate-every 2 --checkpoint-every 5".split()
FAVOR = (
    "--model.attention favor --model.attention.feature.projection.count 6 --model.attention.feature.projection.redraw"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words, buffers",
    [("--model.attention linear_attention", "none"), (f"{FAVOR} 3", "redrawn")],
    ids=["linear attention", "favor"],
)
def test_linear_attention_goes_on_to_the_bit_and_on_a_context_axis(words, buffers, text, tmp_path):
    command = [sys.executable, "-c", LINEAR, str(tmp_path), *OPTIONS, *words.split(), "--text", str(text)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.stdout.splitlines()[-1:] == [buffers], done.stderr


def kept(directory):
    """The deviations that a run has reached, one of queries and one of keys, and what its last step measured."""
    run = checkpoint.read_run(directory, catalogue.find)
    buffers = checkpoint.load(directory, run).state.buffers
    assert set(buffers) == {"stack", state.OBSERVED}
    return [np.asarray(x) for x in jax.tree.leaves(buffers)]


@pytest.mark.slow
def test_deviations_of_log_normal_attention_change_in_training_alone(text, tiny, tmp_path, capsysbinary):
    parts = "--steps 3 --model.depth 1 --model.attention linear_attention --model.attention.feature log_normal".split()
    assert cli.main(["train", *tiny, *parts, "--dir", str(home := tmp_path / "run"), "--text", str(text)]) == 0
    reached = kept(home)
    assert [x.shape[-1] for x in reached] == [3, 3, 1, 1] and not any((x == 1).all() for x in reached)
    capsysbinary.readouterr()
    for words in (["eval"], ["sample", "--prompt", "the ", "--count", "5"]):
        shown = [(cli.main([*words, "--dir", str(home)]), capsysbinary.readouterr().out)[1] for _ in range(2)]
        assert shown[0] == shown[1]
    # cut off and gone on with, it measures and keeps the same to the bit
    shutil.copytree(home, begun := tmp_path / "begun")
    shutil.rmtree(begun / "checkpoints" / "3")
    before = kept(begun)
    assert all((one != other).all() for one, other in zip(before[2:], reached[2:], strict=True))
    assert cli.main(["train", "--resume", str(begun)]) == 0
    jax.tree.map(np.testing.assert_array_equal, kept(begun), reached)
    assert cli.main(["train", *tiny, *parts, "--dir", str(tmp_path / "more"), "--init-from", str(home)]) == 0


RECALL = (
    "--source associative_recall --objective labeled_tokens --context 24 --model.vocabulary 129 --model.width 8 "
    "--model.attention short_convolution --model.attention.inner delta_attention --model.depth 1 --steps 2 --batch 2"
)


@pytest.mark.slow
def test_recall_by_the_delta_rule_tells_its_accuracy(tmp_path):
    assert cli.main(["train", *RECALL.split(), "--dir", str(home := tmp_path / "run")]) == 0
    shown = [json.loads(line) for line in (home / "metrics.jsonl").read_text().splitlines()]
    assert 0 <= shown[-1]["heldout_accuracy"] < 0.2


@pytest.fixture
def begun(trained, tmp_path):
    """A run that was cut off after its first step."""
    shutil.copytree(trained, here := tmp_path / "begun")
    shutil.rmtree(here / "checkpoints" / "2")
    return here


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_cut_off(trained, begun, capsys):
    assert cli.main(["train", "--resume", str(begun), "--workers", "1"]) == 0
    assert "goes on after step 1 of 2" in capsys.readouterr().out
    one, two = ((home / "metrics.jsonl").read_text().splitlines()[1] for home in (trained, begun))
    assert {**json.loads(one), "tokens_per_second": 0} == {**json.loads(two), "tokens_per_second": 0}


def test_a_checkpoint_that_is_cut_off_gives_way_and_that_is_said(trained, begun, capsys):
    shutil.copytree(trained / "checkpoints" / "2", broken := begun / "checkpoints" / "2")
    (broken / "state" / "manifest.ocdbt").write_bytes(b"")
    assert cli.main(["eval", "--dir", str(begun)]) == 0
    assert "The checkpoint of step 2" in capsys.readouterr().err and broken.exists()
    assert cli.main(["train", "--resume", str(begun)]) == 0
    told = capsys.readouterr()
    assert "The checkpoint of step 2" in told.err and "goes on after step 1 of 2" in told.out
    assert cli.main(["eval", "--dir", str(begun)]) == 0
    assert "not whole" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--dataset", ""], "--dataset takes text or none, got nothing"),
        (["--text", ""], "--text takes values, one after another, got nothing"),
        (["--dir", ""], "--dir takes text or none, got nothing; without"),
        (["--resume", "nowhere"], "must hold run.json, got 'nowhere'; train it first"),
        (["--resume"], "--resume takes text or none, got nothing"),
        (["--resume", "begun", "--dir", "other"], "--resume names the directory itself"),
        (["--resume", "begun", "--steps", "3"], "got --steps 3 where --steps is 2 in 'begun'"),
        (["--resume", "begun", "--seed", "1", "--steps", "2"], "got --seed 1 where --seed is 0"),
        (["--resume", "begun", "--optimizer", "adamw"], "got --optimizer adam_w where --optimizer is muon"),
        (["--resume", "begun", "--preset", "tiny"], "as it began, got --model.width 64 where --model.width is 8"),
        (["--resume", "begun", "--stesp", "3"], "no option --stesp"),
        (["--resume", "begun", "--workers", "-1"], "--workers must be at least 0, got -1"),
        (["--resume", "torn"], "must be the JSON that training wrote"),
        (["--resume", "unwhole"], "must hold a whole checkpoint, got none among the steps [1]"),
        (["--dir", "/sys/none"], "must be one that can be made, got '/sys/none'"),
        (["--model", "encoder"], "EncoderConfig.attention with rows that see later ones; use --model.att"),
        (["--model.attention", "attention"], "DecoderConfig.attention with rows that see later ones; use --model.att"),
        (["--model.projection", "mega"], "Mega has one head, and a width of at least 1, got 2 heads of a layer"),
        (["--init-from", "none"], "must name a run's directory with checkpoints, got"),
        (["--init-from", "begun", "--model.width", "10"], "float32[256, 8] there and float32[256, 10] in this run"),
        (["--init-from", "unwhole", "--model.width", "8"], "must name a run with a whole checkpoint"),
    ],
)
def test_what_cannot_be_gone_on_with_is_one_sentence_and_changes_nothing(
    words, sentence, begun, refused, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("torn", "unwhole"):
        shutil.copytree(begun, name)
    Path("torn/run.json").write_bytes(Path("torn/run.json").read_bytes()[:100])
    Path("unwhole/checkpoints/1/state/manifest.ocdbt").write_bytes(b"")
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*.json*")}
    new = [] if "--resume" in words or "--dir" in words else ["--smoke", "--dir", "new"]
    code, told = refused("train", *words, *new)
    assert code == 2 and sentence in told
    assert before == {path: path.stat().st_mtime_ns for path in Path().rglob("*.json*")}
    assert not Path("new").exists() and not Path("other").exists()


def test_a_directory_in_use_is_one_sentence(begun, refused):
    with lock.held(begun):
        code, told = refused("train", "--resume", begun)
    assert code == 2 and "by one process at a time" in told


def test_a_full_disk_is_one_sentence_and_the_last_checkpoint_is_whole(begun, capsys):
    # what was compiled is read and never written: JAX would warn that it cannot
    cache = {"JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir}
    environment = {**os.environ, **cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1e9"}
    child = subprocess.run(
        # 16 KiB: less than the arrays of a checkpoint, more than all else that a run writes
        ["bash", "-c", 'ulimit -f 16; exec "$@"', "-", sys.executable, "-m", "jattn", "train", "--resume", str(begun)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert child.returncode == 2 and "Traceback" not in child.stderr
    told = child.stderr.splitlines()[-1]
    assert "File too large" in told and "free some of its disk and go on from the last whole checkpoint" in told
    assert cli.main(["train", "--resume", str(begun)]) == 0
    assert "goes on after step 1 of 2" in capsys.readouterr().out


def test_ctrl_c_is_code_130_and_its_sentence(refused, monkeypatch, tmp_path):
    def stopped(*_, **__):
        raise KeyboardInterrupt("Stopped after step 3 of 9, which is saved.")

    monkeypatch.setattr(loop, "fit", stopped)
    assert refused("train", "--smoke", "--dir", tmp_path / "new") == (
        130,
        "Stopped after step 3 of 9, which is saved.\n",
    )


def test_a_loss_that_is_no_number_is_code_1_with_its_step(capsys, tmp_path, tiny, monkeypatch, text):
    words = [*tiny, "--steps", "60", "--text", str(text), "--optimizer.rate", "1e30", "--optimizer.other-rate", "1e30"]
    assert cli.main(["train", *words, "--dir", str(tmp_path / "run")]) == 1
    assert "at step" in capsys.readouterr().err.splitlines()[-1]
