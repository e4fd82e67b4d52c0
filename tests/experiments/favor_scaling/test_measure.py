"""What `measure.py` measures: that the bound attends to nothing, and every part on tiny sizes."""

from pathlib import Path

import jax
import numpy as np
import pytest

import jattn
from jattn.training.sweeps import listed

FOLDER = Path(__file__).parents[3] / "experiments" / "favor_scaling"
measure = listed.executed(FOLDER / "measure.py")


def test_identity_gives_each_token_its_own_value():
    query, key, value = (jax.random.normal(jax.random.key(n), (5, 2, 3)) for n in range(3))
    np.testing.assert_array_equal(jattn.attend(query, key, value, measure.Identity()).out, value)


@pytest.mark.slow
def test_every_part_of_smoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert measure.measures.main(["--smoke"], measure.HERE, measure.PARTS, measure.FULL, measure.SMALL) == 0
    home = tmp_path / "runs" / FOLDER.name / "smoke" / "results"
    assert {path.stem for path in home.iterdir()} == set(measure.PARTS)
    report = listed.executed(FOLDER / "report.py")
    assert report.reports.main(["--smoke"], FOLDER, report.text, report.picture, report.load) == 0
    assert (home.parent / "report.png").stat().st_size > 1000
