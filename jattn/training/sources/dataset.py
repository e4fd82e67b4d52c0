"""A data set of tensorflow-datasets, prepared as ArrayRecord and read at random without TensorFlow.

Source: Pot, Mohiuddin et al., "TFDS: TensorFlow Datasets", https://www.tensorflow.org/datasets.
"""

from typing import Any

from jattn.part import part
from jattn.training import checks
from jattn.training.data import documents, prepared
from jattn.training.pieces import Pieces
from jattn.training.sources import Source
from jattn.training.windows import Sliding, Windows

# where the held-out part is looked for when no split is named
HELD_OUT = ("validation", "test")


@part
class Dataset(Source):
    """Bytes of texts, or whole numbers of rows, are tokens; documents follow one another, texts after a blank line.

    `dataset` is a name such as `wiki`, `wiki/en` or `wiki:1.0.0` in the folder `data_dir`, without which it is
    $TFDS_DATA_DIR or ~/tensorflow_datasets; or it is the folder of one data set. Splits may be sliced: `train[:95%]`.
    Lengths that the feature does not fix are learned by reading a split once before the first step.
    """

    dataset: str = prepared.OWN
    data_dir: str | None = None
    feature: str | None = None
    train_split: str = "train"
    held_out_split: str | None = None
    vocabulary: int = 256

    def __post_init__(self):
        for name in ("dataset", "data_dir", "feature", "train_split", "held_out_split"):
            value = getattr(self, name)
            if not isinstance(value, str | None) or value is None and name in ("dataset", "train_split"):
                raise TypeError(f"Dataset.{name} must be text, got {value!r}; write Dataset({name}='...').")
        checks.whole(
            "Dataset", "vocabulary", self.vocabulary, 1, "bytes need 256, other tokens one more than the largest"
        )

    def train(self, context: int, seed: int) -> Windows:
        return Windows(self._stream(0, context), context, seed)

    def held_out(self, context: int) -> Sliding:
        return Sliding(self._stream(1, context), context)

    def shards(self) -> int:
        known = self._builder().info.splits
        return len(known[self._splits(known)[0]].file_instructions)

    def _builder(self) -> Any:
        return prepared.opened(prepared.find(self.dataset, self.data_dir))

    def _stream(self, number: int, context: int) -> Pieces:
        builder = self._builder()
        split = self._splits(builder.info.splits)[number]
        some = builder.info.splits[split].num_examples
        found = documents.stream(builder, split, self.feature, self.vocabulary) if some else ()
        if len(found) <= context:
            raise ValueError(
                f"Dataset needs more tokens than one context in its split {split}, got {len(found)} for a "
                f"context of {context}; give a larger split or a smaller context."
            )
        return found

    def _splits(self, known: Any) -> tuple[str, str]:
        """What is trained on and what is held out, which may share no document."""
        held_out = self.held_out_split or next((name for name in HELD_OUT if name in known), None)
        if held_out is None:
            raise ValueError(
                f"Dataset.held_out_split must be named where there is no {' or '.join(HELD_OUT)}, got the splits "
                f"{', '.join(known)}; slices will do, as in --source.train-split 'train[:95%]' "
                f"--source.held-out-split 'train[95%:]'."
            )
        chosen = {"train_split": self.train_split, "held_out_split": held_out}
        files = {}
        for name, split in chosen.items():
            try:
                files[name] = known[split].file_instructions
            except (ValueError, LookupError, AssertionError):
                raise ValueError(
                    f"Dataset.{name} must be a split of {self.dataset}, of {', '.join(known)}, got {split!r}; name one "
                    f"of these, or a slice such as 'train[:95%]'."
                ) from None
        if any(_meet(one, other) for one in files["train_split"] for other in files["held_out_split"]):
            raise ValueError(
                f"Dataset.held_out_split must share no document with train_split, got {held_out!r} and "
                f"{self.train_split!r}; name splits or slices that lie apart."
            )
        return self.train_split, held_out


def _meet(one: Any, other: Any) -> bool:
    """Whether two stretches of records share one."""
    apart = one.skip + one.take <= other.skip or other.skip + other.take <= one.skip
    return one.filename == other.filename and not apart
