"""The pixels of real handwritten digits as tokens, row by row from the top: images as a text that a decoder continues.

Source: van den Oord, Kalchbrenner, Kavukcuoglu, "Pixel Recurrent Neural Networks", ICML 2016, arXiv:1601.06759, section
2 (one pixel after another, as a class among all its values); the images are those of `jattn.training.sources.digits`.
"""

from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from jattn.part import part
from jattn.training import checks
from jattn.training.sources import Source
from jattn.training.sources.digits import FILES, Digits, Images


class Rows(NamedTuple):
    """The first `context` pixels of images, a blank before them, by number, on and on over epochs."""

    pixels: Int[np.ndarray, "n p"]
    context: int

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        row = self.pixels[int(number) % len(self.pixels)][: self.context]
        return {"tokens": np.pad(row, (1, 0)), "scored": np.ones(len(row), np.float32)}


@part
class Pixels(Source):
    """Of each image every `stride`-th pixel of every `stride`-th row; a run's context is how many of them are read.

    Every fifth image is held out. Pixels are gray, from 0 to 255.
    """

    images: Literal["digits", "mnist"] = "digits"
    stride: int = 1

    def __post_init__(self):
        checks.one_of("Pixels", "images", self.images, tuple(FILES), "'digits' are the smaller ones")
        checks.whole("Pixels", "stride", self.stride, 1, "1 keeps every pixel")

    @property
    def unit(self) -> str:
        return "pixel"

    def outline(self, context: int) -> dict[str, jax.ShapeDtypeStruct]:
        shape = jax.ShapeDtypeStruct
        return {"tokens": shape((context + 1,), np.int32), "scored": shape((context,), np.float32)}

    def train(self, context: int, seed: int) -> Rows:
        return self._rows(Digits(self.images).train(context, seed), context)

    def held_out(self, context: int) -> Rows:
        return self._rows(Digits(self.images).held_out(context), context)

    def _rows(self, images: Images, context: int) -> Rows:
        count = len(range(0, FILES[self.images].side, self.stride)) ** 2
        if context > count:
            raise ValueError(
                f"A context must be at most the {count} pixels that are kept of an image, got {context}; use "
                f"--context {count}."
            )
        gray = np.rint((images.pixels[:, :: self.stride, :: self.stride, 0] + 1) * 127.5)
        return Rows(gray.reshape(len(gray), -1).astype(np.int32), context)
