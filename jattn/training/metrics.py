"""Keeps what each step showed: one JSON object a line in metrics.jsonl."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from jattn.training.step import Metrics

FILE = "metrics.jsonl"
# float32 holds no more
DIGITS = 7


def row(step: int, metrics: Metrics, tokens_per_second: float, held_out_loss: float | None) -> dict[str, Any]:
    """One step as plain data; `entropy` is a list of layers, each a list of heads."""
    shown = {"step": step, "loss": _number(metrics.loss)}
    if held_out_loss is not None:
        shown["heldout_loss"] = _number(held_out_loss)
    shown["learning_rate"] = _number(metrics.learning_rate)
    shown["gradient_norm"] = _number(metrics.gradient_norm)
    shown["tokens_per_second"] = round(tokens_per_second)
    if metrics.entropy is not None:
        shown["entropy"] = [[_number(head) for head in layer] for layer in np.asarray(metrics.entropy)]
    return shown


def _number(value: Any) -> float:
    return float(f"{float(value):.{DIGITS}g}")


def finite(step: int, loss: Any, directory: Path) -> float:
    """The loss, refused where it is no longer a number."""
    if not math.isfinite(loss := float(loss)):
        raise FloatingPointError(
            f"The loss must stay finite, got {loss} at step {step}; lower the optimizer's rate or train in float32 "
            f"(what was written until then is kept in {directory})."
        )
    return loss


class Writer:
    """Appends rows to a directory's metrics.jsonl; each is on disk before the next step's."""

    def __init__(self, directory: Path):
        self.file = (directory / FILE).open("a", encoding="utf-8")

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_) -> None:
        self.file.close()

    def write(self, shown: dict[str, Any]) -> None:
        self.file.write(json.dumps(shown) + "\n")
        self.file.flush()


def read(directory: Path) -> list[dict[str, Any]]:
    """The rows of a directory's metrics.jsonl, in order."""
    path = directory / FILE
    if not path.is_file():
        raise FileNotFoundError(f"A run's directory must hold {FILE}, got {str(directory)!r}; train it first.")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
