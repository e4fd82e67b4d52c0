"""Reads the documents of a prepared data set at random, as one row of tokens that is never built."""

import collections
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from jattn.training.data.prepared import NEED_TENSORFLOW, PLAIN, READ, broken
from jattn.training.data.shakespeare import BETWEEN, END
from jattn.training.pieces import Pieces

# decoded documents that are kept for the next windows; a single larger one is kept too
CACHE_BYTES = 64 << 20
# what is read together to learn lengths, about
READ_BYTES, READ_MOST = 8 << 20, 1024


class Documents:
    """Documents by number, decoded when asked for; those asked for last are kept, up to `CACHE_BYTES`."""

    def __init__(self, count: int, decode: Callable[[int], Int[np.ndarray, " n"]]):
        self.count = count
        self.decode = decode
        self.kept: collections.OrderedDict[int, np.ndarray] = collections.OrderedDict()
        self.bytes = 0
        # a data loader may read in several threads
        self.lock = threading.Lock()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Int[np.ndarray, " n"]:
        with self.lock:
            if number in self.kept:
                self.kept.move_to_end(number)
                return self.kept[number]
            found = self.kept[number] = self.decode(number)
            self.bytes += found.nbytes
            while self.bytes > CACHE_BYTES and len(self.kept) > 1:
                self.bytes -= self.kept.popitem(last=False)[1].nbytes
            return found


def stream(builder: Any, split: str, feature: str | None, vocabulary: int) -> Pieces:
    """A split's documents one after another, texts with a blank line between them.

    Documents whose length the feature does not fix are read once to learn it. Tokens that the vocabulary lacks are
    refused when they are read.
    """
    import tensorflow_datasets as tfds

    name = choose(builder.info.features, feature)
    kind = builder.info.features[name]
    # the others are not decoded
    decoder = tfds.features.FeaturesDict({name: kind})
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    records = builder.as_data_source(split=split, deserialize_method=raw)
    last = len(records) - 1

    def read(numbers: range) -> list[Int[np.ndarray, " n"]]:
        try:
            found = records.__getitems__(list(numbers))
            values = [decoder.deserialize_example_np(record)[name] for record in found]
        except Exception as error:
            raise broken(Path(builder.data_dir), error) from error
        return [whole(number, value) for number, value in zip(numbers, values, strict=True)]

    def whole(number: int, value: Any) -> Int[np.ndarray, " n"]:
        found = tokens(kind, value, BETWEEN if number < last else END)
        check(found, vocabulary, f"document {number:,} of {split}", "Dataset")
        return found

    documents = Documents(len(records), lambda number: read(range(number, number + 1))[0])
    (fixed,) = kind.shape or (None,)
    if fixed is not None:
        # the first is read at once, so that a vocabulary too small is most often refused before a run begins
        documents[0]
        lengths = np.full(len(documents), fixed)
    else:
        lengths = _lengths(len(documents), read, f"lengths of {split}")
    return Pieces(lengths, lambda number, start, stop: documents[number][start:stop])


def tokens(kind: Any, value: Any, behind: bytes = b"") -> Int[np.ndarray, " n"]:
    """What a feature of this kind holds as tokens, those of a text its bytes with some more `behind`."""
    # an optional text may be None
    return np.frombuffer((value or b"") + behind, np.uint8) if texts(kind) else np.asarray(value, kind.np_dtype)


def check(found: Int[np.ndarray, " n"], vocabulary: int, where: str, owner: str) -> None:
    """Refuses tokens that a vocabulary lacks."""
    if found.size and not 0 <= found.min() <= found.max() < vocabulary:
        wrong = found[(found < 0) | (found >= vocabulary)][0]
        raise ValueError(
            f"{owner}.vocabulary must hold every token, got {wrong} in {where} for a vocabulary of {vocabulary}; give "
            f"--source.vocabulary and --model.vocabulary the size they need."
        )


def _lengths(count: int, read: Callable[[range], list[Int[np.ndarray, " n"]]], what: str) -> list[int]:
    lengths, size = [], 1
    with tqdm(total=count, desc=what, unit="document", leave=False, delay=1) as bar:
        while len(lengths) < count:
            found = read(range(len(lengths), min(len(lengths) + size, count)))
            lengths += [len(each) for each in found]
            bar.update(len(found))
            # many small documents together are read several times as fast as one by one; large ones would fill memory
            few = sum(each.nbytes for each in found) < READ_BYTES
            size = min(2 * size, READ_MOST) if few else max(1, size // 2)
    return lengths


def choose(features: Any, feature: str | None, owner: str = "Dataset") -> str:
    """The name of the feature that is read: the one asked for, or `text`, or the only one that can be."""
    if type(features).__name__ != "FeaturesDict":
        raise ValueError(f"A data set must have features by name, got {type(features).__name__}; prepare it with some.")
    if feature is None:
        fitting = [name for name in sorted(features) if texts(features[name]) or rows(features[name])]
        if "text" in fitting:
            return "text"
        if len(fitting) != 1:
            which = f"{len(fitting)} of {', '.join(sorted(features))}"
            raise ValueError(
                f"A data set must have one text or row of whole numbers, got {which}; name one with --source.feature."
            )
        return fitting[0]
    if feature not in features:
        raise ValueError(
            f"{owner}.feature must be one of {', '.join(sorted(features))}, got {feature!r}; name one of these or none."
        )
    kind = type(features[feature]).__name__
    if kind in NEED_TENSORFLOW:
        raise ValueError(f"{owner}.feature must need no TensorFlow, got {feature!r}, which is {kind}; {PLAIN}.")
    if not texts(features[feature]) and not rows(features[feature]):
        raise ValueError(
            f"{owner}.feature must be a text or a row of whole numbers, got {feature!r}, which is "
            f"{kind} of shape {features[feature].shape}; prepare it as one of these."
        )
    return feature


def texts(feature: Any) -> bool:
    """Whether a feature is one text."""
    return _plain(feature) and feature.shape == () and feature.np_dtype == np.object_


def rows(feature: Any) -> bool:
    """Whether a feature is a row of whole numbers."""
    return _plain(feature) and len(feature.shape) == 1 and np.issubdtype(feature.np_dtype, np.integer)


def _plain(feature: Any) -> bool:
    # a Sequence answers for what it holds, so its own class is asked
    inner = feature.feature if type(feature).__name__ == "Sequence" else feature
    return type(feature).__name__ in READ and type(inner).__name__ in READ | {"ClassLabel"} - {"Sequence"}
