"""Prepares ListOps as a data set of tensorflow-datasets, `jattn_listops`, stored as ArrayRecord.

Source: see `jattn.training.data.listops`.

    python -m jattn.training.data.prepare_listops --data-dir DIR

Any field of the source `ListOps` is an option, as --shorter-than 200. Neither TensorFlow nor a network is needed.
Without --data-dir the place is the one that tensorflow-datasets uses.
"""

import argparse
import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow_datasets as tfds

from jattn.training.data import listops
from jattn.training.data.show_listops import asked
from jattn.training.sources.listops import HELD_OUT, ListOps


class JattnListops(tfds.core.GeneratorBasedBuilder):
    """Tokens and values of the expressions that the source of these options draws: to train on, validate on and test.

    What is validated on is what the source holds out; the test has as many others.
    """

    VERSION = tfds.core.Version("1.0.0")
    # beside the code, checksums of downloads would be looked for, with a library that may not be there
    code_path = None

    def __init__(self, *, source: ListOps, seed: int, data_dir: str | None = None):
        self.source, self.seed = source, seed
        # what was prepared by other options is another configuration
        words = [f"{name}_{value}" for name, value in dataclasses.asdict(source).items()]
        config = tfds.core.BuilderConfig(name="_".join([*words, f"seed_{seed}"]), version=self.VERSION)
        super().__init__(data_dir=data_dir, config=config, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        kinds = {
            "tokens": tfds.features.Tensor(shape=(None,), dtype=np.uint8),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"Nested lists of digits and operators. Tokens by number: {', '.join(listops.WORDS[1:])}.",
            features=tfds.features.FeaturesDict(kinds),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        law = self.source.law
        train = ((law, listops.TRAINING, (self.seed, number)) for number in range(self.source.examples))
        held_out = [(law, listops.TEST, (number,)) for number in range(2 * HELD_OUT)]
        return {
            "train": self._generate_examples(train),
            "validation": self._generate_examples(held_out[:HELD_OUT]),
            "test": self._generate_examples(held_out[HELD_OUT:]),
        }

    def _generate_examples(self, wanted: Iterable[tuple]) -> Iterator[tuple[int, dict]]:
        # with shuffling disabled, the keys are the order
        for number, words in enumerate(wanted):
            tokens = listops.expression(*words)
            yield number, {"tokens": np.array(tokens, np.uint8), "label": listops.value(tokens)}


def main(argv: Sequence[str] | None = None) -> None:
    """Prepares the data set where it is not yet, and prints where it lies."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data-dir", help="the folder of prepared data sets")
    parser.add_argument("--seed", type=int, default=0)
    source, given = asked(parser, argv)
    builder = JattnListops(source=source, seed=given.seed, data_dir=given.data_dir)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    print(f"{builder.info.full_name} lies in {builder.data_dir}")


if __name__ == "__main__":
    main()
