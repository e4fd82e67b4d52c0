"""Images and their classes in a data set of tensorflow-datasets, read at random without TensorFlow.

Source: Pot, Mohiuddin et al., "TFDS: TensorFlow Datasets", https://www.tensorflow.org/datasets; by default Russakovsky
et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 115 (3), 2015, arXiv:1409.0575.
"""

from typing import Any, Literal

import jax
import numpy as np

from jattn.part import part
from jattn.training import checks
from jattn.training.data import images, prepared
from jattn.training.data.images import Images
from jattn.training.sources import Source

PARTS = ("random", "middle")


@part
class ImageDataset(Source):
    """Squares of `side` by `side` pixels; a run's context is not read.

    `dataset`, `data_dir` and the splits are as in `Dataset`, and must be prepared as ArrayRecord; `image` and `label`
    name features. What is trained on is a random part of each image, half of them mirrored, another each epoch; or the
    middle, as of what is held out.
    """

    dataset: str = "imagenet2012"
    data_dir: str | None = None
    image: str = "image"
    label: str = "label"
    train_split: str = "train"
    held_out_split: str | None = None
    side: int = 224
    channels: int = 3
    classes: int = 1000
    trained_on: Literal["random", "middle"] = "random"

    def __post_init__(self):
        for name in ("dataset", "data_dir", "image", "label", "train_split", "held_out_split"):
            value = getattr(self, name)
            if not isinstance(value, str | None) or value is None and name not in ("data_dir", "held_out_split"):
                raise TypeError(f"ImageDataset.{name} must be text, got {value!r}; write ImageDataset({name}='...').")
        checks.whole("ImageDataset", "side", self.side, 1, "give the pixels along a side, as 224")
        checks.whole("ImageDataset", "classes", self.classes, 1, "ImageNet has 1000")
        if self.channels not in images.MODES:
            raise ValueError(f"ImageDataset.channels must be 1 or 3, got {self.channels!r}; 1 is gray, 3 are colors.")
        checks.one_of("ImageDataset", "trained_on", self.trained_on, PARTS, "digits are not to be mirrored: 'middle'")

    @property
    def unit(self) -> str:
        return "image"

    @property
    def needs(self) -> dict[str, int]:
        return {"classes": self.classes}

    def outline(self, context: int) -> dict[str, jax.ShapeDtypeStruct]:
        shape = jax.ShapeDtypeStruct
        one = {"label": shape((), np.int32), "scored": shape((), np.float32)}
        return one | {"inputs": shape((self.side, self.side, self.channels), np.float32)}

    def units(self, context: int) -> int:
        return 1

    def train(self, context: int, seed: int) -> Images:
        return self._split(0, seed if self.trained_on == "random" else None)

    def held_out(self, context: int) -> Images:
        return self._split(1, None)

    def shards(self) -> int:
        known = self._builder().info.splits
        return len(known[self._splits(known)[0]].file_instructions)

    def _builder(self) -> Any:
        return prepared.opened(prepared.find(self.dataset, self.data_dir, "ImageDataset"))

    def _splits(self, known: Any) -> tuple[str, str]:
        return prepared.splits(self.dataset, known, self.train_split, self.held_out_split, "ImageDataset")

    def _split(self, number: int, seed: int | None) -> Images:
        images.needed()
        builder = self._builder()
        self._check(builder.info.features)
        split = self._splits(builder.info.splits)[number]
        if not builder.info.splits[split].num_examples:
            raise ValueError(f"ImageDataset needs an image in each split, got none in {split}; give a larger one.")
        return Images(builder, split, (self.image, self.label), (self.side, self.channels), seed)

    def _check(self, features: Any) -> None:
        """Refuses features that are no image and its class."""
        for field, wanted, fits in (
            ("image", "an image of whole numbers from 0 to 255", _is_image),
            ("label", "a class", lambda feature: type(feature).__name__ == "ClassLabel"),
        ):
            name = getattr(self, field)
            if name not in features or not fits(features[name]):
                fitting = [each for each in sorted(features) if fits(features[each])]
                raise ValueError(
                    f"ImageDataset.{field} must name {wanted}, got {name!r}; the data set has "
                    f"{', '.join(fitting) or 'none'}."
                )
        if (count := features[self.label].num_classes) > self.classes:
            raise ValueError(
                f"ImageDataset.classes must be at least those of the data set, got {self.classes} for {count}; use "
                f"--source.classes {count} and --model.classes {count}."
            )


def _is_image(feature: Any) -> bool:
    shape = feature.shape if type(feature).__name__ in ("Image", "Tensor") else ()
    return len(shape) == 3 and feature.np_dtype == np.uint8 and shape[-1] in images.MODES
