"""Passages of Shakespeare's plays, byte by byte, and the kind of play or the very play that each is from.

Source: Tay, Dehghani, Abnar, Shen, Bahri, Pham, Rao, Yang, Ruder, Metzler, "Long Range Arena: A Benchmark for Efficient
Transformers", ICLR 2021, arXiv:2011.04006, section 2.2.2 (a text's class from its bytes); the kinds are those of
`jattn.training.data.scenes`.
Departs: the benchmark reads film reviews, which come with no package; here both parts have passages of every play.
"""

from typing import Literal

import jax
import numpy as np

from jattn.part import part
from jattn.training import checks
from jattn.training.data import labeled, scenes
from jattn.training.sources import Source

# every fifth scene of a play is held out
SHARE = 5
LABELS = {"kind": tuple(scenes.KINDS), "play": scenes.PLAYS}


class Passages:
    """Passages of labeled scenes by number; one is shorter than the context only where its scene is."""

    def __init__(self, texts: list[bytes], labels: list[int], context: int):
        self.texts = texts
        self.labels = labels
        self.context = context
        self.sizes = np.array([len(text) for text in texts])

    def cut(self, scene: int, start: int) -> dict[str, np.ndarray]:
        passage = np.frombuffer(self.texts[scene], np.uint8)[start : start + self.context]
        return labeled.padded(passage, self.labels[scene], self.context)


class Drawn(Passages):
    """Passages drawn by the seed and the number, without end, from a scene as often as it is long."""

    def __init__(self, texts: list[bytes], labels: list[int], context: int, seed: int):
        super().__init__(texts, labels, context)
        self.seed = seed
        self.edges = np.cumsum(self.sizes)

    def __len__(self) -> int:
        return -(-int(self.edges[-1]) // self.context)

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        random = np.random.default_rng((self.seed, int(number)))
        scene = int(np.searchsorted(self.edges, random.integers(self.edges[-1]), side="right"))
        return self.cut(scene, random.integers(max(0, self.sizes[scene] - self.context) + 1))


class Covering(Passages):
    """Passages side by side, which together hold every byte; the last one of a scene reaches back to be as long."""

    def __init__(self, texts: list[bytes], labels: list[int], context: int):
        super().__init__(texts, labels, context)
        self.edges = np.cumsum(-(-self.sizes // context))

    def __len__(self) -> int:
        return int(self.edges[-1])

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        scene = int(np.searchsorted(self.edges, int(number), side="right"))
        # counted from the scene's end
        behind = int(self.edges[scene]) - int(number)
        last = max(0, int(self.sizes[scene]) - self.context)
        first = (-(-int(self.sizes[scene]) // self.context) - behind) * self.context
        return self.cut(scene, min(first, last))


@part
class Plays(Source):
    """The `label` is a comedy, history or tragedy, or one of 36 plays; a run's context is the bytes of a passage.

    Every fifth scene of a play is held out, so that no passage is in both parts; but the names of those who speak are,
    and tell the play to who remembers them.
    """

    label: Literal["kind", "play"] = "kind"

    def __post_init__(self):
        checks.one_of("Plays", "label", self.label, tuple(LABELS), "'kind' is a comedy, history or tragedy")

    @property
    def unit(self) -> str:
        return "passage"

    @property
    def needs(self) -> dict[str, int]:
        return {"vocabulary": self.vocabulary, "classes": len(LABELS[self.label])}

    def outline(self, context: int) -> dict[str, jax.ShapeDtypeStruct]:
        return labeled.outline(context)

    def units(self, context: int) -> int:
        return 1

    def train(self, context: int, seed: int) -> Drawn:
        return Drawn(*self._part(0), context, seed)

    def held_out(self, context: int) -> Covering:
        return Covering(*self._part(1), context)

    def _part(self, number: int) -> tuple[list[bytes], list[int]]:
        chosen = [
            (text, self._number(play))
            for play, texts in scenes.scenes().items()
            for place, text in enumerate(texts)
            if (place % SHARE == SHARE - 1) == bool(number)
        ]
        texts, labels = zip(*chosen, strict=True)
        return list(texts), list(labels)

    def _number(self, play: str) -> int:
        if self.label == "play":
            return scenes.PLAYS.index(play)
        return next(number for number, plays in enumerate(scenes.KINDS.values()) if play in plays)
