"""Several hosts, as processes of this machine."""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh as DeviceMesh
from jax.sharding import NamedSharding, PartitionSpec

from jattn import catalogue
from jattn.training import checkpoint, hosts, lock, loop, metrics
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.sharding import Mesh
from jattn.training.sources.text import Text
from jattn.training.stopping import Stopping
from jattn.training.windows import batches, shuffled
from tests.training import kills

HOME = Path(__file__).parents[2]
TINY = "--model.width 8 --model.depth 1 --context 8 --batch 4 --steps 4 --evaluate-every 2 --checkpoint-every 2".split()
LONGEST_SECONDS = 200


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text"
    path.write_bytes(bytes(range(256)) * 8)
    return path


def begin(*words, devices=1):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": str(HOME)}
    environment["JAX_COMPILATION_CACHE_DIR"] = jax.config.jax_compilation_cache_dir
    command = [sys.executable, *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def train(*words, devices=1):
    return begin("-m", "jattn", "train", *words, devices=devices)


def pair(*words, second=()):
    """The same command on two hosts, with more words on the second."""
    port = free_port()
    told = ("--hosts.coordinator", f"127.0.0.1:{port}", "--hosts.count", 2, "--hosts.number")
    return [train(*words, *told, 0), train(*words, *second, *told, 1)]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def ended(*processes):
    try:
        told = [process.communicate(timeout=LONGEST_SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *words) for process, words in zip(processes, told, strict=True)]


def good(*processes):
    """What hosts say that must end well."""
    found = ended(*processes)
    assert [code for code, _, _ in found] == [0] * len(found), "\n".join(error[-3000:] for _, _, error in found)
    return [(out, error) for _, out, error in found]


def losses(directory):
    return np.array([[row["loss"], row.get("heldout_loss", 0)] for row in metrics.read(directory)])


def rows(directory):
    return [{**row, "tokens_per_second": 0} for row in metrics.read(directory)]


def test_two_hosts_train_as_one(text, tmp_path):
    (said, _), (quiet, _) = good(*pair(*TINY, "--text", text, "--dir", tmp_path / "two"))
    assert said.count("held-out loss") == 1 and "loss" not in quiet
    run = checkpoint.read_run(tmp_path / "two", catalogue.find)
    loop.fit(run, tmp_path / "one")
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-5)
    # what both have written is one state
    one, two = (checkpoint.load(tmp_path / name, run).state for name in ("one", "two"))
    for here, there in zip(jax.tree.leaves(one.params), jax.tree.leaves(two.params), strict=True):
        np.testing.assert_allclose(here, there, atol=1e-5)


def kept(process):
    """The number of the process that a host's keeps."""
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(child)


def runs(number):
    """Whether a process goes on; one that has ended may be waited for yet."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def saving(directory, least):
    """Waits until a save of at least so many steps is under way."""
    end = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < end:
        for path in (directory / checkpoint.FOLDER).glob(f"*{checkpoint.UNFINISHED}*"):
            if int(path.name.partition(".")[0]) >= least:
                return
        time.sleep(0.001)
    raise TimeoutError("No save has begun.")


def one_sentence_of_the_end(error, directory):
    last = error.splitlines()[-1]
    assert last.startswith("Every host must run to the end, got ") and last.endswith("from the last whole checkpoint.")
    assert f"jattn train --resume {directory}" in last


@pytest.fixture(scope="module")
def long(text):
    """The options of a run of 100 steps, whose saves take as long as several of them."""
    return [*kills.OPTIONS, "--steps", "100", "--checkpoint-every", "10", "--text", text]


@pytest.fixture(scope="module")
def whole(long, tmp_path_factory):
    """The directory of that run on two hosts that nobody disturbed."""
    home = tmp_path_factory.mktemp("whole") / "run"
    good(*pair(*long, "--dir", home))
    return home


def cut_off(long, home, killed):
    """Begins that run again and kills a host while it saves; what each host says."""
    both = pair(*long, "--dir", home)
    saving(home, 40)
    os.kill(kept(both[killed]), signal.SIGKILL)
    struck = time.monotonic()
    told = ended(*both)
    assert time.monotonic() - struck < 60
    return told


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_host_that_is_killed_ends_the_other_and_nothing_is_lost(long, whole, tmp_path, killed):
    home = tmp_path / "run"
    for code, _, error in cut_off(long, home, killed):
        assert code in (1, 2)
        one_sentence_of_the_end(error, home)
    (said, _), _ = good(*pair("--resume", home))
    assert re.search(r"goes on after step [3-9]0 of 100", said)
    assert rows(home) == rows(whole)


@pytest.mark.slow
@pytest.mark.parametrize("words, devices", [((), 1), (("--mesh.fsdp", 2), 2)])
def test_one_process_goes_on_with_what_two_hosts_saved(long, whole, tmp_path, words, devices):
    home = tmp_path / "run"
    cut_off(long, home, 1)
    good(train("--resume", home, *words, devices=devices))
    np.testing.assert_allclose(losses(home), losses(whole), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [0, 1])
def test_a_host_that_falls_silent_ends_the_other(long, tmp_path, frozen):
    both = pair(*long, "--dir", tmp_path)
    saving(tmp_path, 10)
    child = kept(both[frozen])
    os.kill(child, signal.SIGSTOP)
    struck = time.monotonic()
    try:
        ((code, _, error),) = ended(both[1 - frozen])
        assert time.monotonic() - struck < 60
    finally:
        os.kill(child, signal.SIGKILL)
    assert code in (1, 2)
    one_sentence_of_the_end(error, tmp_path)
    ended(both[frozen])


@pytest.mark.slow
def test_a_host_ends_with_the_process_that_keeps_it(long, tmp_path):
    both = pair(*long, "--dir", tmp_path)
    saving(tmp_path, 10)
    child = kept(both[0])
    both[0].kill()
    _, (code, _, error) = ended(*both)
    assert code in (1, 2) and not runs(child)
    one_sentence_of_the_end(error, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("struck", [0, 1])
def test_hosts_stop_together_and_go_on_to_the_same_numbers(text, tmp_path, struck):
    words = [*TINY, "--steps", "200", "--checkpoint-every", "500", "--text", text]
    good(*pair(*words, "--dir", tmp_path / "whole"))
    both = pair(*words, "--dir", tmp_path / "run")
    kills.appears(tmp_path / "run" / metrics.FILE)
    while len(metrics.read(tmp_path / "run")) < 20:
        time.sleep(0.01)
    both[struck].send_signal(signal.SIGTERM)
    for code, _, error in ended(*both):
        assert code == 130
        assert re.search(r"^Stopped after step \d+ of 200, which is saved; go on with", error, re.M), error[-2000:]
    good(*pair("--resume", tmp_path / "run"))
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")


@pytest.mark.slow
def test_what_one_host_cannot_read_is_read_by_none(text, tmp_path):
    words = [*TINY, "--text", text, "--dir"]
    good(*pair(*words, tmp_path / "run"))
    before = rows(tmp_path / "run")
    spoilt = tmp_path / "run" / checkpoint.FOLDER / "4" / "state" / "ocdbt.process_1" / "d"
    for path in list(spoilt.parent.rglob("*")) if spoilt.parent.is_dir() else ():
        if path.is_file():
            path.write_bytes(b"")
    assert spoilt.parent.is_dir(), sorted(spoilt.parents[1].iterdir())
    (said, error), _ = good(*pair("--resume", tmp_path / "run"))
    assert "The checkpoint of step 4" in error and "goes on after step 2 of 4" in said
    assert rows(tmp_path / "run") == before


@pytest.mark.slow
def test_hosts_begin_with_another_runs_weights(text, tmp_path):
    words = [*TINY, "--text", text]
    good(*pair(*words, "--dir", tmp_path / "first"))
    words += ["--init-from", tmp_path / "first", "--seed", "7", "--dir"]
    good(*pair(*words, tmp_path / "two"))
    good(train(*words, tmp_path / "one"))
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words, second, sentence",
    [
        ((), ("--seed", "7"), "Hosts must hold one run, got --seed 0 on host 0 and 7 on host 1"),
        (("--batch", "3"), (), "Run.batch must be a multiple of the 2 parts"),
        (("--mesh.data", "1"), (), "must hold devices of each of the 2 hosts, got those of 1"),
        (("--steps", "0"), (), "Run.steps must be a whole number of at least 1, got 0"),
        (("--batch", "1000000"), (), "Run.batch must be at most"),
    ],
)
def test_what_hosts_refuse_is_one_sentence_on_each(words, second, sentence, text, tmp_path):
    told = ended(*pair(*TINY, *words, "--text", text, "--dir", tmp_path / "run", second=second))
    for code, _, error in told:
        assert code == 2 and sentence in error.splitlines()[-1], error[-3000:]
        assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_machine_that_knows_no_other_hosts_is_told_to_name_them(text, tmp_path):
    words = ["--hosts.coordinator", "auto", "--text", text, "--dir", tmp_path / "run"]
    ((code, _, error),) = ended(train(*TINY, *words))
    assert code == 2 and "needs a TPU pod or Slurm, got neither; give HOST:PORT" in error.splitlines()[-1]


@pytest.mark.slow
def test_what_host_0_alone_refuses_is_told_by_all(text, tmp_path):
    good(*pair(*TINY, "--text", text, "--dir", tmp_path))
    with lock.held(tmp_path):
        told = ended(*pair("--resume", tmp_path))
    for code, _, error in told:
        assert code == 2 and "used by one process at a time" in error.splitlines()[-1]


@pytest.mark.slow
def test_data_of_one_shard_is_refused_by_two_hosts(shakespeare_folder, tmp_path):
    data = ("--dataset", "jattn_shakespeare", "--data-dir", shakespeare_folder)
    for code, _, error in ended(*pair(*TINY, *data, "--dir", tmp_path / "run")):
        assert code == 2 and "must have a shard for each of the 2 hosts, got 1; prepare" in error.splitlines()[-1]


READS = """
import hashlib, json, sys
from pathlib import Path
import jax, numpy as np
from jax.experimental import multihost_utils
from jattn import catalogue
from jattn.training import checkpoint, hosts, loop
from jattn.training.windows import Windows, stream

hosts.begin(sys.argv[1], 2, int(sys.argv[2]))
run = checkpoint.read_run(Path(sys.argv[3]), catalogue.find)
class Counted:
    def __init__(self, text):
        self.text, self.read = text, 0

    def __getitem__(self, place):
        found = self.text[place]
        self.read += found.nbytes
        return found

    def __len__(self):
        return len(self.text)


kept, made = [], Windows.__init__


def counted(self, text, *rest):
    made(self, text, *rest)
    self.text = Counted(self.text)
    kept.append(self.text)


Windows.__init__ = counted
training = loop.Training(run, Path(sys.argv[3]))
coming = stream(training.batches, 0, 0)
hashes = []
for number in range(3):
    batch = training.placed(next(coming))["tokens"]
    hashes.append(hashlib.sha256(multihost_utils.process_allgather(batch, tiled=True).tobytes()).hexdigest())
print(json.dumps([hashes, kept[0].read]))
hosts.end()
"""


@pytest.mark.slow
def test_each_host_reads_its_half_of_the_same_batches(text, tmp_path):
    good(train(*TINY, "--text", text, "--dir", tmp_path))
    address = f"127.0.0.1:{free_port()}"
    told = good(*(begin("-c", READS, address, number, tmp_path) for number in (0, 1)))
    (one, half), (two, other) = (json.loads(out.splitlines()[-1]) for out, _ in told)
    run = checkpoint.read_run(tmp_path, catalogue.find)
    whole = batches(run.source.train(run.context, run.seed), run.batch, run.seed)
    held = [whole[number]["tokens"] for number in range(3)]
    assert one == two == [hashlib.sha256(tokens.tobytes()).hexdigest() for tokens in held]
    assert half == other and 2 * half == sum(tokens.size for tokens in held)


def test_one_host_is_asked_at_once_and_agrees_with_itself():
    stopping = Stopping()
    asked = hosts.Asked(stopping)
    assert not asked()
    stopping.asked = True
    assert asked()
    assert hosts.words("own") == ["own"] and hosts.same([3, None]) == [3, None] and hosts.first()
    with pytest.raises(OSError, match="refused"), hosts.together():
        raise OSError("refused")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"evaluate_every": 7}, ("--evaluate-every", "500", "7")),
        ({"mesh": Mesh(fsdp=4)}, ("--mesh.fsdp", "1", "4")),
        ({"optimizer": AdamW()}, ("--optimizer", "Muon", "AdamW")),
        ({}, None),
    ],
    ids=str,
)
def test_the_option_in_which_hosts_differ_is_named(changes, told):
    one, other = (json.loads(run.to_json()) for run in (Run(), Run(**changes)))
    assert hosts.differing(one, other) == told


def test_a_port_that_is_taken_is_refused_at_once():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"a port that host 0 can open, got {port}: Address already in use; name"):
            hosts.begin(f"127.0.0.1:{port}", 2, 0)


def test_what_devices_raise_is_told_from_what_a_disk_refuses(monkeypatch, tmp_path):
    gone = ValueError("UNKNOWN: Gloo AllReduce failed: Connection closed by peer\nmore")
    led = TimeoutError("Timed out while waiting")
    led.__cause__ = gone
    assert hosts.lost(gone) is None
    monkeypatch.setattr(hosts, "several", lambda: True)
    assert hosts.lost(gone) is gone and hosts.lost(led) is gone
    assert hosts.lost(None) is None and hosts.lost(OSError("A run must be able to write")) is None
    assert hosts.lost(ValueError("RESOURCE_EXHAUSTED: Error writing\n [os_error_code='28']")) is None
    with pytest.raises(RuntimeError, match="got 'UNKNOWN: .* by peer' on host 0, .*--resume .* on every host"):
        with hosts.watched(tmp_path):
            raise led


def test_what_is_read_by_rows_is_joined_to_the_batch(text):
    examples = Text((str(text),)).train(8, 3)
    place = NamedSharding(DeviceMesh(np.array(jax.devices()[:1]), ("data",)), PartitionSpec("data"))
    by_rows, join = hosts.mine(shuffled(examples, 3), 4, place), hosts.joined(4, place)
    for number in (0, 100):
        want = batches(examples, 4, 3)[number]["tokens"]
        np.testing.assert_array_equal(join(by_rows[number])["tokens"], want)
