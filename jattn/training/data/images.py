"""Images of a prepared data set by number, decoded and cut to one size without TensorFlow.

Source: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, arXiv:1409.4842, section 6 (a random part of 8 to
100 % of the area, its sides in a ratio of 3/4 to 4/3); Krizhevsky, Sutskever, Hinton, "ImageNet Classification with
Deep Convolutional Neural Networks", NeurIPS 2012, section 4.1 (mirror images, the middle of what is held out).
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from jattn.training.data.prepared import broken

AREAS, RATIOS = (0.08, 1.0), (3 / 4, 4 / 3)
# draws of a part before the middle is taken
TRIALS = 10
# the middle is cut from an image this much larger, 224 from 256
BORDER = 8 / 7
MODES = {1: "L", 3: "RGB"}


def needed() -> None:
    """Says in one sentence what is missing where images cannot be decoded."""
    try:
        import PIL.Image  # noqa: F401
    except ModuleNotFoundError as error:
        sentence = "Images need Pillow to be decoded, which is missing; pip install pillow brings it."
        raise ModuleNotFoundError(sentence, name="PIL") from error


class Box(NamedTuple):
    """The part of an image between these edges, in pixels."""

    left: float
    upper: float
    right: float
    lower: float


def middle(width: int, height: int, border: float = BORDER) -> Box:
    """The largest square in the middle, less a border."""
    side = min(width, height) / border
    return Box((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)


def drawn(width: int, height: int, random: np.random.Generator) -> Box:
    """A random part; the middle where none of some draws fits in the image."""
    for _ in range(TRIALS):
        area = width * height * random.uniform(*AREAS)
        ratio = np.exp(random.uniform(*np.log(RATIOS)))
        across, down = np.sqrt(area * ratio), np.sqrt(area / ratio)
        if across <= width and down <= height:
            left, upper = random.uniform(0, width - across), random.uniform(0, height - down)
            return Box(left, upper, left + across, upper + down)
    return middle(width, height, 1)


def cut(pixels: UInt8[np.ndarray, "r c p"], box: Box, side: int, channels: int) -> Float[np.ndarray, "n n q"]:
    """That part as a square of `side` pixels of -1 to 1; gray pixels have one channel, colored ones three."""
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert(MODES[channels])
    if box != (0, 0, side, side) or image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR, box)
    return np.asarray(image, np.float32).reshape(side, side, channels) * (2 / 255) - 1


class Images:
    """A split's images and labels by number, on and on over epochs; with a `seed` each time another random part."""

    def __init__(self, builder: Any, split: str, names: tuple[str, str], sizes: tuple[int, int], seed: int | None):
        import tensorflow_datasets as tfds

        self.place, self.names, self.sizes, self.seed = Path(builder.data_dir), names, sizes, seed
        # the other features are not decoded
        self.decoder = tfds.features.FeaturesDict({name: builder.info.features[name] for name in names})
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        self.records = builder.as_data_source(split=split, deserialize_method=raw)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        try:
            found = self.decoder.deserialize_example_np(self.records[int(number) % len(self)])
        except Exception as error:
            raise broken(self.place, error) from error
        pixels, label = (found[name] for name in self.names)
        height, width = pixels.shape[:2]
        side, channels = self.sizes
        if self.seed is None:
            whole = (height, width) == (side, side)
            box, mirrors = Box(0, 0, side, side) if whole else middle(width, height), False
        else:
            random = np.random.default_rng((self.seed, int(number)))
            box, mirrors = drawn(width, height, random), random.random() < 1 / 2
        inputs = cut(pixels, box, side, channels)
        inputs = np.ascontiguousarray(inputs[:, ::-1]) if mirrors else inputs
        return {"inputs": inputs, "label": np.int32(label), "scored": np.float32(1)}
