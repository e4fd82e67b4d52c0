"""Tests event files by reading them back as TFRecords, without TensorFlow."""

import struct
import sys

import numpy as np
import pytest

from jattn import cli
from jattn.training import tensorboard

ROWS = [
    {"step": 1, "loss": 5.5, "learning_rate": 1e-3, "gradient_norm": 0.25, "tokens_per_second": 1000,
     "entropy": [[0.5, 0.75, 0.1], [1.0, 1.25, 0.2]]},
    {"step": 2, "loss": 5.25, "heldout_loss": 5.375, "learning_rate": 2e-3, "gradient_norm": 0.5,
     "tokens_per_second": 1001},
]  # fmt: skip


def checksum(data):
    """CRC-32C bit by bit, masked as TFRecord wants it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(path):
    data, found = path.read_bytes(), []
    while data:
        length = struct.unpack("<Q", data[:8])[0]
        record, ends = data[12 : 12 + length], data[12 + length : 16 + length]
        assert struct.unpack("<I", data[8:12])[0] == checksum(data[:8])
        assert struct.unpack("<I", ends)[0] == checksum(record)
        data = data[16 + length :]
        found.append(record)
    return found


def events(directory):
    event = pytest.importorskip("tensorboardX.proto.event_pb2")
    return [event.Event.FromString(record) for path in sorted(directory.iterdir()) for record in records(path)]


def test_events_hold_the_numbers_of_the_rows(tmp_path):
    with tensorboard.Writer(tmp_path / "new" / "events") as writer:
        for row in ROWS:
            writer.write(row)
        # a run killed here has lost nothing
        version, start, *shown = events(tmp_path / "new" / "events")
    assert version.file_version == "brain.Event:2" and start.step == 1
    assert [event.step for event in shown] == [1, 2]
    found = [{value.tag: value.simple_value for value in event.summary.value} for event in shown]
    assert [set(tags) for tags in found] == [
        {"loss", "learning_rate", "gradient_norm", "tokens_per_second"}
        | {f"entropy/layer_{layer}/head_{head}" for layer in range(2) for head in range(3)},
        {"loss", "heldout_loss", "learning_rate", "gradient_norm", "tokens_per_second"},
    ]
    for tags, row in zip(found, ROWS, strict=True):
        for name, value in tags.items():
            of_entropy = name.replace("layer_", "").replace("head_", "").split("/")[1:]
            wanted = row["entropy"][int(of_entropy[0])][int(of_entropy[1])] if of_entropy else row[name]
            assert value == np.float32(wanted)


def test_a_run_that_goes_on_drops_what_lies_beyond_its_step(tmp_path):
    with tensorboard.Writer(tmp_path) as writer:
        for row in ROWS:
            writer.write(row)
    with tensorboard.Writer(tmp_path, after=1) as writer:
        writer.write({**ROWS[1], "loss": 4.0})
    # as TensorBoard reads them: a start forgets every event from its step on
    losses = {}
    for event in events(tmp_path):
        if event.HasField("session_log") and event.session_log.status == event.session_log.START:
            losses = {step: loss for step, loss in losses.items() if step < event.step}
        losses |= dict((event.step, value.simple_value) for value in event.summary.value if value.tag == "loss")
    assert losses == {1: 5.5, 2: 4.0}
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 2


def test_a_missing_library_is_told_by_its_extra(tmp_path, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboardX"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ModuleNotFoundError, match=r'need tensorboardX, .* pip install "jattn\[tensorboard\]"'):
        tensorboard.Writer(tmp_path / "events")
    assert not (tmp_path / "events").exists()
    monkeypatch.setitem(cli.COMMANDS, "train", (cli.COMMANDS["train"][0], lambda *_: tensorboard.Writer(tmp_path)))
    assert cli.main(["train"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_file_in_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="TensorBoard's directory must be one to write in, got .*; name another"):
        tensorboard.Writer(tmp_path / "file")
