"""Reads texts, or rows of tokens or of numbers, of a prepared data set and their classes, by number."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Shaped

from jattn.training.data import documents
from jattn.training.data.prepared import broken

# what may become of what is longer than a context
LONGER = ("refused", "cut")


def padded(
    tokens: Sequence[int] | Shaped[np.ndarray, " n"], label: int, context: int, dtype: type = np.int32
) -> dict[str, np.ndarray]:
    """An example for classification: tokens, of which `valid` are not padding, and a label."""
    inputs = np.zeros(context, dtype)
    inputs[: len(tokens)] = tokens
    return {"inputs": inputs, "valid": np.int32(len(tokens)), "label": np.int32(label), "scored": np.float32(1)}


def outline(context: int, dtype: type = np.int32) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of what `padded` gives."""
    shape = jax.ShapeDtypeStruct
    one = {"label": shape((), np.int32), "valid": shape((), np.int32), "scored": shape((), np.float32)}
    return one | {"inputs": shape((context,), dtype)}


class Reading(NamedTuple):
    """The features that are read, of which vocabulary, how many tokens, and what becomes of `longer` ones.

    With a `divisor` they are real numbers, and no tokens of a vocabulary.
    """

    feature: str
    label: str
    vocabulary: int
    context: int
    longer: str
    divisor: int | None = None


class Labeled:
    """A split's sequences by number, on and on over epochs: `inputs` of which `valid` are tokens, and a `label`."""

    def __init__(self, builder: Any, split: str, reading: Reading):
        import tensorflow_datasets as tfds

        self.place, self.split, self.reading = Path(builder.data_dir), split, reading
        # the other features are not decoded
        names = (reading.feature, reading.label)
        self.decoder = tfds.features.FeaturesDict({name: builder.info.features[name] for name in names})
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        self.records = builder.as_data_source(split=split, deserialize_method=raw)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        number = int(number) % len(self)
        try:
            found = self.decoder.deserialize_example_np(self.records[number])
        except Exception as error:
            raise broken(self.place, error) from error
        reading = self.reading
        tokens = documents.tokens(self.decoder[reading.feature], found[reading.feature])
        if reading.divisor is None:
            documents.check(tokens, reading.vocabulary, f"example {number:,} of {self.split}", "LabeledDataset")
        else:
            tokens = tokens.astype(np.float32) / reading.divisor
        length = min(len(tokens), reading.context)
        if length < len(tokens) and reading.longer == "refused":
            raise ValueError(
                f"A context must hold each example, got {reading.context} for the {len(tokens):,} tokens of example "
                f"{number:,} of {self.split}; use --context {len(tokens)} or more, or --source.longer cut."
            )
        dtype = np.int32 if reading.divisor is None else np.float32
        return padded(tokens[:length], int(found[reading.label]), reading.context, dtype)
