"""Random strings, and the same reversed, sorted or copied: by seed and number alone, without end.

Source: Graves, Wayne, Danihelka, "Neural Turing Machines", 2014, arXiv:1410.5401, sections 4.1 and 4.5 (copy, sort).
"""

from typing import Literal

import jax
import numpy as np

from jattn.part import part
from jattn.training import checks
from jattn.training.sources import Source

TASKS = {"reverse": lambda text: text[::-1], "sort": np.sort, "copy": lambda text: text}
# stands in front of a target and behind it, and fills up
BOUNDARY = 0
# an epoch, after which strings are new ones all the same; and what is held out
EPOCH, HELD_OUT = 1 << 16, 1024
# what the generators' seeds begin with
TRAINING, TEST = 0, 1


class Strings:
    """Example by number: half to all of `context` symbols, drawn by the seed and the number."""

    def __init__(self, task: str, symbols: int, context: int, seed: tuple[int, ...], count: int):
        self.task = TASKS[task]
        self.symbols = symbols
        self.context = context
        self.seed = seed
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        random = np.random.default_rng((*self.seed, int(number)))
        text = 1 + random.integers(self.symbols, size=random.integers((self.context + 1) // 2, self.context + 1))
        source, tokens = (np.full(size, BOUNDARY, np.int32) for size in (self.context, self.context + 2))
        source[: len(text)] = text
        tokens[1 : len(text) + 1] = self.task(text)
        # the boundary behind the target is predicted too
        length = np.int32(len(text) + 1)
        scored = (np.arange(self.context + 1) < length).astype(np.float32)
        return {
            "source": source, "tokens": tokens, "source_length": np.int32(len(text)), "length": length,
            "scored": scored,
        }  # fmt: skip


@part
class Transduction(Source):
    """Strings over so many `symbols`; a run's context is the longest one."""

    task: Literal["reverse", "sort", "copy"] = "reverse"
    symbols: int = 16

    def __post_init__(self):
        checks.one_of("Transduction", "task", self.task, tuple(TASKS), "'reverse' is the default")
        checks.whole("Transduction", "symbols", self.symbols, 2, "of one there is nothing to tell")

    @property
    def vocabulary(self) -> int:
        return self.symbols + 1

    @property
    def unit(self) -> str:
        return "token"

    def outline(self, context: int) -> dict[str, jax.ShapeDtypeStruct]:
        made = self.train(context, 0)[0]
        return {name: jax.ShapeDtypeStruct(each.shape, each.dtype) for name, each in made.items()}

    def train(self, context: int, seed: int) -> Strings:
        return Strings(self.task, self.symbols, context, (TRAINING, seed), EPOCH)

    def held_out(self, context: int) -> Strings:
        return Strings(self.task, self.symbols, context, (TEST,), HELD_OUT)
