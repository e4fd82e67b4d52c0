"""Small data sets of tensorflow-datasets, prepared offline."""

import functools

import pytest


@pytest.fixture(scope="session")
def prepare(tmp_path_factory):
    """Prepares a data set with one feature `a`, once for each name; gives its folder."""
    import tensorflow_datasets as tfds

    class Rows(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        code_path = None

        def __init__(self, *, name, features, splits, data_dir, file_format):
            self.name, self.features, self.rows = name, features, splits
            super().__init__(data_dir=data_dir, file_format=file_format)

        def _info(self):
            features = tfds.features.FeaturesDict(self.features)
            return tfds.core.DatasetInfo(builder=self, description="rows", features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(rows) for split, rows in self.rows.items()}

        def _generate_examples(self, rows):
            yield from enumerate(rows)

    home = tmp_path_factory.mktemp("rows")

    @functools.cache
    def built(name, make, file_format="array_record"):
        features, splits = make(tfds)
        builder = Rows(name=name, features=features, splits=splits, data_dir=str(home), file_format=file_format)
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
        return builder.data_path

    return built
