"""Prepares Shakespeare's works as a data set of tensorflow-datasets, `jattn_shakespeare`, stored as ArrayRecord.

Source: see `jattn.training.data.shakespeare`, which names the editions.

    python -m jattn.training.data.prepare_shakespeare --data-dir DIR

Neither TensorFlow nor a network is needed. Without --data-dir the place is the one that tensorflow-datasets uses.
"""

import argparse
from collections.abc import Iterator, Sequence

import tensorflow_datasets as tfds

from jattn.training.data import shakespeare


class JattnShakespeare(tfds.core.GeneratorBasedBuilder):
    """One example a work, in the order of the alphabet: 39 to train on, three plays as a test."""

    VERSION = tfds.core.Version("1.0.0")
    # beside the code, checksums of downloads would be looked for, with a library that may not be there
    code_path = None

    def __init__(self, *, data_dir: str | None = None):
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Shakespeare's works in the public domain editions of Project Gutenberg.",
            features=tfds.features.FeaturesDict({"name": tfds.features.Text(), "text": tfds.features.Text()}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        return {
            "train": self._generate_examples(shakespeare.train_works()),
            "test": self._generate_examples(shakespeare.held_out_works()),
        }

    def _generate_examples(self, works: dict[str, bytes]) -> Iterator[tuple[int, dict]]:
        # with shuffling disabled, the keys are the order
        for number, (name, text) in enumerate(works.items()):
            yield number, {"name": name, "text": text}


def main(argv: Sequence[str] | None = None) -> None:
    """Prepares the data set where it is not yet, and prints where it lies."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data-dir", help="the folder of prepared data sets")
    builder = JattnShakespeare(data_dir=parser.parse_args(argv).data_dir)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    print(f"{builder.info.full_name} lies in {builder.data_dir}")


if __name__ == "__main__":
    main()
