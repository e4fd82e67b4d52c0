"""What tests of several sources read."""

import gzip
import importlib

import numpy as np
import pytest

from jattn.training.sources import digits


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that holds 40 small images and cannot be imported."""
    place = tmp_path / "sklearn" / "datasets" / "data"
    place.mkdir(parents=True)
    (tmp_path / "sklearn" / "__init__.py").write_text("raise RuntimeError\n")
    pixels = np.random.default_rng(0).integers(0, 17, (40, 64))
    with gzip.open(place / "digits.csv.gz", "wt") as file:
        np.savetxt(file, np.column_stack([pixels, np.arange(40) % 10]), delimiter=",", fmt="%d")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    digits.read.cache_clear()
    yield pixels
    digits.read.cache_clear()
