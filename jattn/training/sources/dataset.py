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

    def _splits(self, known: Any) -> tuple[str, str]:
        return prepared.splits(self.dataset, known, self.train_split, self.held_out_split)

    def _stream(self, number: int, context: int) -> Pieces:
        builder = self._builder()
        known = builder.info.splits
        split = self._splits(known)[number]
        some = known[split].num_examples
        found = documents.stream(builder, split, self.feature, self.vocabulary) if some else ()
        if len(found) <= context:
            raise ValueError(
                f"Dataset needs more tokens than one context in its split {split}, got {len(found)} for a "
                f"context of {context}; give a larger split or a smaller context."
            )
        return found
