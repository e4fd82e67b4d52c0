"""Writes what each step showed as event files, which TensorBoard draws while a run goes on, without TensorFlow."""

import contextlib
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

# what TensorBoard asks of the first record of a file
VERSION = "brain.Event:2"


def needed() -> tuple[ModuleType, Callable[[bytes], int]]:
    """The messages of an event file and its checksum, or one sentence that says how to get them."""
    try:
        from tensorboardX.proto import event_pb2
        from tensorboardX.record_writer import masked_crc32c
    except ModuleNotFoundError as error:
        sentence = 'Event files need tensorboardX, which is missing; pip install "jattn[tensorboard]" brings it.'
        raise ModuleNotFoundError(sentence, name="tensorboardX") from error
    return event_pb2, masked_crc32c


def made(directory: Path) -> None:
    """Makes TensorBoard's directory, or says that it cannot be."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = f"{str(directory)!r}: {error.strerror}"
        raise OSError(f"TensorBoard's directory must be one to write in, got {why}; name another.") from error


class Writer:
    """Takes the rows of metrics.jsonl; each is in its file before the next one.

    Events of steps beyond `after`, which a killed run left in the directory, are dropped by TensorBoard.
    """

    def __init__(self, directory: Path, after: int = 0):
        event_pb2, masked_crc32c = needed()
        made(directory)
        # SummaryWriter would do, but a thread of its own holds events back, and a killed run would lose them
        self.event, self.checksum = event_pb2.Event, masked_crc32c
        # TensorBoard reads the files of a directory in the order of their names
        name = f"events.out.tfevents.{time.time():.6f}.jattn"
        try:
            self.file = (directory / name).open("xb")
        except OSError as error:
            why = f"{str(directory)!r}: {error.strerror}"
            raise OSError(f"TensorBoard's directory must be one to write in, got {why}; name another.") from error
        self._append(file_version=VERSION)
        self._append(step=after + 1, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_) -> None:
        # what a full disk refused is still in the buffer, and was told of when it was written
        with contextlib.suppress(OSError):
            self.file.close()

    def write(self, shown: dict[str, Any]) -> None:
        """Adds a row."""
        values = [{"tag": tag, "simple_value": value} for tag, value in scalars(shown)]
        self._append(step=shown["step"], summary={"value": values})

    def _append(self, **fields: Any) -> None:
        record = self.event(wall_time=time.time(), **fields).SerializeToString()
        # the format of TFRecord: a length, the record, and a checksum of each
        length = struct.pack("<Q", len(record))
        check, checks = (struct.pack("<I", self.checksum(part)) for part in (length, record))
        try:
            self.file.write(length + check + record + checks)
            self.file.flush()
        except OSError as error:
            raise OSError(
                f"TensorBoard's directory must have room, got {error.strerror!r} for {self.file.name!r}; free some, or "
                f"go on with jattn train --resume alone."
            ) from None


def scalars(shown: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Each number of a row by its tag; entropies, a list of layers, as `entropy/layer_0/head_0`."""
    for name, value in shown.items():
        if name == "entropy":
            for layer, heads in enumerate(value):
                yield from ((f"entropy/layer_{layer}/head_{head}", number) for head, number in enumerate(heads))
        elif name != "step":
            yield name, value
