"""Keeps what each step showed: one JSON object a line in metrics.jsonl."""

import contextlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jattn.training import disk
from jattn.training.step import Metrics

FILE = "metrics.jsonl"
# float32 holds no more
DIGITS = 7


def row(step: int, metrics: Metrics, tokens_per_second: float, held_out: Mapping[str, float] | None) -> dict[str, Any]:
    """One step as plain data; `held_out` is what an evaluation found; `entropy` a list of layers, each of heads."""
    shown = {"step": step, "loss": _number(metrics.loss)} | _held_out(held_out or {})
    shown["learning_rate"] = _number(metrics.learning_rate)
    shown["gradient_norm"] = _number(metrics.gradient_norm)
    shown["tokens_per_second"] = round(tokens_per_second)
    if metrics.entropy is not None:
        shown["entropy"] = [[_number(head) for head in layer] for layer in np.asarray(metrics.entropy)]
    return shown


def evaluated(row: dict[str, Any], held_out: Mapping[str, float]) -> dict[str, Any]:
    """A row that was written before its evaluation, with what that gave."""
    return {"step": row["step"], "loss": row["loss"]} | _held_out(held_out) | row


def _held_out(means: Mapping[str, float]) -> dict[str, float]:
    return {held_out_name(name): _number(value) for name, value in means.items()}


def held_out_name(name: str) -> str:
    """What a row calls the mean of what is held out."""
    return f"heldout_{name}"


def _number(value: Any) -> float:
    return float(f"{float(value):.{DIGITS}g}")


def finite(step: int, loss: Any, directory: Path, name: str = "loss") -> float:
    """A loss, refused where it is no longer a number."""
    if not math.isfinite(loss := float(loss)):
        raise FloatingPointError(
            f"The {name} must stay finite, got {loss} at step {step}; lower the optimizer's rate or train in float32 "
            f"(what was written until then is kept in {directory})."
        )
    return loss


def learned(step: int, finite: bool, directory: Path) -> None:
    """Refuses what is learned where some of it is no longer a number."""
    if not finite:
        raise FloatingPointError(
            f"What is learned must stay finite, got others after step {step}; lower the optimizer's rate or train in "
            f"float32 (what was written until then is kept in {directory})."
        )


class Writer:
    """Appends rows to a directory's metrics.jsonl; each has left the process before the next step's."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.file = (directory / FILE).open("a", encoding="utf-8")

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_) -> None:
        # a row that a full disk refused is still in the buffer, and was told of when it was written
        with contextlib.suppress(OSError):
            self.file.close()

    def write(self, shown: dict[str, Any]) -> None:
        """Adds a row."""
        try:
            self.file.write(json.dumps(shown) + "\n")
            self.file.flush()
        except OSError as error:
            raise disk.told(self.directory, error) from None

    def amend(self, shown: dict[str, Any]) -> None:
        """Puts a row in place of the last one."""
        self.file.close()
        _write(self.directory, [*_lines(self.directory)[:-1], json.dumps(shown)])
        self.file = (self.directory / FILE).open("a", encoding="utf-8")

    def sync(self) -> None:
        """Waits until the rows are on the disk: a checkpoint must not outlive the rows before it."""
        os.fsync(self.file.fileno())


def whole(directory: Path) -> int:
    """The last step of those that metrics.jsonl holds one after another from the first on; 0 where it holds none."""
    lines = _lines(directory) if (directory / FILE).is_file() else []
    count = 0
    while count < len(lines) and (row := _row(lines[count])) is not None and row["step"] == count + 1:
        count += 1
    return count


def cut(directory: Path, step: int) -> None:
    """Leaves the rows of steps 1 to `step`: what a process that was killed wrote beyond it will be written again."""
    _write(directory, _lines(directory)[:step] if step else [])


def read(directory: Path) -> list[dict[str, Any]]:
    """The rows of a directory's metrics.jsonl, in order; a last line that was cut off is no row."""
    rows = []
    if not (directory / FILE).is_file():
        raise FileNotFoundError(f"A run's directory must hold {FILE}, got {str(directory)!r}; train it first.")
    for number, line in enumerate(_lines(directory), 1):
        if (row := _row(line)) is None:
            raise ValueError(
                f"Each line of {FILE} must be one step as JSON, got {line[:40]!r} in line {number} of "
                f"{str(directory)!r}; jattn train --resume {directory} takes that step again."
            )
        rows.append(row)
    return rows


def _lines(directory: Path) -> list[str]:
    # behind the last line end stands nothing, or a line that was cut off
    return (directory / FILE).read_text(encoding="utf-8", errors="replace").split("\n")[:-1]


def _write(directory: Path, lines: list[str]) -> None:
    disk.write(directory / FILE, "".join(line + "\n" for line in lines))


def _row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return None
    numbers = isinstance(row, dict) and isinstance(row.get("step"), int) and isinstance(row.get("loss"), float)
    return row if numbers else None
