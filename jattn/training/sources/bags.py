"""Bags of handwritten digits, whose class is whether one digit is among them; which, nothing says.

Source: Ilse, Tomczak, Welling, "Attention-based Deep Multiple Instance Learning", ICML 2018, arXiv:1802.04712, section
4.2 (MNIST-bags, the target a 9).
Departs: every other bag is a positive one, and sizes are uniform, from half a run's context to all of it.
"""

from typing import Literal

import jax
import numpy as np
from jaxtyping import Int

from jattn.part import part
from jattn.training import checks
from jattn.training.sources import Source
from jattn.training.sources.digits import FILES, Digits, Images

HELD_OUT = 1000
# what the generators' seeds begin with
TRAINING, TEST = 0, 1


class Drawn:
    """Bags by number, on and on over epochs; those of odd numbers hold the target."""

    def __init__(self, images: Images, target: int, context: int, seed: tuple[int, ...], count: int):
        self.images = images
        self.targets, self.others = (np.flatnonzero((images.labels == target) == wanted) for wanted in (1, 0))
        self.context = context
        self.seed = seed
        self.count = count

    def __len__(self) -> int:
        return self.count

    def chosen(self, number: int) -> Int[np.ndarray, " t"]:
        """The images in a bag, by number."""
        number %= len(self)
        random = np.random.default_rng((*self.seed, number))
        size = random.integers((self.context + 1) // 2, self.context + 1)
        if not number % 2:
            return random.choice(self.others, size)
        found = random.integers(len(self.images), size=size)
        found[random.integers(size)] = random.choice(self.targets)
        return found

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        chosen = self.chosen(int(number))
        pixels = self.images.pixels[chosen].reshape(len(chosen), -1)
        inputs = np.zeros((self.context, pixels.shape[1]), np.float32)
        inputs[: len(chosen)] = pixels
        label = np.int32(int(number) % len(self) % 2)
        return {"inputs": inputs, "valid": np.int32(len(chosen)), "label": label, "scored": np.float32(1)}


@part
class Bags(Source):
    """So many `bags` to train on, drawn by the seed; those held out hold images of their own.

    A run's context is the largest bag.
    """

    images: Literal["digits", "mnist"] = "digits"
    target: int = 9
    bags: int = 200

    def __post_init__(self):
        checks.one_of("Bags", "images", self.images, tuple(FILES), "'digits' are the smaller ones")
        checks.between("Bags", "target", self.target, 0, 9, "it is a digit")
        checks.whole("Bags", "bags", self.bags, 2, "of one class there is nothing to tell")

    @property
    def unit(self) -> str:
        return "bag"

    @property
    def needs(self) -> dict[str, int]:
        return {"classes": 2}

    def outline(self, context: int) -> dict[str, jax.ShapeDtypeStruct]:
        side, shape = FILES[self.images].side, jax.ShapeDtypeStruct
        one = {"label": shape((), np.int32), "valid": shape((), np.int32), "scored": shape((), np.float32)}
        return one | {"inputs": shape((context, side * side), np.float32)}

    def units(self, context: int) -> int:
        return 1

    def train(self, context: int, seed: int) -> Drawn:
        return Drawn(Digits(self.images).train(context, seed), self.target, context, (TRAINING, seed), self.bags)

    def held_out(self, context: int) -> Drawn:
        return Drawn(Digits(self.images).held_out(context), self.target, context, (TEST,), HELD_OUT)
