"""Texts or rows of tokens, each with its class, in a data set of tensorflow-datasets, read without TensorFlow.

Source: Pot, Mohiuddin et al., "TFDS: TensorFlow Datasets", https://www.tensorflow.org/datasets; by default ListOps, as
`jattn.training.data.prepare_listops` prepares it.
"""

from typing import Any, Literal

import jax
import numpy as np

from jattn.part import part
from jattn.training import checks
from jattn.training.data import documents, labeled, prepared
from jattn.training.data.labeled import Labeled, Reading
from jattn.training.sources import Source


@part
class LabeledDataset(Source):
    """Bytes of texts, or whole numbers of rows, are tokens; each example is padded to a run's context.

    `dataset`, `data_dir`, `feature` and the splits are as in `Dataset`, and must be prepared as ArrayRecord; `label`
    names a class. What is `longer` than the context is refused, or cut: its beginning is read. With a `divisor` the
    whole numbers of rows, divided by it, are real numbers of a line, for models that read those: 32768 makes sound of
    16 bits lie between -1 and 1.
    """

    dataset: str = prepared.LISTOPS
    data_dir: str | None = None
    feature: str | None = None
    label: str = "label"
    train_split: str = "train"
    held_out_split: str | None = None
    vocabulary: int = 256
    classes: int = 10
    longer: Literal["refused", "cut"] = "refused"
    divisor: int | None = None

    def __post_init__(self):
        for name in ("dataset", "data_dir", "feature", "label", "train_split", "held_out_split"):
            value = getattr(self, name)
            if not isinstance(value, str | None) or value is None and name in ("dataset", "label", "train_split"):
                raise TypeError(f"LabeledDataset.{name} must be text, got {value!r}; write it as {name}='...'.")
        cure = "bytes need 256, other tokens one more than the largest"
        checks.whole("LabeledDataset", "vocabulary", self.vocabulary, 1, cure)
        checks.whole("LabeledDataset", "classes", self.classes, 1, "ListOps has 10")
        if self.divisor is not None:
            checks.whole("LabeledDataset", "divisor", self.divisor, 1, "leave it out for tokens")
        checks.one_of("LabeledDataset", "longer", self.longer, labeled.LONGER, "'cut' reads the beginning")

    @property
    def unit(self) -> str:
        return "example"

    @property
    def needs(self) -> dict[str, int]:
        words = {} if self.divisor else {"vocabulary": self.vocabulary}
        return words | {"classes": self.classes}

    def outline(self, context: int) -> dict[str, jax.ShapeDtypeStruct]:
        return labeled.outline(context, np.float32 if self.divisor else np.int32)

    def units(self, context: int) -> int:
        return 1

    def train(self, context: int, seed: int) -> Labeled:
        return self._split(0, context)

    def held_out(self, context: int) -> Labeled:
        return self._split(1, context)

    def shards(self) -> int:
        known = self._builder().info.splits
        return len(known[self._splits(known)[0]].file_instructions)

    def _builder(self) -> Any:
        return prepared.opened(prepared.find(self.dataset, self.data_dir, "LabeledDataset"))

    def _splits(self, known: Any) -> tuple[str, str]:
        return prepared.splits(self.dataset, known, self.train_split, self.held_out_split, "LabeledDataset")

    def _split(self, number: int, context: int) -> Labeled:
        builder = self._builder()
        features = builder.info.features
        feature = documents.choose(features, self.feature, "LabeledDataset")
        self._check(features)
        split = self._splits(builder.info.splits)[number]
        if not builder.info.splits[split].num_examples:
            raise ValueError(f"LabeledDataset needs an example in each split, got none in {split}; give a larger one.")
        reading = Reading(feature, self.label, self.vocabulary, context, self.longer, self.divisor)
        return Labeled(builder, split, reading)

    def _check(self, features: Any) -> None:
        """Refuses a label that is no class, or one of more than there are."""
        fitting = [name for name in sorted(features) if type(features[name]).__name__ == "ClassLabel"]
        if self.label not in fitting:
            raise ValueError(
                f"LabeledDataset.label must name a class, got {self.label!r}; the data set has "
                f"{', '.join(fitting) or 'none'}."
            )
        if (count := features[self.label].num_classes) > self.classes:
            raise ValueError(
                f"LabeledDataset.classes must be at least those of the data set, got {self.classes} for {count}; use "
                f"--source.classes {count} and --model.classes {count}."
            )
