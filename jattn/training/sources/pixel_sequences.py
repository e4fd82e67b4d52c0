"""The pixels of real handwritten digits as a row of real numbers, line by line from the top, and which digit it is.

Source: Le, Jaitly, Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units", 2015,
arXiv:1504.00941, section 4.2 (MNIST pixel by pixel); Tay et al., "Long Range Arena: A Benchmark for Efficient
Transformers", ICLR 2021, arXiv:2011.04006, section 2.2.4 (gray images so, without what tells their shape); the images
are those of `jattn.training.sources.digits`.
"""

from typing import Literal

import jax
import numpy as np
from jaxtyping import Float, Int

from jattn.part import part
from jattn.training import checks
from jattn.training.sources import Source
from jattn.training.sources.digits import FILES, Digits, Images


class Sequences:
    """Images by number, on and on over epochs: `inputs` "context", numbers of 0 to 1 of which `valid` are pixels."""

    def __init__(self, pixels: Float[np.ndarray, "n p"], labels: Int[np.ndarray, " n"], context: int):
        self.pixels = pixels
        self.labels = labels
        self.context = context

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        place = int(number) % len(self)
        row = self.pixels[place]
        inputs = np.pad(row, (0, self.context - len(row)))
        return {
            "inputs": inputs, "valid": np.int32(len(row)), "label": self.labels[place], "scored": np.float32(1),
        }  # fmt: skip


@part
class PixelSequences(Source):
    """Of each image every `stride`-th pixel of every `stride`-th row, padded to a run's context.

    Every fifth image is held out. They are for models that read real numbers, one a token.
    """

    images: Literal["digits", "mnist"] = "digits"
    stride: int = 1

    def __post_init__(self):
        checks.one_of("PixelSequences", "images", self.images, tuple(FILES), "'digits' are the smaller ones")
        checks.whole("PixelSequences", "stride", self.stride, 1, "1 keeps every pixel")

    @property
    def unit(self) -> str:
        return "image"

    @property
    def shortest(self) -> int:
        return len(range(0, FILES[self.images].side, self.stride)) ** 2

    @property
    def needs(self) -> dict[str, int]:
        return {"classes": 10}

    def outline(self, context: int) -> dict[str, jax.ShapeDtypeStruct]:
        shape = jax.ShapeDtypeStruct
        one = {"label": shape((), np.int32), "valid": shape((), np.int32), "scored": shape((), np.float32)}
        return one | {"inputs": shape((context,), np.float32)}

    def units(self, context: int) -> int:
        return 1

    def train(self, context: int, seed: int) -> Sequences:
        return self._sequences(Digits(self.images).train(context, seed), context)

    def held_out(self, context: int) -> Sequences:
        return self._sequences(Digits(self.images).held_out(context), context)

    def _sequences(self, images: Images, context: int) -> Sequences:
        if context < self.shortest:
            raise ValueError(
                f"A context must hold the {self.shortest} pixels that are kept of an image, got {context}; use "
                f"--context {self.shortest}, or a larger --source.stride."
            )
        pixels = (images.pixels[:, :: self.stride, :: self.stride, 0] + 1) / 2
        return Sequences(pixels.reshape(len(pixels), -1), images.labels, context)
